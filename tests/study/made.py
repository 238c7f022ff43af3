"""Results of studies that were never run: answers drawn so that the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchwords.study.results import Cell, Results

CLASSES = tuple("abcdefghij")
SIZES = (500, 2000, 10_000, 50_000)
CURVES = {
    "cnn": (0.50, 0.60, 0.70, 0.76),
    "hybrid": (0.49, 0.58, 0.70, 0.77),
    "vit": (0.35, 0.48, 0.66, 0.81),
    "mlp": (0.33, 0.40, 0.48, 0.55),
}
"""model -> accuracy at each of SIZES"""


def cell(model: str, size: int, seed: int, correct: np.ndarray, **other: Any) -> Cell:
    """Return a cell with these answers; everything else is a function of them and of `other`."""
    top1 = float(np.mean(correct))
    settings = dict(lr=1e-3, val_top1=top1, steps=100, samples_seen=12_800, flops=2e12, parameters=200_000)
    curve = tuple(
        (seen, top1 * (1 - 2 ** (-seen / 3200)), 2.3 * 2 ** (-seen / 3200)) for seen in range(1600, 12801, 1600)
    )
    return Cell(model=model, size=size, seed=seed, correct=correct, **({**settings, "curve": curve} | other))


def study(
    curves: Mapping[str, Sequence[float]] = CURVES,
    sizes: Sequence[int] = SIZES,
    seeds: int = 3,
    pictures: int = 2000,
    by_seed: float = 0.005,
    number: int = 0,
    **question: Any,
) -> Results:
    """Return a study whose models have these accuracies.

    Args:
        by_seed: standard deviation of the true accuracy from seed to seed.
        number: of the draw.
    """
    random = np.random.default_rng(number)
    hardness = random.random(pictures)[None]
    labels = random.integers(0, len(CLASSES), pictures)
    cells = []
    for place, (model, accuracies) in enumerate(curves.items()):
        for size, accuracy in zip(sizes, accuracies, strict=True):
            for seed in range(seeds):
                chance = np.clip(accuracy + by_seed * random.standard_normal() + 0.6 * (0.5 - hardness[0]), 0, 1)
                right = random.random(pictures) < chance
                votes = np.where(right, labels, (labels + random.integers(1, len(CLASSES), pictures)) % len(CLASSES))
                cells.append(
                    cell(model, size, seed, right, votes=votes, flops=(1 + place) * 1e12,
                         parameters=200_000 + 1000 * place, shift_consistency=0.95 - 0.1 * place + 0.01 * seed)
                )  # fmt: skip
    asked = {"data": "cifar10", "models": list(curves), "sizes": list(sizes), "seeds": seeds, "match": "samples",
             "rates": [3e-4, 1e-3, 3e-3]}  # fmt: skip
    return Results(asked | question, CLASSES, tuple(cells))
