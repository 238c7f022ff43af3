"""Accuracy at equal compute: what each model had reached when it had spent what the cheapest spent in all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .entry import Entry, groups_of
from .results import Cell, Results

SAME = 0.05
"""budgets that differ by less are called the same"""


@dataclass(frozen=True)
class Reached:
    """One entry at one size, at the training FLOPs of the cheapest entry of that size."""

    entry: Entry
    size: int
    seeds: int
    budget: float
    """training FLOPs"""
    share: float
    """of the entry's own training that was done by then; at less than 1 its schedule was not at its end"""
    val_top1: float
    """share of right validation answers, mean over the seeds; nan: the training was not measured that early"""
    sd: float
    """over the seeds; nan for one"""


@dataclass(frozen=True)
class Course:
    """How the accuracy of one entry at one size grew with the compute that was spent, mean over the seeds."""

    entry: Entry
    size: int
    flops: tuple[float, ...]
    val_top1: tuple[float, ...]
    """share of right validation answers"""


def courses_of(results: Results) -> list[Course]:
    """Return the course of every entry and size, at the places where its first seed was measured."""
    found = []
    for (entry, size), cells in groups_of(results).items():
        places, _ = measured_of(cells[0])
        measured = [measured_of(cell) for cell in cells]
        if len(places) and all(len(spent) for spent, _ in measured):
            means = np.mean([np.interp(places, spent, reached) for spent, reached in measured], axis=0)
            found.append(Course(entry, size, tuple(places.tolist()), tuple(means.tolist())))
    return found


def reached_at_equal_flops(results: Results) -> list[Reached]:
    """Return the accuracies at equal training FLOPs, by the curves on the validation pictures."""
    groups, found = groups_of(results), []
    for size in sorted({size for _, size in groups}):
        here = {entry: cells for (entry, at), cells in groups.items() if at == size}
        if len(here) < 2:
            continue
        budget = min(float(np.mean([cell.flops for cell in cells])) for cells in here.values())
        for entry, cells in here.items():
            values = np.array([accuracy_at(cell, budget) for cell in cells])
            share = min(1.0, budget / float(np.mean([cell.flops for cell in cells])))
            sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
            found.append(Reached(entry, size, len(cells), budget, share, float(values.mean()), sd))
    return found


def accuracy_at(cell: Cell, flops: float) -> float:
    """Return the validation accuracy of a training when it had spent `flops`, straight lines between measurements."""
    spent, reached = measured_of(cell)
    if flops >= cell.flops * (1 - SAME):
        return cell.val_top1
    if not len(spent) or flops < spent[0]:
        return float("nan")
    return float(np.interp(flops, spent, reached))


def measured_of(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return the training FLOPs and the share of right validation answers where both were measured."""
    points = [(seen, top1) for seen, top1, _ in cell.curve if top1 is not None]
    seen, top1 = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return seen * (cell.flops / max(cell.samples_seen, 1)), top1
