"""P-17: depth and smaller patches pay for their cost, width least."""

from __future__ import annotations

import math
from typing import Any

from ..cost import cost_of
from ..figures.plot import Plot, Series
from .idea import Check, Effort, Idea, Result
from .learn import accuracy, answers, mean_and_sd
from .trained import Scale, chance_points, pictures_of, scale_of, seeds_of, trained

AXES = ("depth", "width", "patch")


def run(effort: Effort) -> Result:
    """Make one small ViT deeper, wider, or finer, about as much dearer each, and train all on the same pictures."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for axis, configs in grown(scale, effort.full).items():
        for config in configs:
            macs = float(cost_of(config).macs)
            for seed in seeds_of(effort):
                model = trained(config, train, scale.recipe, seed, effort, name=f"{axis}, {macs / 1e6:.2g}M")
                loss = _loss(model, train.first(1000))
                found.setdefault((axis, macs), []).append((100 * accuracy(model, test.inputs, test.labels), loss))
    return concluded(found, len(test))


def grown(scale: Scale, full: bool) -> dict[str, list[Any]]:
    """Return the models of each axis, the smallest first, which is the same for all."""
    small = {"patch_size": (8, 8), "depth": 2, "dim": scale.dim // 2, "mlp_dim": scale.mlp_dim // 2}
    steps = {
        "depth": [{"depth": 2 * factor} for factor in ((2, 4, 8) if full else (4,))],
        "width": [
            {"dim": small["dim"] * a // 2, "mlp_dim": small["mlp_dim"] * a // 2} for a in ((3, 4, 6) if full else (4,))
        ],
        "patch": [{"patch_size": (4, 4)}],
    }
    return {axis: [scale.vit(**small), *(scale.vit(**(small | each)) for each in steps[axis])] for axis in AXES}


def _loss(model: Any, pictures: Any) -> float:
    """Return the mean cross-entropy, nats."""
    logits = answers(model, pictures.inputs).double().log_softmax(dim=1)
    return -float(logits.gather(1, pictures.labels[:, None]).mean())


def concluded(found: dict[tuple[str, float], list[tuple[float, float]]], tests: int) -> Result:
    """Return what (accuracy in % of `tests` pictures, training loss in nats), one a seed, of each axis and cost say."""
    slopes, losses, lines = {}, {}, []
    figures: dict[str, float | int | str] = {}
    for axis in AXES:
        costs = sorted(macs for name, macs in found if name == axis)
        means = [mean_and_sd([each[0] for each in found[axis, macs]])[0] for macs in costs]
        fits = [mean_and_sd([each[1] for each in found[axis, macs]])[0] for macs in costs]
        doublings = math.log2(costs[-1] / costs[0])
        slopes[axis], losses[axis] = (means[-1] - means[0]) / doublings, (fits[-1] - fits[0]) / doublings
        for macs, mean, fit in zip(costs, means, fits, strict=True):
            figures[f"{axis}, {macs / 1e6:.2f}M multiply-adds: accuracy, %"] = mean
            figures[f"{axis}, {macs / 1e6:.2f}M multiply-adds: training loss, nats"] = fit
        lines.append(Series(axis, tuple(cost / 1e6 for cost in costs), tuple(means)))
    checks = (
        Check("depth less width: points for each doubling of cost", slopes["depth"] - slopes["width"], ">", 0.0),
        Check("smaller patches less width: points for each doubling", slopes["patch"] - slopes["width"], ">", 0.0),
        Check("smaller patches: points for each doubling", slopes["patch"], ">", 0.0),
    )
    told = ", ".join(f"{axis} {slopes[axis]:+.2f} points ({losses[axis]:+.3f} nats of training loss)" for axis in AXES)
    reason = f"Each doubling of cost gives: {told}."
    seeds = len(next(iter(found.values())))
    for axis in AXES:
        if slopes[axis] < 0 < losses[axis]:
            reason += f" More {axis} fits the training pictures worse too: this training is too short for it."
    if seeds == 1:
        reason += f" With one seed and {tests:,} pictures, {chance_points(tests):.1f} points in all may be chance."
    met = sum(check.met for check in checks)
    verdict = "confirmed" if met == len(checks) else "qualified" if met else "refuted"
    plot = Plot("Deeper, wider, finer", "million multiply-adds a picture", "accuracy, %", tuple(lines), log_x=True)
    return Result(verdict, reason, checks, figures, (plot,))


IDEA = Idea(
    name="scaling",
    number="P-17",
    claim="Depth and smaller patches improve a ViT most for their cost, width least.",
    experiment="Make one small ViT deeper, wider, or finer, and compare points of accuracy for each doubling of cost.",
    paper="2010.11929, app. D.2, fig. 8",
    trained=True,
    run=run,
)
