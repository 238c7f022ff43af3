"""The numbers of a study: accuracies with intervals, paired tests, crossings, cost, bias and variance, shifts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..transfer.interval import Accuracy
from .bootstrap import Bootstrap, interval
from .budget import Course, Reached, courses_of, reached_at_equal_flops
from .crossing import Crossing, find_crossing, slope_weights
from .decomposition import Decomposition, decompose
from .entry import Entry, labels_of
from .results import Cell, Results
from .sample import Sample
from .student import holm

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """One entry at one size."""

    entry: Entry
    size: int
    seeds: int
    """n"""
    mean: float
    """share of right test answers, 0..1, as the next three"""
    sd: float
    """standard deviation over the seeds; nan for one"""
    low: float
    high: float
    """ends of the 95 % interval over seeds and test pictures; over pictures alone for one seed"""
    rates: tuple[float, ...]
    """learning rates that were chosen"""
    flops: float
    """of a training, mean over the seeds"""
    parameters: int
    samples_seen: float
    shift: float
    """share of test pictures with the same answer after a shift by one pixel, mean over the seeds; nan: not measured"""
    shift_half: float
    """half of its 95 % interval over the seeds; nan for one"""


@dataclass(frozen=True)
class Pair:
    """Two entries at one size, compared over the seeds that both have and over all test pictures."""

    first: Entry
    second: Entry
    size: int
    seeds: int
    difference: float
    """accuracy of the first minus that of the second"""
    low: float
    high: float
    p: float
    """of a difference that is truly 0; nan for one seed: nothing can be said of others"""
    holm: float
    """the same, corrected for all pairs of the study"""

    @property
    def significant(self) -> bool:
        """Whether the corrected p is at most 0.05."""
        return self.holm <= SIGNIFICANT


@dataclass(frozen=True)
class Summary:
    """Everything that is worked out from the results of a study."""

    question: dict[str, Any]
    classes: int
    pictures: int
    """test pictures"""
    bootstrap: Bootstrap
    entries: tuple[Entry, ...]
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    crossings: tuple[Crossing, ...]
    reached: tuple[Reached, ...]
    courses: tuple[Course, ...]
    decompositions: tuple[Decomposition, ...]
    missing: tuple[str, ...]
    """what was asked for and is not there, in words"""
    edges: int
    """groups of cells whose learning rate is the smallest or the largest there was to choose from; -1: not known"""

    @property
    def labels(self) -> dict[Entry, str]:
        """entry -> what it is called"""
        return labels_of(self.entries)

    def level(self, augment: str) -> Summary:
        """Return what is said of one level of augmentation alone."""
        entries = tuple(entry for entry in self.entries if entry.augment == augment)
        return replace(
            self,
            entries=entries,
            scores=tuple(each for each in self.scores if each.entry in entries),
            pairs=tuple(each for each in self.pairs if {each.first, each.second} <= set(entries)),
            crossings=tuple(each for each in self.crossings if {each.before, each.after} <= set(entries)),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Training pictures, growing."""
        return tuple(sorted({score.size for score in self.scores}))

    def at(self, size: int) -> list[Score]:
        """Return the scores at a size, best first."""
        return sorted((score for score in self.scores if score.size == size), key=lambda score: -score.mean)


def summarise(results: Results, resamples: int = 2000, seed: int = 0) -> Summary:
    """Return the numbers of a study, a function of its results and of `seed` alone.

    Args:
        resamples: of the bootstrap over seeds and test pictures.
        seed: of its random numbers.
    """
    bootstrap = Bootstrap(resamples, seed)
    sample = Sample(results, bootstrap)
    pairs = _pairs(sample)
    return Summary(
        question=results.question,
        classes=len(results.classes),
        pictures=results.pictures,
        bootstrap=bootstrap,
        entries=sample.entries,
        scores=tuple(_score(sample, entry, size) for entry in sample.entries for size in _sizes(sample, entry)),
        pairs=tuple(pairs),
        crossings=tuple(_crossings(sample, pairs)),
        reached=tuple(reached_at_equal_flops(results)),
        courses=tuple(courses_of(results)),
        decompositions=tuple(decompose(results)),
        missing=tuple(_missing(sample, results.question)),
        edges=_edges(sample, results.question.get("rates", ())),
    )


def _sizes(sample: Sample, *entries: Entry) -> list[int]:
    return [size for size in sample.sizes if sample.seeds(*entries, size=size)]


def _score(sample: Sample, entry: Entry, size: int) -> Score:
    cells = sample.groups[entry, size]
    spread, draws = sample.score(entry, size)
    low, high = (min(1.0, max(0.0, end)) for end in interval(draws))
    shifts = Accuracy(tuple(cell.shift_consistency for cell in cells if cell.shift_consistency is not None))
    return Score(
        entry=entry,
        size=size,
        seeds=len(cells),
        mean=spread.mean,
        sd=float(np.std(spread.by_seed, ddof=1)) if len(cells) > 1 else math.nan,
        low=low,
        high=high,
        rates=tuple(sorted({cell.lr for cell in cells})),
        flops=float(np.mean([cell.flops for cell in cells])),
        parameters=cells[0].parameters,
        samples_seen=float(np.mean([cell.samples_seen for cell in cells])),
        shift=shifts.mean if shifts.repeats else math.nan,
        shift_half=shifts.half if len(shifts.repeats) > 1 else math.nan,
    )


def _pairs(sample: Sample) -> list[Pair]:
    """Return all pairs at all sizes; the correction is for all of them that can be tested."""
    found = []
    for size in sample.sizes:
        for first, second in sample.pairs:
            seeds = sample.seeds(first, second, size=size)
            if seeds:
                spread, draws = sample.difference(first, second, size)
                found.append((first, second, size, len(seeds), spread.mean, *interval(draws), spread.chance))
    tested = [number for number, pair in enumerate(found) if not math.isnan(pair[-1])]
    corrected = dict(zip(tested, holm([found[number][-1] for number in tested]), strict=True))
    return [Pair(*pair, corrected.get(number, math.nan)) for number, pair in enumerate(found)]


def _crossings(sample: Sample, pairs: list[Pair]) -> list[Crossing]:
    ahead = {
        (pair.first, pair.second, pair.size): math.copysign(1, pair.difference) if pair.significant else 0
        for pair in pairs
    }
    found = []
    for first, second in sample.pairs:
        sizes = tuple(_sizes(sample, first, second))
        if len(sizes) > 1:
            curves = [sample.difference(first, second, size, pooled=False) for size in sizes]
            means = np.array([spread.mean for spread, _ in curves])
            draws = np.stack([drawn for _, drawn in curves], axis=1)
            signs = np.array([ahead[first, second, size] for size in sizes])
            slope = sample.combined(first, second, dict(zip(sizes, slope_weights(sizes), strict=True)))
            found.append(find_crossing(first, second, sizes, means, draws, signs, slope))
    return found


def _missing(sample: Sample, question: Mapping[str, Any]) -> list[str]:
    """Return which entries lack sizes or seeds that others have, and which models have nothing at all."""
    labels = labels_of(sample.entries)
    seeds = {cell.seed for cells in sample.groups.values() for cell in cells}
    models = {entry.model for entry in sample.entries}
    lacking = [f"{model}: not at all" for model in question.get("models", ()) if model not in models]
    asked = question.get("seeds")
    if isinstance(asked, int) and len(seeds) < asked:
        lacking.append(f"{len(seeds)} of {asked} seeds")
    for entry in sample.entries:
        for size in sample.sizes:
            gone = sorted(seeds - set(sample.seeds(entry, size=size)))
            if gone:
                which = "not at all" if len(gone) == len(seeds) else f"not for seed {', '.join(map(str, gone))}"
                lacking.append(f"{labels[entry]} with {size:,} pictures: {which}")
    return lacking


def _edges(sample: Sample, rates: Any) -> int:
    """Return in how many groups the chosen learning rate is an end of those that there were."""
    if not isinstance(rates, list | tuple) or len(rates) < 2:
        return -1
    chosen = [cell for cells in sample.groups.values() for cell in cells[:1]]
    return sum(_at_an_end(cell, [float(rate) for rate in rates]) for cell in chosen)


def _at_an_end(cell: Cell, rates: list[float]) -> bool:
    scale = 0.1 if cell.arm == "transfer" else 1.0  # checkpoints have a tenth of the rates
    return any(math.isclose(cell.lr, scale * end, rel_tol=1e-5) for end in (min(rates), max(rates)))
