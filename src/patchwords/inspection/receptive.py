"""The receptive field of the centre token in every layer: which pixels can move it, and how much they do.

The effective field is the mean size of a gradient (1701.04128, sec. 2; Raghu et al., 2108.08810, fig. 6). The exact
support is structure alone: all pixels that the token is computed from, whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..config import Size
from ..errors import ConfigError
from ..randomness import bits
from .results import Progress, Row, table
from .still import as_input, chunks, still
from .stream import as_tokens, cell_size, choose, is_layer, place

SHARES = (0.5, 0.9)
"""of the mass, for which radii are given"""
_CHOOSING = ("relu", "relu6", "hardtanh", "clamp", "clip", "clamp_min", "clamp_max", "threshold")
"""functions with derivative zero where they cut off; they read one element"""


@dataclass(frozen=True)
class ReceptiveField:
    """How far the centre token of each layer sees, in pixels of the picture."""

    layers: tuple[str, ...]
    """names of the record; `blockNN/attn` is the branch without the residual"""
    maps: np.ndarray
    """(layers, H, W) mean |d token / d pixel|, summed over colours; each map sums to 1"""
    radius50_px: np.ndarray
    """(layers,) radius about the token's centre that holds half of the mass"""
    radius90_px: np.ndarray
    """(layers,) radius that holds 90 % of the mass"""
    uniform_radius50_px: float
    """the same radius if all pixels had the same mass: as global as can be"""
    uniform_radius90_px: float
    centre_share: np.ndarray
    """(layers,) mass in the patch of the token itself"""
    support: np.ndarray
    """(layers, H, W) bool: pixels the token depends on at all"""
    support_share: np.ndarray
    """(layers,) share of the picture in the support"""
    pictures: int

    def rows(self) -> list[Row]:
        """Return one line a layer."""
        names = ("radius50_px", "radius90_px", "centre_share", "support_share")
        return table([("layer", self.layers)], **{name: getattr(self, name) for name in names})


def measure_receptive_field(
    model: nn.Module,
    images: Tensor,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
) -> ReceptiveField:
    """Measure the effective receptive field of the centre token, and its exact support beside it.

    What is differentiated is the sum of the token's channels with random signs, drawn for each picture and layer: a
    plain sum would be constant after a LayerNorm. Every picture counts the same.

    Args:
        model: any `models.contract.Classifier`.
        images: (B, C, H, W), normalised.
        layers: names of the record; None: embedding, blocks, last norm, and the attention of each block by itself.
        batch_size: pictures whose graph is in memory at a time.

    Raises:
        ConfigError: a name that the model does not record, or whose tokens lie on no grid.
    """
    images = as_input(model, images)
    total, names = torch.zeros(()), ()
    with still(model):
        for part in chunks(len(images), batch_size):
            x, record = images[part].requires_grad_(), {}
            model(x, record)
            names = choose(layers, record, [name for name in record if is_layer(name) or name.endswith("/attn")])
            total = total + torch.stack([_mass(model, x, name, record[name], part.start, seed) for name in names])
            centres = [_centre(model, x, as_tokens(record[name]))[1] for name in names]
            del record
            if progress:
                progress(part.stop, len(images))
    maps = (total / len(images)).numpy()
    return _summary(names, maps, centres, exact_support(model, images, names), cell_size(model), len(images))


def _mass(model: nn.Module, x: Tensor, name: str, value: Tensor, first: int, seed: int) -> Tensor:
    """Return the sum over pictures of the maps (H, W) of one layer, each map with sum 1 (0 where nothing moves it)."""
    tokens = as_tokens(value)
    number, _ = _centre(model, x, tokens)
    drawn = bits(seed, f"receptive {name}", 0, np.arange(first, first + len(x)), tokens.shape[2]) & 1
    signs = torch.from_numpy(drawn.astype(np.float32) * 2 - 1).to(tokens)
    (gradient,) = torch.autograd.grad((tokens[:, number] * signs).sum(), x, retain_graph=True)
    maps = gradient.abs().sum(dim=1).double()
    return (maps / maps.sum(dim=(1, 2), keepdim=True).clamp_min(1e-300)).sum(dim=0).cpu()


def _centre(model: nn.Module, images: Tensor, tokens: Tensor) -> tuple[int, tuple[float, float]]:
    """Return the number of the centre token among `tokens` (B, T, D) and the middle of its cell (row, column), px."""
    prefix, (rows, columns) = place(model, images.shape[2:], tokens.shape[1])
    row, column = rows // 2, columns // 2
    return prefix + row * columns + column, (
        (row + 0.5) * images.shape[2] / rows - 0.5,
        (column + 0.5) * images.shape[3] / columns - 0.5,
    )


def exact_support(model: nn.Module, images: Tensor, layers: Sequence[str]) -> np.ndarray:
    """Return which pixels the centre token of each layer is computed from: bool (layers, H, W).

    NaN is sent back from the token: each operation hands it to all that it reads, also where a weight is zero or a
    derivative vanishes, and to nothing else. The two operations that choose, max(0, x) and the maximum of a window,
    are replaced by ones that read the same and do not choose. So the answer is one of structure, not of the weights
    or of this picture; one backward pass a layer, for every model.
    """
    images = as_input(model, images[:1])
    with still(model):
        x, record = images.requires_grad_(), {}
        with _Unchoosing():
            model(x, record)
        return np.stack([_reached(model, x, record[name]) for name in layers])


def _reached(model: nn.Module, x: Tensor, value: Tensor) -> np.ndarray:
    tokens = as_tokens(value)
    number, _ = _centre(model, x, tokens)
    seed = torch.zeros_like(tokens)
    seed[:, number] = torch.nan
    (gradient,) = torch.autograd.grad(tokens, x, seed, retain_graph=True)
    return gradient.isnan().any(dim=1)[0].cpu().numpy()


class _Unchoosing(TorchFunctionMode):
    """Inside, max(0, x) and its kin are the identity and the maximum of a window is its mean: same dependence."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name.rstrip("_") in _CHOOSING and args[0].is_floating_point():
            return args[0]
        if name == "max_pool2d":
            given = dict(
                zip(("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"), args, strict=False)
            )
            given |= kwargs
            if given.pop("dilation", 1) not in (1, (1, 1)):
                raise ConfigError("dilated pooling has no exact support here", fix="Leave the receptive field out")
            return F.avg_pool2d(**{key: value for key, value in given.items() if key != "return_indices"})
        return func(*args, **kwargs)


def _summary(
    names: tuple[str, ...],
    maps: np.ndarray,
    centres: Sequence[tuple[float, float]],
    supports: np.ndarray,
    patch: Size,
    pictures: int,
) -> ReceptiveField:
    size = (maps.shape[1], maps.shape[2])
    reach = np.array([radii(each, centre) for each, centre in zip(maps, centres, strict=True)])
    uniform = radii(np.ones(size), centres[-1])
    down, across = (abs(axis[None] - np.array(centres).T[i][:, None]) for i, axis in enumerate(map(np.arange, size)))
    own = (down < patch[0] / 2)[:, :, None] & (across < patch[1] / 2)[:, None]
    return ReceptiveField(
        layers=names,
        maps=maps.astype(np.float32),
        radius50_px=reach[:, 0].astype(np.float32),
        radius90_px=reach[:, 1].astype(np.float32),
        uniform_radius50_px=float(uniform[0]),
        uniform_radius90_px=float(uniform[1]),
        centre_share=(maps * own).sum(axis=(1, 2)).astype(np.float32),
        support=supports,
        support_share=supports.mean(axis=(1, 2)).astype(np.float32),
        pictures=pictures,
    )


def radii(mass: np.ndarray, centre: tuple[float, float], shares: Sequence[float] = SHARES) -> list[float]:
    """Return for each of `shares` the smallest radius in pixels about `centre` (row, column) that holds that share.

    Distances are between middles of pixels; nan where there is no mass.
    """
    total = mass.sum()
    if not total > 0:
        return [float("nan")] * len(shares)
    rows, columns = np.indices(mass.shape)
    distance = np.hypot(rows - centre[0], columns - centre[1]).ravel()
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(mass.ravel()[order]) / total
    places = np.searchsorted(held, np.asarray(shares) - 1e-12)
    return distance[order][np.minimum(places, len(order) - 1)].tolist()
