"""The bootstrap of a study: seeds and test pictures drawn again, the same draw for every model.

A mean is resampled as mean + (seeds' part) + (pictures' part). T pictures are drawn with replacement out of T; their
part is shrunk by what the seeds' part has in it already (drawing both at once and multiplying counts that three times:
Owen, Ann. Appl. Stat. 1, 2007). Three seeds have but ten draws with replacement: what each seed is off the mean is
weighted by a normal number instead (multiplier bootstrap; Wu, Ann. Stat. 14, 1986), and widened to Student's t, because
few seeds say little of how far seeds spread. All draws are functions of (seed, number of the resample).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..randomness import bits, uniform
from .spread import Spread

_CHUNK = 2_000_000
"""pictures drawn at a time"""


@dataclass(frozen=True)
class Bootstrap:
    """How often everything is drawn again, and where the random numbers begin."""

    resamples: int = 2000
    seed: int = 0

    def pictures(self, columns: np.ndarray) -> np.ndarray:
        """Return (resamples, C): how far the mean of each column of (T, C) moves when its T rows are drawn again."""
        count = len(columns)
        centred = np.asarray(columns, dtype=np.float64) - np.mean(columns, axis=0)
        step = max(1, _CHUNK // max(count, 1))
        moved = [
            self._times(np.arange(start, min(start + step, self.resamples)), count) @ centred / count
            for start in range(0, self.resamples, step)
        ]
        return np.concatenate(moved)

    def _times(self, resamples: np.ndarray, count: int) -> np.ndarray:
        """Return (resamples, count): how often each picture is drawn."""
        drawn = self._whole("study/pictures", resamples, count, count)
        drawn += count * np.arange(len(resamples))[:, None]
        return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)

    def seeds(self, seeds: Sequence[int]) -> np.ndarray:
        """Return (resamples, S) standard normal numbers, the same for the same seeds (Box and Muller, 1958)."""
        site, rows, count = f"study/seeds/{','.join(map(str, seeds))}", np.arange(self.resamples), len(seeds)
        share = uniform(self.seed, site, 0, rows, 2 * count)
        return np.sqrt(-2 * np.log1p(-share[:, :count])) * np.cos(2 * np.pi * share[:, count:])

    def _whole(self, site: str, resamples: np.ndarray, draws: int, below: int) -> np.ndarray:
        """Return (resamples, draws) whole numbers below `below`."""
        drawn = bits(self.seed, site, 0, resamples, draws).astype(np.uint64)
        return ((drawn * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


def resampled(spread: Spread, normal: np.ndarray, picture_moves: np.ndarray) -> np.ndarray:
    """Return (resamples,): the mean of `spread` drawn again.

    Args:
        normal: (resamples, S) of `Bootstrap.seeds`.
        picture_moves: (resamples,) of `Bootstrap.pictures`, for the means of the pictures over the seeds.
    """
    off = np.asarray(spread.by_seed) - spread.mean
    length = np.sqrt((off**2).sum())
    direction = off / length if length else np.full(len(off), len(off) ** -0.5)
    return spread.mean + spread.seed_part * (normal @ direction) + spread.shrink * picture_moves


def interval(values: np.ndarray, share: float = 0.95) -> tuple[float, float]:
    """Return the middle `share` of resampled values; values may be infinite."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2], method="inverted_cdf")
    return float(low), float(high)
