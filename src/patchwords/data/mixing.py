"""Mixup, cutmix and label smoothing of one virtual shard, drawn from counters."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import AugmentConfig
from ..randomness import uniform


@dataclass(frozen=True)
class Mixer:
    """Mixing of the pictures of a shard with each other, and the targets that belong to it.

    Each picture is mixed with the one before it in its shard (the first with the last). The share, the
    box and, with both kinds on, the kind are drawn once for a shard from (seed, step, shard): they do
    not depend on how many processes the shards of a batch are spread over.
    """

    config: AugmentConfig
    num_classes: int
    smoothing: float
    """label smoothing: this share of the target is spread evenly over all classes"""
    seed: int

    @property
    def on(self) -> bool:
        """Whether pictures are mixed at all."""
        return self.config.mixup > 0 or self.config.cutmix > 0

    def __call__(
        self, images: Tensor, labels: Tensor, *, step: int, shard: int = 0, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mixed pictures and soft targets.

        Args:
            images: (B, C, H, W) of one shard, uint8 or float; the type stays.
            labels: (B,) int64.
            step, shard: counters of the draws.
            weights: (B,), 0 for a picture that could not be read: nothing is mixed with such a one.

        Returns:
            pictures as given, and targets (B, num_classes) float32 whose rows sum to 1.

        Paper: mixup 1710.09412, eq. 1-2; cutmix 1905.04899, alg. A1; label smoothing 1512.00567, sec. 7.
        """
        targets = self.targets(labels)
        if not self.on or len(images) < 2:
            return images, targets
        choice, top, left = uniform(self.seed, "mix/choice", step, shard, 3)[0].tolist()
        cut = self.config.cutmix > 0 and (self.config.mixup == 0 or choice < 0.5)
        share = beta(self.config.cutmix if cut else self.config.mixup, self.seed, "mix/share", step, shard)
        usable = torch.ones(len(labels), device=labels.device) if weights is None else (weights > 0).float()
        usable = usable.roll(1, 0).view(-1, 1, 1, 1)
        partner = images.roll(1, 0)
        if cut:
            box, share = cut_box(images.shape[-2], images.shape[-1], share, top, left)
            hole = torch.zeros(images.shape[-2:], device=images.device)
            hole[box[0] : box[1], box[2] : box[3]] = 1
            images = torch.where(hole * usable.to(images.device) > 0, partner, images)
        else:
            images = blend(images, partner, (1 - share) * usable.to(images.device))
        other = (1 - share) * usable.view(-1, 1).to(targets.device)
        return images, targets * (1 - other) + targets.roll(1, 0) * other

    def targets(self, labels: Tensor) -> Tensor:
        """Return (B, num_classes) float32: the label, smoothed."""
        even = self.smoothing / self.num_classes
        targets = torch.full((len(labels), self.num_classes), even, device=labels.device)
        return targets.scatter_(1, labels.view(-1, 1), 1 - self.smoothing + even)


def blend(images: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Return images * (1 - share) + partner * share, rounded when they are uint8; share broadcasts."""
    # two products and a sum, each rounded by itself: torch.lerp may fuse them in one part of an array only
    if images.dtype == torch.uint8:
        return (images * (1 - share) + partner * share).round_().to(torch.uint8)
    share = share.to(images.dtype)
    return images * (1 - share) + partner * share


def cut_box(height: int, width: int, share: float, top: float, left: float) -> tuple[tuple[int, int, int, int], float]:
    """Return ((top, bottom, left, right), share of the picture that is left outside the box).

    Args:
        share: wanted share outside, 0..1; the box is cut at the border, so that the true share differs.
        top, left: place of the centre as shares of height and width.
    """
    tall, wide = (int(side * math.sqrt(1 - share)) for side in (height, width))
    y, x = int(top * height), int(left * width)
    rows = max(y - tall // 2, 0), min(y - tall // 2 + tall, height)
    columns = max(x - wide // 2, 0), min(x - wide // 2 + wide, width)
    covered = (rows[1] - rows[0]) * (columns[1] - columns[0])
    return (*rows, *columns), 1 - covered / (height * width)


def beta(alpha: float, seed: int, site: str, step: int, shard: int) -> float:
    """Return a draw of Beta(alpha, alpha), a function of (seed, site, step, shard): x / (x + y), both Gamma(alpha)."""
    first, second = (_log_gamma_draw(alpha, seed, f"{site}/{name}", step, shard) for name in ("x", "y"))
    return 1 / (1 + math.exp(min(second - first, 700.0)))


def _log_gamma_draw(alpha: float, seed: int, site: str, step: int, shard: int) -> float:
    """Return the logarithm of a draw of Gamma(alpha): Marsaglia and Tsang, 2000, sec. 2 and 6."""
    d = alpha + 1 - 1 / 3  # of Gamma(alpha + 1), taken to Gamma(alpha) by a power of one more uniform
    c = 1 / math.sqrt(9 * d)
    for attempt in itertools.count():
        u, v, w, power = (1 - uniform(seed, f"{site}/{attempt}", step, shard, 4)[0]).tolist()  # in (0, 1]
        normal = math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
        cube = (1 + c * normal) ** 3
        if cube > 0 and math.log(w) < 0.5 * normal * normal + d * (1 - cube + math.log(cube)):
            return math.log(d * cube) + math.log(power) / alpha
    raise AssertionError("a draw is accepted in the end")
