"""S-26: a general computer: fed more data, it learns for itself what a convolution is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import augment_ops
from ..figures.plot import Plot, Series
from ..inspection.distance import attention_distance
from ..inspection.filters import filter_components, first_filters
from ..inspection.ranks import spearman
from .idea import Check, Effort, Idea, Result
from .learn import answers, mean_and_sd
from .trained import first_layer, pictures_of, scale_of, seeds_of, trained

SHARES = {False: (1 / 16, 1 / 4, 1), True: (1 / 32, 1 / 8, 1 / 2, 1)}
"""of the training pictures"""
ENOUGH = 6
"""models, for their order to say something: fewer than one chance in 700 of being in any one by accident"""
COMPONENTS = 8
PICTURES = 512
MEASURES = (
    "distance of the first layer's heads, pixels",
    "answers that a shift by one pixel leaves alone",
    "roughness of the filters",
)


def run(effort: Effort) -> Result:
    """Train the same ViT for as many steps on more and more pictures, and a CNN on all of them."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    inputs = test.first(PICTURES).inputs
    sizes = [max(len(train.classes), round(share * len(train))) for share in SHARES[effort.full]]
    vits: dict[int, list[tuple[float, float, float]]] = {size: [] for size in sizes}
    cnns = []
    for seed in seeds_of(effort):
        for size in sizes:
            model = trained(scale.vit(), train.first(size), scale.recipe, seed, effort, name=f"ViT, {size} pictures")
            vits[size].append(measure(model, inputs))
        cnns.append(measure(trained(scale.cnn_7x7(), train, scale.cnn_recipe, seed, effort, name="CNN"), inputs))
    return concluded(vits, cnns)


def measure(model: nn.Module, inputs: Tensor) -> tuple[float, float, float]:
    """Return how far the first layer looks (pixels), how steady answers are, and how rough the filters are.

    Of a CNN the first layer's distance is that of its kernels: the mean of the distance from their middle, weighted
    by the size of the weights.
    """
    if hasattr(model, "pos_embed"):
        far = float(attention_distance(model, inputs[:128]).distance_px[0].mean())
    else:
        far = kernel_distance(first_filters(first_layer(model))[0])
    return (
        far,
        shift_consistency(model, inputs),
        float(filter_components(first_layer(model), COMPONENTS).roughness.mean()),
    )


def kernel_distance(filters: np.ndarray) -> float:
    """Return the mean distance in pixels from the middle of the kernels (D, C, rows, columns), weighted by |weight|."""
    mass = np.abs(filters).sum(axis=(0, 1))
    down, right = (np.arange(count) - (count - 1) / 2 for count in mass.shape)
    return float((mass * np.hypot(down[:, None], right[None])).sum() / mass.sum())


def shift_consistency(model: nn.Module, inputs: Tensor) -> float:
    """Return the share of answers that stay when pictures move by one pixel, mean over the four directions.

    What comes in at the border is mirrored, as in training.
    """
    kept = answers(model, inputs).argmax(dim=1)
    same = []
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        places = [
            augment_ops.reflect(torch.arange(count)[None].expand(len(inputs), -1) + step, count)
            for count, step in zip(inputs.shape[-2:], (down, right), strict=True)
        ]
        moved = answers(model, augment_ops.rearrange(inputs, *places)).argmax(dim=1)
        same.append(float((moved == kept).double().mean()))
    return mean_and_sd(same)[0]


def concluded(vits: dict[int, list[tuple[float, float, float]]], cnns: list[tuple[float, float, float]]) -> Result:
    """Return what the measures of ViTs (by number of pictures, one a seed) and of CNNs say."""
    goal = np.mean(cnns, axis=0)
    sizes = np.array([size for size, found in vits.items() for _ in found])
    values = np.array([each for found in vits.values() for each in found])  # (models, measures)
    nearer = [spearman(sizes, -np.abs(values[:, column] - goal[column])) for column in range(len(MEASURES))]
    checks = tuple(
        Check(f"{name}: rank correlation of nearness to the CNN with pictures", value, ">", 0.7)
        for name, value in zip(MEASURES, nearer, strict=True)
    )
    met = sum(check.met for check in checks)
    enough = len(sizes) >= ENOUGH
    verdict = "confirmed" if met == len(checks) and enough else "qualified" if met else "refuted"
    figures: dict[str, float | int | str] = {}
    for column, name in enumerate(MEASURES):
        for size, found in vits.items():
            figures[f"{name}: ViT, {size} pictures"] = mean_and_sd([each[column] for each in found])[0]
        figures[f"{name}: CNN"] = float(goal[column])
    small, large = min(vits), max(vits)
    changes = "; ".join(
        f"{name} {figures[f'{name}: ViT, {small} pictures']:.3g} to {figures[f'{name}: ViT, {large} pictures']:.3g} "
        f"(CNN {goal[column]:.3g})"
        for column, name in enumerate(MEASURES)
    )
    reason = f"From {small:,} to {large:,} pictures and as many steps: {changes}."
    moving = [name for name, check in zip(MEASURES, checks, strict=True) if not check.met]
    if moving:
        reason += f" Not nearer to the CNN with more pictures, by the rank correlation asked for: {'; '.join(moving)}."
    if not enough:
        reason += (
            f" It is {len(sizes)} models: so few are in this order by chance one time in {math.factorial(len(sizes))}."
        )
    return Result(verdict, reason, checks, figures, _plots(vits, goal))


def _plots(vits: dict[int, list[tuple[float, float, float]]], goal: np.ndarray) -> tuple[Plot, ...]:
    x = tuple(float(size) for size in vits)
    plots = []
    for column, name in enumerate(MEASURES):
        rows: list[Any] = [[each[column] for each in found] for found in vits.values()]
        own = Series("ViT", x, *(tuple(float(part(row)) for row in rows) for part in (np.mean, min, max)))
        cnn = Series("CNN, all pictures", x, (float(goal[column]),) * len(x))
        plots.append(Plot(name, "training pictures", name, (own, cnn), log_x=True))
    return tuple(plots)


IDEA = Idea(
    name="general-computer",
    number="S-26",
    claim="A ViT is a general computer: fed more data, it learns the biases that a convolution has built in.",
    experiment="Train the same ViT for equally many steps on more and more pictures, and measure how near its reach, "
    "its steadiness under shifts and its filters come to a CNN's.",
    paper="2010.11929, sec. 3.1 and 4.5; 2108.08810, sec. 5",
    trained=True,
    run=run,
)
