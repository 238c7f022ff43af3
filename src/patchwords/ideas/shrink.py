"""S-17: a biased estimator can be the better one, until there is enough data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..figures.plot import Plot, Series
from .draws import generator
from .idea import Check, Effort, Idea, Result, verdict_of

DIMENSIONS, NOISE, PENALTY, TRUE_SQUARED = 16, 1.0, 64.0, 0.6
"""p, sigma, lambda and |beta|^2"""
SAMPLES = (16, 32, 64, 96, 128, 192, 256, 512, 1024)
"""numbers n of examples"""
DRAWS = 4000


@dataclass(frozen=True)
class Errors:
    """Squared errors |estimate - beta|^2 at one n: means, and standard errors of the means."""

    unbiased: float
    shrunk: float
    unbiased_se: float
    shrunk_se: float
    gain: float
    """mean of unbiased - shrunk over the same draws"""
    gain_se: float


def unbiased_error(n: float) -> float:
    """Return the expected squared error of least squares, p sigma^2 / n (orthogonal design, X^T X = n I)."""
    return DIMENSIONS * NOISE**2 / n


def shrunk_error(n: float) -> float:
    """Return that of ridge: (n p sigma^2 + lambda^2 |beta|^2) / (n + lambda)^2, variance plus squared bias."""
    return (n * DIMENSIONS * NOISE**2 + PENALTY**2 * TRUE_SQUARED) / (n + PENALTY) ** 2


def crossing() -> float:
    """Return n*, where both errors are the same: p sigma^2 lambda / (lambda |beta|^2 - 2 p sigma^2)."""
    excess = PENALTY * TRUE_SQUARED - 2 * DIMENSIONS * NOISE**2
    return DIMENSIONS * NOISE**2 * PENALTY / excess if excess > 0 else math.inf


def run(effort: Effort) -> Result:
    """Simulate least squares and ridge for 16 to 1024 examples and compare them with their formulas."""
    limit = crossing()
    found = {n: simulate(effort.seed, n) for n in SAMPLES}
    scores = [(each.unbiased - unbiased_error(n)) / each.unbiased_se for n, each in found.items()]
    scores += [(each.shrunk - shrunk_error(n)) / each.shrunk_se for n, each in found.items()]
    few, many = max(n for n in SAMPLES if n < limit), min(n for n in SAMPLES if n > 2 * limit)
    spread = math.sqrt(sum(score**2 for score in scores) / len(scores))
    signs = sum((each.gain > 0) != (n < limit) for n, each in found.items() if abs(each.gain) > 2 * each.gain_se)
    checks = (
        Check("simulated less formula, root mean square, in standard errors", spread, "<", 2.0),
        Check(f"n = {few}, below n*: gain of the biased one, in standard errors", _score(found[few]), ">", 2.0),
        Check(f"n = {many}, above n*: gain of the biased one, in standard errors", _score(found[many]), "<", -2.0),
        Check("sizes on the wrong side of n* by more than two standard errors", float(signs), "==", 0.0),
    )
    reason = (
        f"Shrinking towards zero wins below n* = {limit:.3g} examples and loses above, as the formula says; simulated "
        f"errors are {spread:.2g} standard errors from it (root mean square of {len(scores)})."
    )
    figures = {"n*": limit, "largest distance from the formula, standard errors": max(map(abs, scores))}
    return Result(verdict_of(checks), reason, checks, figures, (_plot(found),))


def _score(errors: Errors) -> float:
    return errors.gain / errors.gain_se


def simulate(seed: int, n: int) -> Errors:
    """Return the errors of both estimators over DRAWS sets of n examples, solved from the examples themselves."""
    random = generator(seed, f"shrink {n}")
    design, _ = torch.linalg.qr(torch.randn(n, DIMENSIONS, generator=random, dtype=torch.float64))
    design *= math.sqrt(n)  # columns at right angles, of length sqrt(n)
    true = torch.full((DIMENSIONS, 1), math.sqrt(TRUE_SQUARED / DIMENSIONS), dtype=torch.float64)
    answers = design @ true + NOISE * torch.randn(n, DRAWS, generator=random, dtype=torch.float64)
    gram, seen = design.T @ design, design.T @ answers
    identity = torch.eye(DIMENSIONS, dtype=torch.float64)
    unbiased = (torch.linalg.solve(gram, seen) - true).square().sum(dim=0)
    shrunk = (torch.linalg.solve(gram + PENALTY * identity, seen) - true).square().sum(dim=0)
    means = [(float(each.mean()), float(each.std() / DRAWS**0.5)) for each in (unbiased, shrunk, unbiased - shrunk)]
    return Errors(means[0][0], means[1][0], means[0][1], means[1][1], *means[2])


def _plot(found: dict[int, Errors]) -> Plot:
    """Return the error of the shrunk estimator over that of the unbiased one; n* is where it passes 1."""
    x = tuple(map(float, SAMPLES))
    ratio = tuple(each.shrunk / each.unbiased for each in found.values())
    wide = tuple(2 * each.gain_se / each.unbiased for each in found.values())
    low, high = (tuple(r + sign * w for r, w in zip(ratio, wide, strict=True)) for sign in (-1, 1))
    lines = (
        Series("simulated", x, ratio, low, high),
        Series("formula", x, tuple(shrunk_error(n) / unbiased_error(n) for n in x)),
        Series("as good as the unbiased one", x, (1.0,) * len(x)),
    )
    return Plot("Bias pays while data are few", "examples n", "squared error, shrunk over unbiased", lines, log_x=True)


IDEA = Idea(
    name="shrink",
    number="S-17",
    claim="A biased estimator, whose expected value is not the true thing, wins with little data and loses with much.",
    experiment="Least squares and ridge with a fixed penalty: simulated errors, formulas, and where they cross.",
    paper="none; Hoerl and Kennard, 1970",
    trained=False,
    run=run,
)
