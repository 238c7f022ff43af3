"""The answers of a study, drawn again: accuracies and differences with their spread, one draw for everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from .bootstrap import Bootstrap, resampled
from .entry import Entry, entries_of, groups_of, pairs_of
from .results import Results
from .spread import Spread, Variance, measure_spread, seed_variances

Key = tuple[Entry, int]
Place = tuple[Entry, int, tuple[int, ...]]


class Sample:
    """Means of a study and their resamples.

    Args:
        results: of the study.
        bootstrap: how often everything is drawn again.
    """

    def __init__(self, results: Results, bootstrap: Bootstrap) -> None:
        self.bootstrap = bootstrap
        self.entries = entries_of(results)
        self.pairs = pairs_of(self.entries)
        self.groups = groups_of(results)
        self.sizes = sorted({size for _, size in self.groups})

    def seeds(self, *entries: Entry, size: int) -> tuple[int, ...]:
        """Return the seeds that all of `entries` have at `size`."""
        found = [{cell.seed for cell in self.groups.get((entry, size), ())} for entry in entries]
        return tuple(sorted(set.intersection(*found)))

    def answers(self, entry: Entry, size: int, seeds: tuple[int, ...]) -> np.ndarray:
        """Return (S, T): 1.0 for a right answer."""
        return np.stack([cell.correct for cell in self.groups[entry, size] if cell.seed in seeds]).astype(np.float64)

    def score(self, entry: Entry, size: int) -> tuple[Spread, np.ndarray]:
        """Return the accuracy of an entry and its resamples."""
        seeds = self.seeds(entry, size=size)
        spread = measure_spread(self.answers(entry, size, seeds))
        return spread, resampled(spread, self._normal(seeds), self._moves[entry, size, seeds])

    def difference(self, first: Entry, second: Entry, size: int, *, pooled: bool = True) -> tuple[Spread, np.ndarray]:
        """Return the accuracy of `first` minus that of `second` over the seeds they share, and its resamples.

        Args:
            pooled: take the variance from seed to seed of `seed_variances`, or the pair's own where that is larger.
                False: its own alone, as functions of several sizes need it.
        """
        seeds = self.seeds(first, second, size=size)
        spread = measure_spread(self.answers(first, size, seeds) - self.answers(second, size, seeds))
        known = [self._of_seeds.get((entry, size)) for entry in (first, second)]
        if pooled and all(known) and len(seeds) > 1:
            variance = sum(each.value for each in known) / len(seeds)
            spread = spread.pooled(variance, min(each.freedom for each in known))
        moves = self._moves[first, size, seeds] - self._moves[second, size, seeds]
        return spread, resampled(spread, self._normal(seeds), moves)

    def combined(self, first: Entry, second: Entry, weights: Mapping[int, float]) -> Spread:
        """Return the sum over sizes of weight times difference, over the seeds that all these sizes share."""
        seeds = tuple(sorted(set.intersection(*(set(self.seeds(first, second, size=size)) for size in weights))))
        if not seeds:
            return Spread(math.nan, (), math.nan, math.nan, math.nan, math.nan, 0)
        return measure_spread(
            sum(
                weight * (self.answers(first, size, seeds) - self.answers(second, size, seeds))
                for size, weight in weights.items()
            )
        )

    @cached_property
    def _of_seeds(self) -> dict[Key, Variance]:
        return seed_variances(
            {
                size: {
                    entry: [cell.test_top1 for cell in self.groups[entry, size]]
                    for entry in self.entries
                    if self.seeds(entry, size=size) == self._all_seeds(size)
                }
                for size in self.sizes
            }
        )

    def _all_seeds(self, size: int) -> tuple[int, ...]:
        return tuple(sorted({cell.seed for (_, at), cells in self.groups.items() if at == size for cell in cells}))

    def _normal(self, seeds: tuple[int, ...]) -> np.ndarray:
        if seeds not in self._drawn:
            self._drawn[seeds] = self.bootstrap.seeds(seeds)
        return self._drawn[seeds]

    @cached_property
    def _drawn(self) -> dict[tuple[int, ...], np.ndarray]:
        return {}

    @cached_property
    def _moves(self) -> dict[Place, np.ndarray]:
        """How far the mean over seeds and pictures moves when pictures are drawn again, of all that is asked for."""
        places = {(entry, size, self.seeds(entry, size=size)) for entry, size in self.groups}
        for first, second in self.pairs:
            for size in self.sizes:
                seeds = self.seeds(first, second, size=size)
                places |= {(entry, size, seeds) for entry in (first, second) if seeds}
        order = sorted(places, key=lambda place: (self.entries.index(place[0]), *place[1:]))
        columns = np.stack([self.answers(*place).mean(axis=0) for place in order], axis=1)
        return dict(zip(order, self.bootstrap.pictures(columns).T, strict=True))
