"""What speaks for a class, and where: the result that every attribution method returns, and what all of them ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError
from .results import Row, table
from .still import as_input, chunks, still
from .stream import cell_size


@dataclass(frozen=True)
class Attribution:
    """A map for each picture of what speaks for one class by one method."""

    method: str
    unit: str
    """of the maps: logits (the map sums to about a difference of logits), or another, in words"""
    maps: np.ndarray
    """(pictures, rows, columns), signed where the method is"""
    cell_px: Size
    """pixels (rows, columns) under one value: (1, 1), or a patch"""
    patch_px: Size
    """pixels (rows, columns) of a patch"""
    targets: np.ndarray
    """(pictures,) class asked about"""
    logits: np.ndarray
    """(pictures,) its logit"""
    baseline_logits: np.ndarray
    """(pictures,) its logit for the picture without content; nan for methods that have none"""
    gap: np.ndarray
    """(pictures,) logits: sum of the map less the difference to the baseline's logit (completeness, 1703.01365,
    sec. 3); nan for methods that do not promise that sum"""
    passes: int
    """pictures sent through the model"""

    @property
    def patches(self) -> np.ndarray:
        """(pictures, rows, columns): the map summed over each patch."""
        return by_patch(self.maps, self.cell_px, self.patch_px)

    def rows(self) -> list[Row]:
        """Return one line for each patch of each picture."""
        shares = table(["picture", "row", "column"], value=self.patches)
        return [{"method": self.method, "target": int(self.targets[row["picture"] - 1])} | row for row in shares]


def by_patch(maps: np.ndarray, cell: Size, patch: Size) -> np.ndarray:
    """Return `maps` (B, rows, columns) of values for `cell` pixels, summed over patches of `patch` pixels."""
    count, rows, columns = maps.shape
    down, across = patch[0] // cell[0], patch[1] // cell[1]
    return maps.reshape(count, rows // down, down, columns // across, across).sum(axis=(2, 4))


@dataclass(frozen=True)
class Question:
    """What a method is asked: one class for each picture, and what counts as no content. Made by `ask`."""

    model: nn.Module
    images: Tensor
    """(B, C, H, W), a copy in the model's type"""
    targets: Tensor
    """(B,) classes"""
    baseline: Tensor
    """(C, H, W): the picture without content"""
    logits: Tensor
    """(B,) of the targets"""
    baseline_logits: Tensor
    """(B,) of the targets, for the baseline"""

    @property
    def patch_px(self) -> Size:
        """Pixels (rows, columns) of a patch."""
        return cell_size(self.model)

    def answer(self, method: str, unit: str, maps: Tensor | np.ndarray, **told: Any) -> Attribution:
        """Return `maps` (B, rows, columns) as the result of `method`; `told` fills in other fields."""
        maps = maps.detach().float().cpu().numpy() if isinstance(maps, Tensor) else maps
        size, count = self.images.shape[2:], len(self.images)
        nothing = np.full(count, np.nan, np.float32)
        found = Attribution(
            method=method,
            unit=unit,
            maps=np.ascontiguousarray(maps, np.float32),
            cell_px=(size[0] // maps.shape[1], size[1] // maps.shape[2]),
            patch_px=self.patch_px,
            targets=self.targets.cpu().numpy(),
            logits=self.logits.float().cpu().numpy(),
            baseline_logits=nothing,
            gap=nothing,
            passes=count,
        )
        return replace(found, **told)

    @property
    def difference(self) -> Tensor:
        """(B,) logit of the picture less that of the baseline."""
        return self.logits - self.baseline_logits


@torch.inference_mode(False)
def ask(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | np.ndarray | None = None,
    baseline: Tensor | None = None,
    batch_size: int = 32,
) -> Question:
    """Return the question of what speaks for `targets` in `images`.

    Args:
        images: (B, C, H, W), normalised.
        targets: (B,) classes; None: the most probable of each picture.
        baseline: the picture without content, (C, H, W), or a colour (C,), normalised; None: zeros, which is the mean
            colour of the data.

    Raises:
        ConfigError: the model has no head, or one that answers each token; a class or baseline that does not fit.
    """
    images = as_input(model, images)
    empty = images.new_zeros(images.shape[1]) if baseline is None else baseline.detach().to(images)
    if empty.shape not in (images.shape[1:2], images.shape[1:]):
        what = f"a baseline of shape {tuple(empty.shape)} for pictures of {tuple(images.shape[1:])}"
        raise ConfigError(what, where="baseline", fix="Give one picture or one colour")
    empty = (empty if empty.ndim == 3 else empty[:, None, None]).expand(images.shape[1:])
    logits = answers(model, torch.cat([images, empty[None]]), batch_size)
    if logits.ndim != 2 or not getattr(model.config, "num_classes", 1):
        raise ConfigError("the model does not answer with one vector of classes", where="model.num_classes")
    wanted = logits[:-1].argmax(dim=1) if targets is None else torch.as_tensor(targets, device=logits.device).long()
    if wanted.shape != (len(images),) or not ((wanted >= 0) & (wanted < logits.shape[1])).all():
        what = f"targets {wanted.tolist()} for {len(images)} pictures"
        raise ConfigError(what, where="targets", fix=f"Give one of 0 to {logits.shape[1] - 1} for each picture")
    given = logits[:-1].gather(1, wanted[:, None])[:, 0]
    return Question(model, images, wanted, empty, given, logits[-1][wanted])


def answers(model: nn.Module, images: Tensor, batch_size: int = 32) -> Tensor:
    """Return logits (B, K) of `images`, some at a time, without gradients."""
    with still(model), torch.no_grad():
        return torch.cat([model(images[part]) for part in chunks(len(images), batch_size)])
