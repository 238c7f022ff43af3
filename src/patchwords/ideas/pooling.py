"""P-16: class token and mean pooling are equals, each with its own learning rate."""

from __future__ import annotations

from dataclasses import replace

from ..figures.plot import Plot, Series
from .idea import Check, Effort, Idea, Result
from .learn import accuracy, mean_and_sd
from .trained import chance_points, pictures_of, scale_of, seeds_of, trained

POOLS = ("cls", "mean")
RATES = (1 / 3, 1.0, 2.0)
"""parts of the usual learning rate"""


def run(effort: Effort) -> Result:
    """Train both read-outs at several learning rates, choose on half of the held-out pictures, test on the rest."""
    scale = scale_of(effort)
    train, held = pictures_of(effort)
    half = len(held) // 2
    inputs, labels = held.inputs, held.labels
    chosen: dict[tuple[str, float], list[float]] = {}
    tested: dict[tuple[str, float], list[float]] = {}
    for pool in POOLS:
        for part in RATES:
            recipe = replace(scale.recipe, lr=part * scale.recipe.lr)
            for seed in seeds_of(effort):
                config = scale.vit(pool=pool, class_token=pool == "cls")
                model = trained(config, train, recipe, seed, effort, name=f"{pool}, rate {recipe.lr:.2g}")
                chosen.setdefault((pool, recipe.lr), []).append(100 * accuracy(model, inputs[:half], labels[:half]))
                tested.setdefault((pool, recipe.lr), []).append(100 * accuracy(model, inputs[half:], labels[half:]))
    return concluded(chosen, tested, len(held) - half)


def concluded(
    chosen: dict[tuple[str, float], list[float]], tested: dict[tuple[str, float], list[float]], tests: int
) -> Result:
    """Return what the accuracies (%, one a seed) by pooling and rate say, to choose by and of `tests` others."""
    rates = sorted({rate for _, rate in chosen})
    best = {pool: max(rates, key=lambda rate: _mean(chosen[pool, rate])) for pool in POOLS}
    top = {pool: tested[pool, best[pool]] for pool in POOLS}
    gaps = [a - b for a, b in zip(top["mean"], top["cls"], strict=True)]
    gap, spread = mean_and_sd(gaps)
    allowed = max(1.0, spread, chance_points(tests) if len(gaps) == 1 else 0.0)
    untuned = max(abs(_mean(chosen["mean", r]) - _mean(chosen["cls", r])) for r in rates)
    checks = (
        Check("points between the two, each at its best rate, without sign", abs(gap), "<=", allowed),
        Check("largest gap at one and the same rate over it, points", untuned - abs(gap), ">", 0.0),
    )
    reason = (
        f"Each at its best rate, the class token is right for {_mean(top['cls']):.1f} % (rate {best['cls']:.2g}), "
        f"the mean for {_mean(top['mean']):.1f} % (rate {best['mean']:.2g}); at one rate for both they are up "
        f"to {untuned:.1f} points apart."
    )
    if len(gaps) == 1:
        reason += f" With one seed and {tests:,} pictures, {allowed:.1f} points cannot be told from none."
    sure = all(check.met for check in checks) and len(gaps) > 1
    verdict = "confirmed" if sure else "qualified" if checks[0].met else "refuted"
    figures: dict[str, float | int | str] = {
        f"{pool}, rate {rate:.2g}: accuracy, %": _mean(values) for (pool, rate), values in tested.items()
    }
    lines = tuple(
        Series(
            pool,
            tuple(rates),
            *(tuple(float(part(tested[pool, rate])) for rate in rates) for part in (_mean, min, max)),
        )
        for pool in POOLS
    )
    plot = Plot("Class token and mean pooling", "learning rate", "accuracy, %", lines, log_x=True)
    return Result(verdict, reason, checks, figures, (plot,))


def _mean(values: list[float]) -> float:
    return mean_and_sd(values)[0]


IDEA = Idea(
    name="pooling",
    number="P-16",
    claim="Reading the class token and averaging all tokens are equals, once each has its own learning rate.",
    experiment="Train both at several rates, choose each one's rate on pictures apart, and compare on others.",
    paper="2010.11929, app. D.3, fig. 9",
    trained=True,
    run=run,
)
