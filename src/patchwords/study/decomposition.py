"""Bias and variance of wrong answers, from models of one kind that were trained on different pictures.

Two ways to split the share of wrong answers, from the votes of K models alone. Squared loss of the vote as a vector
of 0 and 1 (Kohavi and Wolpert, ICML 1996): error = bias² + variance, where the variance is half of how often two of
the models give different answers; both are estimated without bias for any K. And by majority vote (Domingos, ICML
2000): error = share of pictures that the majority has wrong + what leaving the majority costs on the others - what it
gains on these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .entry import Entry, entries_of, groups_of
from .results import DRAWS, Cell, Results
from .student import t_bound


@dataclass(frozen=True)
class Part:
    """A share of the pictures with its 95 % interval; nan where fewer than three models tell nothing of it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Decomposition:
    """The wrong answers of one entry at one size."""

    entry: Entry
    size: int
    models: int
    """K"""
    draw: str
    """how their training pictures were drawn: subset, bootstrap or disjoint"""
    error: float
    """share of wrong answers, mean over models and pictures"""
    bias2: Part
    variance: Part
    """Kohavi and Wolpert: bias2 + variance = error"""
    majority_wrong: float
    """share of pictures that the majority has wrong; of equally many votes, the class that stands first"""
    leaving_costs: float
    """wrong answers against a majority that is right"""
    leaving_gains: float
    """right answers against a majority that is wrong; error = majority_wrong + leaving_costs - leaving_gains"""


def decompose(results: Results) -> list[Decomposition]:
    """Return bias and variance of every entry and size that has two models with votes or more.

    Models that were trained for this (bootstrap, disjoint) go before those of the learning curves.
    """
    found = {}
    for draw in DRAWS:  # later ones write over earlier ones
        for (entry, size), cells in groups_of(results, (draw,)).items():
            voting = [cell for cell in cells if cell.votes is not None]
            if len(voting) > 1:
                found[entry, size] = _decomposed(entry, size, draw, voting)
    order = entries_of(results)
    return [found[key] for key in sorted(found, key=lambda key: (key[1], order.index(key[0])))]


def _decomposed(entry: Entry, size: int, draw: str, cells: Sequence[Cell]) -> Decomposition:
    votes, right = np.stack([cell.votes for cell in cells]), np.stack([cell.correct for cell in cells])
    bias2, variance = squared(votes, right)
    return Decomposition(
        entry, size, len(cells), draw, float(1 - right.mean()), bias2, variance, *by_majority(votes, right)
    )


def squared(votes: np.ndarray, right: np.ndarray) -> tuple[Part, Part]:
    """Return bias² and variance (Kohavi and Wolpert) of (K, T) votes, of which `right` says which are right."""
    wrong = 1.0 - right
    apart = np.array([votes[i] != votes[j] for i, j in combinations(range(len(votes)), 2)]) / 2
    pairs = np.array(list(combinations(range(len(votes)), 2)))
    without = [~(pairs == left).any(axis=1) for left in range(len(votes))]  # pairs that are there without a model
    keep = [np.arange(len(votes)) != left for left in range(len(votes))]
    variance = _part(apart.mean(axis=0), [apart[kept].mean() for kept in without] if len(votes) > 2 else [])
    left_out = [wrong[k].mean() - apart[p].mean() for k, p in zip(keep, without, strict=True)] if len(votes) > 2 else []
    return _part(wrong.mean(axis=0) - apart.mean(axis=0), left_out), variance


def _part(by_picture: np.ndarray, left_out: Sequence[float]) -> Part:
    """Return a mean over pictures with its interval.

    The models' part of the variance is the jackknife's, with Student's t of K - 1; the pictures' part the normal's.
    """
    value, count = float(by_picture.mean()), len(left_out)
    if count < 3:
        return Part(value, float("nan"), float("nan"))
    models = (count - 1) / count * float(((np.array(left_out) - np.mean(left_out)) ** 2).sum())
    pictures = float(by_picture.var(ddof=1)) / len(by_picture) if len(by_picture) > 1 else 0.0
    half = math.sqrt(t_bound(count - 1) ** 2 * models + t_bound(1e9) ** 2 * pictures)
    return Part(value, value - half, value + half)


def by_majority(votes: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Return (majority wrong, wrong answers against a right majority, right answers against a wrong one), as shares.

    Source: P. Domingos, "A unified bias-variance decomposition", ICML 2000, theorem 2, without noise.
    """
    classes = int(votes.max(initial=0)) + 1
    counts = np.stack([(votes == each).sum(axis=0) for each in range(classes)])
    main = counts.argmax(axis=0)
    main_right = ((votes == main) & right).any(axis=0)
    costs, gains = ~right & main_right, right & ~main_right
    return float((~main_right).mean()), float(costs.mean()), float(gains.mean())
