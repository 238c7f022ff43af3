"""Does an exported file answer as the model does? Pictures through both, and the bounds that it must keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import LoadedModel
from ..errors import CheckError
from ..preprocess import Preprocess
from ..randomness import derived_seed
from .graph import graph_of, input_shape

AGREEMENT = 0.995
"""least share of the pictures with the same first label"""
BOUNDS = {"fp32": 1e-3, "bf16": 0.1, "int8": 0.5}
"""precision -> largest difference of a logit, as a share of the largest logit (at least 1)"""
MADE_UP = 4
"""pictures of the check that is always made"""


@dataclass(frozen=True)
class Agreement:
    """How far the answers of two engines are apart, over the same pictures."""

    pictures: int
    top1: float
    """share of the pictures with the same first label"""
    largest_logit: float
    mean_logit: float
    largest_probability: float
    """largest differences of a logit and of a probability, and the mean one of a logit"""
    relative_logit: float
    """the largest difference of a logit as a share of the largest logit (at least 1)"""
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    """share of the pictures with labels that is right, of the model and of the file; None: no labels"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def fault(self, precision: str, agreement: float = AGREEMENT) -> str:
        """Return which bound of `precision`, or share of first labels, is not kept; empty if all are."""
        bound = BOUNDS[precision]
        if not self.relative_logit <= bound:  # it may be NaN
            return f"logits differ by {self.relative_logit:.2g} of the largest, more than {bound:g} for {precision}"
        if self.top1 < agreement:
            return f"{100 * self.top1:.2f} % of {self.pictures} first labels are the same, not {100 * agreement:g} %"
        return ""

    def require(self, precision: str, where: str, agreement: float = AGREEMENT) -> None:
        """Raise CheckError if there is a `fault`."""
        if fault := self.fault(precision, agreement):
            raise CheckError(fault, where=where, fix="Choose a higher --precision, or another --to")


def made_up(preprocess: Preprocess, count: int = MADE_UP) -> Tensor:
    """Return uint8 pictures (count, C, H, W): noise, coarse and fine in turn."""
    channels, rows, columns = input_shape(preprocess)
    generator = torch.Generator().manual_seed(derived_seed(0, "pictures"))
    pictures = []
    for number in range(count):
        side = 4 ** (1 + number % 3)
        noise = torch.rand(1, channels, side, side, generator=generator) * 255
        pictures.append(torch.nn.functional.interpolate(noise, size=(rows, columns), mode="bilinear"))
    return torch.cat(pictures).round().to(torch.uint8)


@torch.inference_mode()
def compare(
    loaded: LoadedModel,
    engine: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    labels: np.ndarray | None = None,
) -> Agreement:
    """Return how far the answers of `engine` are from those of torch in float32.

    Args:
        batches: uint8 pixels (B, C, H, W).
        labels: (picture,) index of the class, below 0 for one that the model does not know; None: not known.
    """
    graph = graph_of(loaded)
    pairs = [(graph(pixels), engine(pixels)) for pixels in batches]
    ours, theirs = (torch.cat([pair[side] for pair in pairs]).float() for side in (0, 1))
    if ours.shape != theirs.shape:
        raise CheckError(f"gives logits of shape {tuple(theirs.shape)}, not {tuple(ours.shape)}", where="export")
    apart = (ours - theirs).abs()
    found = Agreement(
        pictures=len(ours),
        top1=(ours.argmax(-1) == theirs.argmax(-1)).double().mean().item(),
        largest_logit=apart.max().item(),
        mean_logit=apart.mean().item(),
        largest_probability=(ours.softmax(-1) - theirs.softmax(-1)).abs().max().item(),
        relative_logit=(apart.max() / ours.abs().max().clamp_min(1)).item(),
    )
    if labels is None:
        return found
    wanted = torch.from_numpy(labels)
    right = [(logits.argmax(-1) == wanted).double().mean().item() for logits in (ours, theirs)]
    return replace(found, accuracy_before=right[0], accuracy_after=right[1])
