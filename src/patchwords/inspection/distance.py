"""How far heads look: mean attention distance in pixels (fig. 7 right, app. D.7), and how widely they spread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError
from .ranks import spearman
from .results import Progress, Row, table
from .trace import LayerAttention, Pictures, attention_trace


@dataclass(frozen=True)
class HeadDistances:
    """How far each head looks, over a set of pictures."""

    distance_px: np.ndarray
    """(layers, heads) mean over pictures and query patches, pixels"""
    deviation_px: np.ndarray
    """(layers, heads) standard deviation over pictures (of n - 1), pixels; 0 for one picture"""
    entropy_nats: np.ndarray
    """(layers, heads) mean entropy of the attention among patches: 0 one patch, `uniform_nats` all alike"""
    prefix_share: np.ndarray
    """(layers, heads) mean share of a patch's attention that goes to class token, distillation token and registers"""
    uniform_px: float
    """distance of attention that is the same for all patches, pixels"""
    uniform_nats: float
    """its entropy: ln N"""
    local_below: float
    """a head is local when its distance is less than this part of `uniform_px`"""
    global_above: float
    """a head is global when its distance is more than this part of `uniform_px`"""
    pictures: int
    """how many pictures"""
    grid: Size
    """patches (rows, columns)"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    @property
    def relative(self) -> np.ndarray:
        """(layers, heads): distance as a part of the uniform one."""
        return self.distance_px / self.uniform_px if self.uniform_px else np.ones_like(self.distance_px)

    @property
    def local_share(self) -> np.ndarray:
        """(layers,) share of the heads that are local."""
        return (self.relative < self.local_below).mean(axis=1)

    @property
    def global_share(self) -> np.ndarray:
        """(layers,) share of the heads that are global."""
        return (self.relative > self.global_above).mean(axis=1)

    @property
    def depth_correlation(self) -> float:
        """Spearman's rank correlation of depth with the mean distance over the heads; nan for one layer."""
        return spearman(np.arange(len(self.distance_px)), self.distance_px.mean(axis=1))

    @property
    def spread_px(self) -> np.ndarray:
        """(layers,) standard deviation of the distance over the heads of a layer."""
        return self.distance_px.std(axis=1)

    def rows(self) -> list[Row]:
        """Return a line for each layer and head."""
        kinds = np.where(self.relative < self.local_below, "local", "between")
        kinds = np.where(self.relative > self.global_above, "global", kinds)
        return table(
            ("layer", "head"),
            distance_px=self.distance_px,
            deviation_px=self.deviation_px,
            part_of_uniform=self.relative,
            kind=kinds,
            entropy_nats=self.entropy_nats,
            prefix_share=self.prefix_share,
        )


def attention_distance(
    model: nn.Module,
    images: Pictures,
    *,
    local_below: float = 0.5,
    global_above: float = 0.8,
    precision: str = "float32",
    progress: Progress | None = None,
) -> HeadDistances:
    """Return how far each head of each layer looks, averaged over `images`.

    The distance of a query patch is the mean of the pixels between its centre and that of every patch (itself
    included), weighted by attention (2010.11929, fig. 7 right and app. D.7). Prefix tokens lie nowhere: as queries
    and as keys they are left out, and the rest of the weights is divided by its sum.

    Args:
        local_below, global_above: parts of the distance of uniform attention that part local heads from global ones.
        precision: bfloat16 is faster on CPUs that have it, and good to about 1 %.

    Raises:
        ConfigError: the model has no attention, there is no picture, or pictures differ in size.
    """
    return summarise(attention_trace(model, images, precision=precision, progress=progress), local_below, global_above)


def summarise(trace: Iterable[LayerAttention], local_below: float = 0.5, global_above: float = 0.8) -> HeadDistances:
    """Return the distances of what `attention_trace` saw; to measure other things in the same pass, see `measure`."""
    layers: dict[int, list[Tensor]] = {}
    place: tuple[Size, Size] | None = None
    for seen in trace:
        if place is None:
            place = (seen.grid, seen.cell_px)
            distances = patch_distances(*place).to(seen.weights)
        layers.setdefault(seen.layer, []).append(measure(seen, distances).cpu().double())
    if place is None:
        raise ConfigError("there is no picture to look at", fix="Give at least one")
    measured = torch.stack([torch.cat(parts, dim=1) for parts in layers.values()]).numpy()
    distance, entropy, prefix = np.ma.masked_invalid(np.moveaxis(measured, 1, 0))  # (layers, pictures, heads) each
    numbers = {
        "distance_px": distance.mean(axis=1),
        "deviation_px": distance.std(axis=1, ddof=min(1, distance.shape[1] - 1)),
        "entropy_nats": entropy.mean(axis=1),
        "prefix_share": prefix.mean(axis=1),
    }
    return HeadDistances(
        **{name: values.filled(np.nan).astype(np.float32) for name, values in numbers.items()},
        uniform_px=float(patch_distances(*place).mean()),
        uniform_nats=float(np.log(place[0][0] * place[0][1])),
        local_below=local_below,
        global_above=global_above,
        pictures=distance.shape[1],
        grid=place[0],
        cell_px=place[1],
    )


def measure(seen: LayerAttention, distances: Tensor) -> Tensor:
    """Return distance (px), entropy (nats) and share of the prefix tokens: (3, B, heads), means over query patches.

    A query that gives nothing to patches has no distance and no entropy; it does not count.

    Args:
        distances: (N, N) from `patch_distances`, in the type of the weights.
    """
    weights = seen.patches
    total = weights.sum(dim=-1)
    placed = total > 0
    whole = torch.where(placed, total, 1.0)
    distance = (weights * distances).sum(dim=-1) / whole
    entropy = torch.special.entr(weights).sum(dim=-1) / whole + whole.log()  # of weights / total
    mean = placed.sum(dim=-1)
    return torch.stack([distance.sum(dim=-1) / mean, entropy.sum(dim=-1) / mean, 1 - total.mean(dim=-1)])


def patch_distances(grid: Size, cell_px: Size) -> Tensor:
    """Return pixels between the centres of every two patches: (N, N) float64, rows first."""
    rows = torch.arange(grid[0], dtype=torch.float64) * cell_px[0]
    columns = torch.arange(grid[1], dtype=torch.float64) * cell_px[1]
    centres = torch.cartesian_prod(rows, columns).view(-1, 2)
    return (centres[:, None] - centres[None]).norm(dim=-1)
