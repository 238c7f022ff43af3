"""S-16: the convolution's prior helps with little data and hurts with much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..architecture import CNNConfig, MLPConfig, ViTConfig
from ..data.plan import Plan
from ..figures.plot import Plot, Series
from ..randomness import derived_seed
from .far_world import CLASSES, PATCH, SIDE, far_pictures
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import Batches, PictureSet, accuracy, answers, learn, mean_and_sd, new_model, real_pictures

KINDS = {False: ("cnn", "vit"), True: ("cnn", "local", "vit", "mlp")}
NAMES = {"cnn": "CNN", "vit": "ViT", "local": "ViT, local attention", "mlp": "MLP"}
SIZES = {False: (64, 512, 8192), True: (64, 256, 1024, 4096, 16_384)}
"""pictures of the far world that a model is trained on"""
MODELS = {False: 2, True: 8}
"""trained on pictures of their own, for bias and variance"""
REAL = {False: (100, 400), True: (500, 5000, 50_000)}
"""pictures of the real world"""
STEPS = {False: {"far": 300, "real": 150}, True: {"far": 800, "real": 4000}}
TESTS = {False: 1000, True: 5000}
SEEDS = {False: 1, True: 2}
"""of each model on real pictures"""
BATCH = 32
RATES = {"cnn": ("adamw", 1e-2), "vit": ("muon", 1e-3), "local": ("muon", 1e-3), "mlp": ("muon", 1e-3)}
"""kind -> optimizer and its learning rate: of 3e-3 and 1e-2 the one with which the CNN learns the hint"""


@dataclass(frozen=True)
class Measured:
    """What K models of a kind, each trained on n pictures of its own, do on the same new pictures."""

    accuracy: float
    """mean over the models"""
    bias: float
    """squared distance of the mean answer from the truth, mean over pictures; answers are probabilities"""
    variance: float
    """squared distance of an answer from the mean answer, mean over pictures"""


def run(effort: Effort) -> Result:
    """Measure learning curves, bias and variance where labels are far relations, and curves on real pictures."""
    kinds, sizes = KINDS[effort.full], SIZES[effort.full]
    real = real_pictures(effort, REAL[effort.full][-1], TESTS[effort.full])
    far = {kind: [in_far_world(kind, n, effort) for n in sizes] for kind in kinds}
    near = {kind: in_real_world(kind, *real, effort) for kind in kinds}
    lead = [vit.accuracy - cnn.accuracy for vit, cnn in zip(far["vit"], far["cnn"], strict=True)]
    margins = leads_of_cnn(near, len(real[1]) * SEEDS[effort.full])
    crossing = crossing_of(sizes, lead)
    checks = checks_of(far, lead, margins, effort)
    verdict = verdict_of(checks, "qualified" if checks[0].met or checks[1].met else "refuted")
    plots = [
        curves(f"{title}, a relation of far patches", y, sizes, {k: [getattr(m, y) for m in v] for k, v in far.items()})
        for title, y in (("Accuracy", "accuracy"), ("Squared bias", "bias"), ("Variance", "variance"))
    ]
    plots.append(curves("Accuracy, real pictures", "accuracy", REAL[effort.full], near))
    reason = reason_of(crossing, far, margins, effort)
    return Result(verdict, reason, checks, figures_of(far, near, crossing, effort), tuple(plots))


def checks_of(
    far: dict[str, list[Measured]], lead: list[float], margins: list[float], effort: Effort
) -> tuple[Check, ...]:
    """Return what must hold: who leads where, with which error, and the CNN on real pictures."""
    few, many, real = SIZES[effort.full][0], SIZES[effort.full][-1], REAL[effort.full]
    variances = far["cnn"][0].variance, far["vit"][0].variance
    biases = far["cnn"][-1].bias, far["vit"][-1].bias
    name = f"real pictures, {real[0]} to {real[-1]}: least lead of the CNN over the best other, in standard errors"
    return (
        Check(f"far world, {few} pictures: lead of the CNN over the ViT, accuracy", -lead[0], ">", 0.0),
        Check(f"far world, {many} pictures: lead of the ViT over the CNN, accuracy", lead[-1], ">", 0.0),
        Check(f"far world, {few} pictures: variance, CNN less ViT", variances[0] - variances[1], "<", 0.0),
        Check(f"far world, {many} pictures: squared bias, CNN less ViT", biases[0] - biases[1], ">", 0.0),
        Check(name, min(margins), ">", 2.0),
    )  # fmt: skip


def leads_of_cnn(near: dict[str, list[float]], tests: int) -> list[float]:
    """Return by how many standard errors the CNN's accuracy is above the best of the others, at each size.

    Args:
        tests: answers behind each accuracy; the errors of two models are taken as independent.
    """
    leads = []
    for cnn, *others in zip(near["cnn"], *(each for kind, each in near.items() if kind != "cnn"), strict=True):
        best = max(others)
        spread = cnn * (1 - cnn) + best * (1 - best)
        leads.append((cnn - best) / math.sqrt(max(spread, 1e-9) / tests))
    return leads


def in_far_world(kind: str, size: int, effort: Effort) -> Measured:
    """Return what models of a kind do, each trained on `size` pictures of the far world that no other has seen."""
    pictures, labels = far_pictures(effort.seed, 0, TESTS[effort.full])
    probabilities = []
    for number in range(MODELS[effort.full]):
        model = far_model(kind, effort.seed + number)
        batches = far_batches(effort.seed, number, size)
        taught(model, kind, batches, STEPS[effort.full]["far"], effort.seed + number)
        probabilities.append(answers(model, pictures).softmax(dim=1))
    measured = decomposed(torch.stack(probabilities), labels)
    effort.progress(f"far world: {NAMES[kind]}, {size} pictures, {100 * measured.accuracy:.1f} %")
    return measured


def far_batches(seed: int, number: int, size: int) -> Batches:
    """Return batches of the `size` pictures of model `number`, each epoch in a new order."""
    pictures, labels = far_pictures(seed, 1 + derived_seed(size, "far world of a model", number), size)
    plan = Plan(derived_seed(seed, "far world order", number) % 2**32, size, BATCH)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(plan.batch(step).positions)
        return pictures[chosen], labels[chosen]

    return batch


def decomposed(probabilities: Tensor, labels: Tensor) -> Measured:
    """Return accuracy, squared bias and variance of probabilities (K, N, C) for labels (N,).

    Both are free of what K models are too few for: the variance is that of n - 1, and what it adds to the mean answer
    of K models is taken off the bias. Their sum is the Brier score.
    """
    truth = F.one_hot(labels, probabilities.shape[-1])
    variance = float(probabilities.var(dim=0).sum(dim=1).mean())
    bias = float((probabilities.mean(dim=0) - truth).square().sum(dim=1).mean()) - variance / len(probabilities)
    return Measured(float((probabilities.argmax(dim=2) == labels).double().mean()), bias, variance)


def crossing_of(sizes: tuple[int, ...], lead: list[float]) -> float:
    """Return where a lead turns from not positive to positive for good, log-linear between sizes; NaN: nowhere."""
    for place in range(len(sizes) - 1, 0, -1):
        before, after = lead[place - 1], lead[place]
        if before <= 0 < after:
            share = before / (before - after)
            return math.exp(math.log(sizes[place - 1]) * (1 - share) + math.log(sizes[place]) * share)
        if after <= 0:
            break
    return math.nan


def far_model(kind: str, seed: int) -> nn.Module:
    """Return a new model for the far world.

    No unit of the CNN sees two corners; what it knows of both it has from GroupNorm, whose statistics are of the whole
    map, and from the mean at the end.
    """
    shape: dict[str, Any] = {"image_size": (SIDE, SIDE), "in_channels": 1, "num_classes": CLASSES}
    if kind == "cnn":
        return new_model(CNNConfig(**shape, width=16, depths=(1, 1), groups=8), seed)
    if kind == "mlp":
        return new_model(MLPConfig(**shape, dim=64, depth=2), seed)
    attention = "local" if kind == "local" else "global"
    tokens = {"dim": 64, "depth": 2, "num_heads": 4, "mlp_dim": 128, "pool": "mean", "class_token": False}
    return new_model(ViTConfig(**shape, patch_size=(PATCH, PATCH), attention=attention, **tokens), seed)


def in_real_world(kind: str, train: PictureSet, test: PictureSet, effort: Effort) -> list[float]:
    """Return the accuracy of a kind at each number of real pictures, mean over seeds."""
    inputs, found = test.inputs, []
    for size in REAL[effort.full]:
        accuracies = []
        for seed in range(effort.seed, effort.seed + SEEDS[effort.full]):
            model = real_model(kind, len(train.classes), seed)
            taught(model, kind, train.first(size).batches(seed, BATCH), STEPS[effort.full]["real"], seed)
            accuracies.append(accuracy(model, inputs, test.labels))
        found.append(mean_and_sd(accuracies)[0])
        effort.progress(f"real world: {NAMES[kind]}, {size} pictures, {100 * found[-1]:.1f} %")
    return found


def real_model(kind: str, classes: int, seed: int) -> nn.Module:
    """Return a new small model for pictures of 32x32."""
    shape: dict[str, Any] = {"image_size": (32, 32), "num_classes": classes}
    if kind == "cnn":
        return new_model(CNNConfig(**shape, width=16, depths=(1, 1, 1), groups=8), seed)
    if kind == "mlp":
        return new_model(MLPConfig(**shape, dim=128, depth=3), seed)
    attention = "local" if kind == "local" else "global"
    tokens = {"dim": 64, "depth": 3, "num_heads": 4, "mlp_dim": 128, "pool": "mean", "class_token": False}
    return new_model(ViTConfig(**shape, patch_size=(4, 4), attention=attention, **tokens), seed)


def taught(model: nn.Module, kind: str, batches: Batches, steps: int, seed: int) -> None:
    """Train a model as its kind learns best: matrices of transformers by Muon, everything else by AdamW."""
    optimizer, lr = RATES[kind]
    learn(model, batches, steps, lr, seed, optimizer=optimizer)


def curves(title: str, y: str, sizes: tuple[int, ...], lines: dict[str, list[float]]) -> Plot:
    """Return lines over the number of pictures."""
    x = tuple(float(size) for size in sizes)
    return Plot(
        title, "training pictures", y, tuple(Series(NAMES[k], x, tuple(v)) for k, v in lines.items()), log_x=True
    )


def figures_of(
    far: dict[str, list[Measured]], near: dict[str, list[float]], crossing: float, effort: Effort
) -> dict[str, float | int | str]:
    """Return every number that was measured, by name."""
    found = round(crossing) if math.isfinite(crossing) else "none"
    told: dict[str, float | int | str] = {"far world: pictures at which the ViT overtakes the CNN for good": found}
    for kind, measured in far.items():
        for size, each in zip(SIZES[effort.full], measured, strict=True):
            name = f"far world, {NAMES[kind]}, {size} pictures"
            told |= {f"{name}: accuracy": each.accuracy, f"{name}: squared bias": each.bias}
            told |= {f"{name}: variance": each.variance}
    for kind, accuracies in near.items():
        for size, value in zip(REAL[effort.full], accuracies, strict=True):
            told[f"real world, {NAMES[kind]}, {size} pictures: accuracy"] = value
    return told


def reason_of(crossing: float, far: dict[str, list[Measured]], margins: list[float], effort: Effort) -> str:
    """Return what came out, in words."""
    few, many, real = SIZES[effort.full][0], SIZES[effort.full][-1], REAL[effort.full]
    (cnn, *_, cnn_end), (vit, *_, vit_end) = ([100 * each.accuracy for each in far[kind]] for kind in ("cnn", "vit"))
    crosses = math.isfinite(crossing)
    found = (
        f"the lines cross at about {float(f'{crossing:.2g}'):,.0f}" if crosses else "the lines do not cross for good"
    )
    ahead = sum(margin > 2 for margin in margins)
    return (
        f"Where the label is a relation of far patches, {few} pictures give the CNN {cnn:.3g} % and the ViT {vit:.3g} "
        f"%; {many:,} give them {cnn_end:.3g} % and {vit_end:.3g} %, and {found}. Of {real[0]:,} to {real[-1]:,} real "
        f"pictures, and with {STEPS[effort.full]['real']} steps, the CNN learns clearly most at {ahead} of "
        f"{len(margins)} sizes."
    )


IDEA = Idea(
    name="prior",
    number="S-16",
    claim="A convolution's prior helps with little data and hurts with much. (The second half cannot be shown on the "
    "50,000 real pictures of CIFAR-10; it is shown in a world with as many as one wants.)",
    experiment="Learning curves, squared bias and variance of a CNN and a ViT where the label is a relation between "
    "opposite corners and a local hint is right in three of four pictures; and learning curves on real pictures.",
    paper="2010.11929, sec. 4.3 and fig. 4",
    trained=True,
    run=run,
)
