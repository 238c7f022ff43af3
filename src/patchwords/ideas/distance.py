"""S-23: attention reaches further with depth, and from the middle on nearly everywhere."""

from __future__ import annotations

import numpy as np

from ..figures.plot import Plot, Series
from ..inspection.distance import HeadDistances, attention_distance
from .idea import Check, Effort, Idea, Result
from .learn import mean_and_sd, new_model
from .trained import pictures_of, scale_of, seeds_of, trained

PICTURES = 128


def run(effort: Effort) -> Result:
    """Measure the mean attention distance of every head, before training and after it."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    inputs = test.first(PICTURES).inputs
    before, after = [], []
    for seed in seeds_of(effort):
        model = trained(scale.vit(), train, scale.recipe, seed, effort, name="ViT")
        before.append(attention_distance(new_model(model.config, seed).eval(), inputs))
        after.append(attention_distance(model, inputs))
    return concluded(before, after, len(train))


def concluded(before: list[HeadDistances], after: list[HeadDistances], pictures: int) -> Result:
    """Return what the distances say of models (one a seed) before and after training on so many pictures."""
    parts = np.stack([each.relative for each in after])  # (seeds, layers, heads)
    fresh = np.stack([each.relative for each in before])
    layers = parts.shape[1]
    third = max(1, layers // 3)
    spread = parts.std(axis=2).mean(axis=0)
    first, late = parts[:, 0], parts[:, layers // 2 :].mean(axis=2)
    narrowing = spread[:third].mean() - spread[-third:].mean()
    widening = late.mean() - parts[:, :third].mean()
    checks = (
        Check(
            "rank correlation of depth with mean distance",
            mean_and_sd([each.depth_correlation for each in after])[0], ">", 0.5,
        ),
        Check("second half: smallest mean distance of a layer, parts of uniform", float(late.min()), ">", 0.8),
        Check("mean distance, second half less first third, parts of uniform", float(widening), ">", 0.0),
        Check("spread over heads, first third less last third", float(narrowing), ">", 0.0),
        Check("first layer: furthest head, parts of uniform", float(first.max()), ">", 0.8),
        Check("first layer: nearest head, parts of uniform", float(first.min()), "<", 0.5),
    )  # fmt: skip
    figures: dict[str, float | int | str] = {
        "distance of uniform attention, pixels": after[0].uniform_px,
        "before training: smallest and largest of all heads": f"{fresh.min():.2f} to {fresh.max():.2f}",
    }
    for layer in range(layers):
        of_layer = parts[:, layer]
        figures[f"layer {layer + 1}: mean distance, parts of uniform"] = float(of_layer.mean())
        figures[f"layer {layer + 1}: smallest and largest head"] = f"{of_layer.min():.2f} to {of_layer.max():.2f}"
    depth = tuple(float(layer + 1) for layer in range(layers))
    lines = [
        Series(
            name, depth, *(tuple(map(float, v)) for v in (a.mean(axis=(0, 2)), a.min(axis=(0, 2)), a.max(axis=(0, 2))))
        )
        for name, a in (("trained", parts), ("before training", fresh))
    ]
    plot = Plot("Mean attention distance", "layer", "distance, parts of uniform", tuple(lines))
    reason = reason_of(checks, parts, fresh, pictures)
    grows = checks[1].met and checks[2].met
    verdict = "confirmed" if all(check.met for check in checks) else "qualified" if grows else "refuted"
    return Result(verdict, reason, checks, figures, (plot,))


def reason_of(checks: tuple[Check, ...], parts: np.ndarray, fresh: np.ndarray, pictures: int) -> str:
    """Return the sentences about these distances, (seeds, layers, heads) in parts of the uniform one."""
    first, last = parts[:, 0].mean(), parts[:, -1].mean()
    said = (
        f"Mean distance is {first:.2f} of that of uniform attention in the first layer and {last:.2f} in the last "
        f"(rank correlation with depth {checks[0].value:.2f}); the nearest head of the first layer is at "
        f"{parts[:, 0].min():.2f}."
    )
    if not checks[0].met:
        said += " It does not grow from layer to layer."
    if not checks[-1].met:
        said += (
            f" With {pictures:,} pictures no head of the first layer became local, as 2108.08810 (sec. 5) finds for "
            f"little data; before training all heads are at {fresh.min():.2f} to {fresh.max():.2f}: that late "
            "layers are global is nothing that was learned here."
        )
    return said


IDEA = Idea(
    name="distance",
    number="S-23",
    claim="Heads reach further with depth: near and far ones early, from the middle on nearly everywhere.",
    experiment="Measure the mean attention distance of every head of a trained ViT, and of an untrained one.",
    paper="2010.11929, sec. 4.5, fig. 7 right and fig. 11; 2108.08810, sec. 5",
    trained=True,
    run=run,
)
