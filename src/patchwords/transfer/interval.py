"""The mean of repeats and its 95 % interval by Student's t."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers, one for each repeat."""

    repeats: tuple[float, ...]
    """each in 0..1"""

    @property
    def mean(self) -> float:
        """Mean over the repeats."""
        return float(np.mean(self.repeats))

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the mean: t times s / sqrt(repeats); None for one repeat."""
        count = len(self.repeats)
        return float(t_quantile(count - 1) * np.std(self.repeats, ddof=1) / math.sqrt(count)) if count > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"mean": self.mean, "half_interval": self.half, "repeats": list(self.repeats)}


@cache
def t_quantile(freedom: int, share: float = 0.95) -> float:
    """Return the t with P(|T| <= t) = `share` for Student's T with `freedom` degrees of freedom, by bisection."""
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_within(middle, freedom) < share else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _share_within(angle: float, freedom: int) -> float:
    """Return P(|T| <= tan(angle) sqrt(freedom)); Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total
