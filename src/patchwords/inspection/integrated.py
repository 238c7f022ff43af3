"""Integrated gradients with steps where they are needed (Sundararajan et al., 1703.01365, sec. 3, eq. 1).

A feature's share is (x - x') times the mean gradient on the straight way from the baseline x' to the picture x. The
shares sum to f(x) - f(x') (completeness). That holds on every piece of the way too, so that the error of each piece is
known: pieces with too much of it are halved until the whole is within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .attribution import Attribution, Question
from .results import Progress
from .still import chunks, still

TOGETHER = 8
"""pictures whose ways are measured in the same batches"""
PIECES = 2
"""of the way, at first; each is measured at both ends and in the middle (Simpson's rule)"""


def integrate_gradients(
    question: Question,
    *,
    tolerance_share: float = 0.02,
    max_steps: int = 256,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Attribution:
    """Return the integrated gradients of each pixel, summed over colours.

    Args:
        tolerance_share: allowed sum of the errors of all pieces, as a share of |f(x) - f(x')| or of one logit,
            whichever is more.
        max_steps: gradients taken for one picture at most; when they do not suffice, `gap` says so.
        batch_size: gradients taken at a time.

    Raises:
        ConfigError: fewer than 9 steps.
    """
    if max_steps < 2 * PIECES + 1:
        raise ConfigError(f"{max_steps} steps are too few", where="max_steps", fix=f"Give {2 * PIECES + 1} or more")
    allowed = tolerance_share * question.difference.abs().clamp_min(1.0)
    maps, passes, count = [], 0, len(question.images)
    with still(question.model):
        for part in chunks(count, TOGETHER):
            ways = [_Way(number, float(allowed[number]), max_steps) for number in range(part.start, part.stop)]
            while wanted := [(way, place) for way in ways for place in way.wanted()]:
                for some in chunks(len(wanted), batch_size):
                    _measure(question, wanted[some])
            maps += [way.integral() for way in ways]
            passes += sum(len(way.steps) for way in ways)
            if progress:
                progress(part.stop, count)
    stacked = np.stack(maps)
    gap = stacked.sum(axis=(1, 2), dtype=np.float64) - question.difference.double().cpu().numpy()
    return question.answer(
        "integrated_gradients",
        "logits",
        stacked,
        baseline_logits=question.baseline_logits.float().cpu().numpy(),
        gap=gap.astype(np.float32),
        passes=passes,
    )


@dataclass
class _Step:
    """What was measured at one place of the way."""

    logit: float
    slope: float
    """d logit / d place"""
    share: Tensor
    """(H, W): the gradient times the whole way, summed over colours"""


@dataclass
class _Way:
    """The way of one picture from its baseline, with what was measured on it."""

    number: int
    """of the picture"""
    allowed: float
    """sum of the errors, logits"""
    max_steps: int
    steps: dict[float, _Step] = field(default_factory=dict)
    pieces: list[tuple[float, float]] = field(default_factory=list)

    def wanted(self) -> list[float]:
        """Return where to measure next: the middles of halved pieces, nothing when the errors are small enough."""
        if not self.steps:
            edges = np.linspace(0, 1, PIECES + 1).tolist()
            self.pieces = list(zip(edges[:-1], edges[1:], strict=True))
            return np.linspace(0, 1, 2 * PIECES + 1).tolist()
        errors = np.array([self._error(piece) for piece in self.pieces])
        room = (self.max_steps - len(self.steps)) // 2
        if errors.sum() <= self.allowed or room < 1:
            return []
        worst = np.argsort(-errors, kind="stable")
        rest = errors.sum() - np.cumsum(errors[worst])  # what remains when the first ones are mended
        split = set(worst[: min(int(np.argmax(rest <= self.allowed / 2)) + 1, room)].tolist())
        halves = [half for index in split for half in _halves(self.pieces[index])]
        self.pieces = [piece for index, piece in enumerate(self.pieces) if index not in split] + halves
        return [(low + high) / 2 for low, high in halves]

    def integral(self) -> np.ndarray:
        """Return the shares (H, W), in float64 until the end."""
        total = torch.zeros_like(self.steps[0.0].share, dtype=torch.float64)
        for low, high in self.pieces:
            first, middle, last = (self.steps[place].share.double() for place in (low, (low + high) / 2, high))
            total += (high - low) / 6 * (first + 4 * middle + last)
        return total.float().numpy()

    def _error(self, piece: tuple[float, float]) -> float:
        low, high = piece
        first, middle, last = (self.steps[place] for place in (low, (low + high) / 2, high))
        summed = (high - low) / 6 * (first.slope + 4 * middle.slope + last.slope)
        return abs(summed - (last.logit - first.logit))


def _measure(question: Question, wanted: list[tuple[_Way, float]]) -> None:
    """Take the gradient at each place that is wanted, and keep it with its way."""
    numbers = torch.tensor([way.number for way, _ in wanted], device=question.images.device)
    whole = question.images[numbers] - question.baseline
    share = torch.tensor([place for _, place in wanted], dtype=whole.dtype, device=whole.device)
    x = (question.baseline + share[:, None, None, None] * whole).requires_grad_()
    logits = question.model(x).gather(1, question.targets[numbers, None])[:, 0]
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    shares = (gradient * whole).sum(dim=1).cpu()
    slopes = shares.sum(dim=(1, 2), dtype=torch.float64).tolist()
    for (way, place), logit, slope, each in zip(wanted, logits.tolist(), slopes, shares, strict=True):
        way.steps[place] = _Step(logit, slope, each.clone())


def _halves(piece: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    low, high = piece
    return (low, (low + high) / 2), ((low + high) / 2, high)
