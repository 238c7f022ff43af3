"""How far a mean over seeds and test pictures may be off: the part of the seeds, and the part of the pictures.

Right answers x[s, i] of S trained models to T pictures have three sources of chance: which seed (a_s), which picture
(b_i), and what is left (e_si). Averaged, a/S + b/T + e/ST is the variance of the mean. As with readers and cases in
radiology (Hillis et al., Stat. Med. 24, 2005), the mean squares of the table estimate it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from .student import MOST_FREEDOM, t_bound, t_tail

NORMAL = 1.959963984540054
"""95 % of a normal variable lie within so many standard deviations"""

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The mean of a table of seeds by pictures, and the two parts of its variance."""

    mean: float
    by_seed: tuple[float, ...]
    """(S,) means"""
    seed_variance: float
    """of the mean, from seed to seed; 0 for one seed, of which it cannot be told"""
    least_variance: float
    """what `seed_variance` truly is at least, by what seeds and pictures together leave unexplained"""
    picture_variance: float
    """of the mean, from picture to picture, without what is in `seed_variance` already"""
    shrink: float
    """standard deviation of the pictures' part / that of the pictures' means, 0..1"""
    freedom: float
    """degrees of freedom of `seed_variance`; 0 for one seed"""

    def pooled(self, variance: float, freedom: float) -> Spread:
        """Return this spread with `variance` of the mean from seed to seed, where it is larger, of more freedom."""
        return replace(self, seed_variance=max(self.seed_variance, variance), freedom=max(freedom, self.freedom))

    @property
    def seed_part(self) -> float:
        """The standard deviation of the seeds' part, widened so that 1.96 of it hold 95 %: few seeds, Student's t."""
        if not self.freedom:
            return 0.0
        widening = t_bound(self.freedom) / NORMAL
        return max(widening * math.sqrt(self.seed_variance), math.sqrt(self.least_variance))

    @property
    def half(self) -> float:
        """Half of a 95 % interval of the mean: Student's t for the seeds, the normal for the pictures, as squares."""
        return NORMAL * math.hypot(self.seed_part, math.sqrt(self.picture_variance))

    @property
    def chance(self) -> float:
        """The p-value of a mean that is truly 0: the p whose interval, as `half` is that of 0.05, just reaches 0.

        nan for one seed.
        """
        if not self.freedom:
            return math.nan
        if self.mean == 0:
            return 1.0
        if self.seed_variance <= 0:
            rest = math.sqrt(self.least_variance + self.picture_variance)
            return t_tail(abs(self.mean) / rest, MOST_FREEDOM) if rest else 0.0
        low, high = 0.0, abs(self.mean) / math.sqrt(self.seed_variance)
        for _ in range(80):
            middle = (low + high) / 2
            normal = NormalDist().inv_cdf(max(t_tail(middle, self.freedom) / 2, 1e-300)) ** 2
            seeds = max(middle**2 * self.seed_variance, normal * self.least_variance)
            beyond = seeds + normal * self.picture_variance > self.mean**2
            low, high = (low, middle) if beyond else (middle, high)
        return t_tail(low, self.freedom)


def measure_spread(table: np.ndarray) -> Spread:
    """Return the spread of (S, T) numbers: right answers, or differences of them between two models."""
    table = np.asarray(table, dtype=np.float64)
    seeds, pictures = table.shape
    mean, by_seed, by_picture = table.mean(), table.mean(axis=1), table.mean(axis=0)
    of_pictures = seeds * ((by_picture - mean) ** 2).sum() / max(pictures - 1, 1)
    if seeds == 1:
        return Spread(float(mean), (float(mean),), 0.0, 0.0, float(of_pictures / pictures), 1.0, 0)
    of_seeds = pictures * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    rest = ((table - by_seed[:, None] - by_picture + mean) ** 2).sum() / ((seeds - 1) * max(pictures - 1, 1))
    own = max(of_pictures - rest, 0.0)
    return Spread(
        mean=float(mean),
        by_seed=tuple(by_seed.tolist()),
        seed_variance=float(of_seeds / (seeds * pictures)),
        least_variance=float(rest / (seeds * pictures)),
        picture_variance=float(own / (seeds * pictures)),
        shrink=math.sqrt(own / of_pictures) if own else 0.0,
        freedom=seeds - 1,
    )


@dataclass(frozen=True)
class Variance:
    """The variance of one accuracy from seed to seed."""

    value: float
    freedom: float
    """degrees of freedom"""


def seed_variances(accuracies: Mapping[int, Mapping[T, Sequence[float]]]) -> dict[tuple[T, int], Variance]:
    """Return (entry, size) -> the variance of its accuracy from seed to seed, less what seeds do to all alike.

    Few seeds tell little of one variance. It is taken to be a product: how far all entries spread at this size, times
    how far this entry spreads compared with the others, at all sizes alike. Both factors are means of more numbers.

    Args:
        accuracies: size -> entry -> accuracy for each seed, in one order; of entries that have all seeds of the size.
    """
    own: dict[int, dict[T, float]] = {}
    for size, here in accuracies.items():
        table = np.array(list(here.values()), dtype=np.float64)
        if len(here) > 1 and table.shape[1] > 1:
            rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
            powers = (rest**2).sum(axis=1) * len(here) / (len(here) - 1) / (table.shape[1] - 1)
            own[size] = dict(zip(here, powers.tolist(), strict=True))
    of_size = {size: float(np.mean(list(here.values()))) for size, here in own.items()}
    found = {}
    for size, here in own.items():
        for entry in here:
            shares = [own[at][entry] / of_size[at] for at in own if entry in own[at] and of_size[at]]
            single, others = len(accuracies[size][entry]) - 1, len(here) - 1
            freedom = max(float(single), single * len(shares) * others / (len(shares) + others))
            found[entry, size] = Variance(of_size[size] * (float(np.mean(shares)) if shares else 0.0), freedom)
    return found
