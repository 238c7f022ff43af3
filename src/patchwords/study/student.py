"""Student's t for any number of degrees of freedom, also broken ones, and Holm's correction of many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

_SMALLEST = 1e-300
MOST_FREEDOM = 1e6
"""above it, t is normal to every digit that is shown"""


def t_tail(t: float, freedom: float) -> float:
    """Return P(|T| > |t|), with small relative error also where it is tiny.

    Source: Abramowitz and Stegun, 26.7.1 with 26.5.8 (the incomplete beta function as a continued fraction).
    """
    freedom = min(freedom, MOST_FREEDOM)
    if math.isinf(t):
        return 0.0
    inside = freedom / (freedom + t * t)
    a, b = freedom / 2, 0.5
    if inside > (a + 1) / (a + b + 2):  # the fraction converges fast on this side of the mean only
        return 1.0 - _beta_share(1 - inside, b, a)
    return _beta_share(inside, a, b)


@cache
def t_bound(freedom: float, share: float = 0.95) -> float:
    """Return the t with P(|T| <= t) = `share`, by bisection."""
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - share:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - share else (low, middle)
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """Return I_x(a, b) for x below its mean; the fraction of 26.5.8 by Lentz's method."""
    if x <= 0:
        return 0.0
    whole = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    upper, lower = 1.0, 1.0 / _off_zero(1 - (a + b) * x / (a + 1))
    value = lower
    for step in range(1, 10_000):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            lower = 1 / _off_zero(1 + term * lower)
            upper = _off_zero(1 + term / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < 1e-15:
            break
    return math.exp(whole) * value / a


def _off_zero(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST


def holm(chances: Sequence[float]) -> list[float]:
    """Return the p-values corrected for being many, by Holm: the k-th smallest of m times m - k + 1, never falling.

    Those at most 0.05 are significant with a chance of at most 5 % that any of them is so by accident, whatever the
    tests have to do with each other (S. Holm, Scand. J. Statist. 6, 1979).
    """
    corrected, largest = [0.0] * len(chances), 0.0
    for place, number in enumerate(sorted(range(len(chances)), key=lambda number: chances[number])):
        largest = max(largest, min(1.0, (len(chances) - place) * chances[number]))
        corrected[number] = largest
    return corrected
