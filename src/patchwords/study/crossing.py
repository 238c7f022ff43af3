"""The crossing size: how many pictures it takes until one model is ahead of another for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bootstrap import interval
from .entry import Entry
from .spread import Spread

SEEN, UNSURE, NONE = "seen", "unsure", "none"


@dataclass(frozen=True)
class Crossing:
    """Where the learning curves of two entries meet."""

    before: Entry
    """whose mean is higher below the crossing; where there is none, at all sizes"""
    after: Entry
    """the other one, whose mean is higher above it, up to the largest size"""
    state: str
    """seen: each is ahead at a size of its side, significantly after Holm; unsure: the means cross, that much is not
    shown; none: in the range that was measured, the mean of one is never below that of the other"""
    sizes: tuple[int, ...]
    """training pictures of both"""
    size: float
    """training pictures at the (last) crossing, straight lines between the means over log n; nan: none"""
    low: float
    high: float
    """ends of the 95 % interval; -inf: below the range that was measured, inf: above it; nan: none"""
    crossings: int
    """how often the means cross"""
    slope: float
    """by how much the lead of `before` changes with ten times the pictures, least squares over log10 n; in 0..1"""
    slope_half: float
    """half of its 95 % interval"""


def find_crossing(
    first: Entry,
    second: Entry,
    sizes: tuple[int, ...],
    means: np.ndarray,
    draws: np.ndarray,
    ahead: np.ndarray,
    slope: Spread,
) -> Crossing:
    """Return the crossing of two curves.

    Args:
        first, second: whose curves they are.
        sizes: (n,) training pictures, growing; n > 1.
        means: (n,) accuracy of `first` minus that of `second`.
        draws: (resamples, n) of the same, drawn again.
        ahead: (n,) 1 where `first` is significantly ahead, -1 where `second` is, 0 elsewhere.
        slope: of `means` over log10 n.
    """
    signs, turn = _signs(means[None])[0], 1
    if signs[-1] > 0 and (signs < 0).any() or (signs < 0).all():  # turn it, so that `first` leads before the crossing
        first, second, means, draws, ahead, signs, turn = second, first, -means, -draws, -ahead, -signs, -1
    places = np.log10(sizes)
    times = int((signs[1:] != signs[:-1]).sum())
    if not times:
        state, size, low, high = NONE, float("nan"), float("nan"), float("nan")
    else:
        last = _last_crossing(places, means[None])[0]
        state = SEEN if (ahead[places < last] > 0).any() and (ahead[places > last] < 0).any() else UNSURE
        size = float(10**last)
        low, high = (float(10**end) if np.isfinite(end) else end for end in interval(_last_crossing(places, draws)))
    return Crossing(first, second, state, sizes, size, low, high, times, turn * slope.mean, slope.half)


def _last_crossing(places: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Return where each of (R, n) curves falls below 0 for good, on the axis of `places`.

    inf: it does not before the end; -inf: it is below from the beginning.
    """
    signs = _signs(curves)
    found = np.where(signs[:, -1] > 0, np.inf, -np.inf)
    for left in range(len(places) - 1):  # later ones write over earlier ones
        here = (signs[:, left] > 0) & (signs[:, left + 1] < 0) & (signs[:, -1] < 0)
        above, below = curves[here, left], curves[here, left + 1]
        share = np.where(above - below > 0, above / np.where(above - below > 0, above - below, 1), 0.0)
        found[here] = places[left] + share * (places[left + 1] - places[left])
    return found


def _signs(curves: np.ndarray) -> np.ndarray:
    """Return 1 or -1 for each point; an exact 0 has the sign of the point before, at the start of the point after."""
    signs = np.sign(curves)
    for column in range(1, signs.shape[1]):
        signs[:, column] = np.where(signs[:, column] == 0, signs[:, column - 1], signs[:, column])
    for column in range(signs.shape[1] - 2, -1, -1):
        signs[:, column] = np.where(signs[:, column] == 0, signs[:, column + 1], signs[:, column])
    return np.where(signs == 0, 1.0, signs)


def slope_weights(sizes: tuple[int, ...]) -> np.ndarray:
    """Return (n,): their sum with n values is the slope of these over log10 n, by least squares."""
    places = np.log10(sizes) - np.mean(np.log10(sizes))
    return places / (places @ places)
