"""S-19: an MLP can learn any function, also one that is not there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..architecture import MLPConfig
from ..figures.plot import Plot, Series
from ..randomness import permutation
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import PictureSet, accuracy, digits, learn, mean_and_sd, new_model, parameters

WIDTHS = (4, 16, 64, 256)
EPOCHS = {False: 60, True: 200}
SEEDS = {False: 1, True: 5}
SIZE, LR, DEPTH = 128, 3e-3, 2


def run(effort: Effort) -> Result:
    """Train MLPs of several widths on the digits with labels dealt out at random, and the widest on the true ones."""
    seeds = [effort.seed + number for number in range(SEEDS[effort.full])]
    sets = digits(effort.seed)
    fitted = {width: [fit(width, sets, seed, effort, random=True) for seed in seeds] for width in WIDTHS}
    true = [fit(WIDTHS[-1], sets, seed, effort, random=False) for seed in seeds]
    tests, widest = len(sets[1]) * len(seeds), WIDTHS[-1]
    train, test = ([mean_and_sd([each[side] for each in fitted[width]])[0] for width in WIDTHS] for side in (0, 1))
    off = abs(test[-1] - 0.1) / math.sqrt(0.1 * 0.9 / tests)
    honest = mean_and_sd([each[1] for each in true])[0]
    checks = (
        Check(f"random labels, width {widest}: worst training accuracy", min(a for a, _ in fitted[widest]), "==", 1.0),
        Check("random labels: distance of the test accuracy from chance, in standard errors", off, "<", 3.0),
        Check("true labels, the same MLP: test accuracy", honest, ">", 0.95),
        Check(f"random labels, width {WIDTHS[0]}: training accuracy", train[0], "<", 0.5),
    )
    reason = (
        f"Labels without any sense are learned by heart: {100 * train[-1]:.4g} % of the training pictures at width "
        f"{WIDTHS[-1]}, and {100 * test[-1]:.3g} % of new ones, where chance is 10 %. The same MLP reads "
        f"{100 * honest:.3g} % of new digits when the labels are true: what it can learn says nothing of what it will."
    )
    sizes = tuple(float(width) for width in WIDTHS)
    lines = (Series("training pictures", sizes, tuple(train)), Series("new pictures", sizes, tuple(test)))
    plot = Plot("Random labels, learned by heart", "width of the MLP", "accuracy", lines, log_x=True)
    figures: dict[str, float | int | str] = {
        f"width {width} ({parameters(model_of(width, 0))} parameters): training accuracy": value
        for width, value in zip(WIDTHS, train, strict=True)
    }
    return Result(verdict_of(checks), reason, checks, figures, (plot,))


def fit(
    width: int, sets: tuple[PictureSet, PictureSet], seed: int, effort: Effort, random: bool
) -> tuple[float, float]:
    """Return accuracy on the training pictures and on new ones of an MLP trained on random or on true labels."""
    train, test = sets
    labels = dealt(train.labels, seed) if random else train.labels
    shuffled = PictureSet(train.images, labels, train.classes, train.preprocess)
    steps = EPOCHS[effort.full] * len(train) // SIZE
    model = model_of(width, seed)
    learn(
        model, shuffled.batches(seed, SIZE), steps, LR, seed, weight_decay=0.0, progress=effort.progress,
        name=f"width {width}, {'random' if random else 'true'} labels, seed {seed}",
    )  # fmt: skip
    return accuracy(model, train.inputs, labels), accuracy(model, test.inputs, test.labels)


def model_of(width: int, seed: int) -> torch.nn.Module:
    """Return a new MLP for 8x8 digits."""
    return new_model(MLPConfig(image_size=(8, 8), in_channels=1, dim=width, depth=DEPTH), seed)


def dealt(labels: Tensor, seed: int) -> Tensor:
    """Return the labels dealt out again at random: as many of each, none of them tied to its picture."""
    return labels[torch.from_numpy(permutation(seed % 2**32, "idea random labels", 0, len(labels)))]


IDEA = Idea(
    name="universal",
    number="S-19",
    claim="An MLP can technically learn any function: wide enough, it fits labels that have no meaning. "
    "Capacity is not generalisation.",
    experiment="Deal out the labels of the digits at random, and train MLPs of growing width on them.",
    paper="not in 2010.11929; the experiment is that of 1611.03530",
    trained=True,
    run=run,
)
