"""S-24: global attention reaches the far corner in its first layer; local attention needs depth for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from .draws import generator
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import ReadAt, accuracy, learn, mean_and_sd, new_model

CUES = 4
SIDE = {False: 4, True: 6}
"""patches along a side"""
BATCH, LR = 64, 1e-3
STEPS = {False: 150, True: 1000}
SEEDS = {False: 1, True: 3}
TESTS = 2048
MODEL = {"dim": 32, "num_heads": 2, "mlp_dim": 64, "pool": "mean", "class_token": False, "patch_size": (1, 1)}


def run(effort: Effort) -> Result:
    """Train global attention of one layer, and local attention of one layer and more, to name a far cue."""
    side = SIDE[effort.full]
    needed = side - 1  # a layer of window 1 reaches one patch further
    seeds = [effort.seed + number for number in range(SEEDS[effort.full])]
    depths = tuple(range(1, needed + 2))
    far = [named(side, "global", 1, seed, effort) for seed in seeds]
    near = {depth: [named(side, "local", depth, seed, effort) for seed in seeds] for depth in depths}
    reached = {depth: sensitivity(side, "local", depth, effort.seed) for depth in depths}
    blind, seeing = [d for d in depths if d < needed], [d for d in depths if d >= needed]
    means = [mean_and_sd(near[depth])[0] for depth in depths]
    error = math.sqrt((1 - 1 / CUES) / CUES / (TESTS * len(seeds)))
    above = (max(mean_and_sd(near[depth])[0] for depth in blind) - 1 / CUES) / error
    checks = (
        Check("global attention, 1 layer: worst accuracy", min(far), ">", 0.99),
        Check(f"local attention, fewer than {needed} layers: standard errors above chance, at most", above, "<", 3.0),
        Check("their derivative of the answer by the cue, at most", max(reached[d] for d in blind), "==", 0.0),
        Check(f"local attention, {needed} layers: derivative by the cue", reached[needed], ">", 0.0),
        Check(f"local attention, {needed} layers or more: best accuracy", max(means[d - 1] for d in seeing), ">", 0.9),
    )
    reason = (
        f"Across {side}x{side} patches one layer of global attention names the far cue in {100 * min(far):.3g} % of "
        f"the pictures (chance {100 / CUES:.3g} %). Local attention (one patch each way) comes to at most "
        f"{100 * max(means[: needed - 1]):.3g} % below {needed} layers, where the derivative by the cue is "
        f"{max(reached[d] for d in blind):.3g}, and to {100 * max(means):.3g} % once its cone reaches the corner."
    )
    lines = (
        Series("local attention", tuple(map(float, depths)), tuple(means)),
        Series("global attention, 1 layer", tuple(map(float, depths)), (mean_and_sd(far)[0],) * len(depths)),
    )
    figures: dict[str, float | int | str] = {
        f"local attention, {depth} layers: accuracy": mean for depth, mean in zip(depths, means, strict=True)
    }
    plot = Plot("Naming a cue in the opposite corner", "layers of local attention", "accuracy", lines)
    verdict = verdict_of(checks, "qualified" if all(check.met for check in checks[:3]) else "refuted")
    return Result(verdict, reason, checks, figures, (plot,))


def corners(seed: int, step: int, count: int, side: int) -> tuple[Tensor, Tensor]:
    """Return one batch: the first patch shows one of the cues, all others nothing; the label is the cue.

    Returns:
        pictures (B, CUES, side, side), the cue as a one-hot channel; labels (B,).
    """
    labels = torch.randint(CUES, (count,), generator=generator(seed, f"corners {step}"))
    pictures = torch.zeros(count, CUES, side, side)
    pictures[torch.arange(count), labels, 0, 0] = 1.0
    return pictures, labels


def reader(side: int, attention: str, depth: int, seed: int) -> nn.Module:
    """Return a new ViT that answers from the last patch, in the corner opposite to the first."""
    config = ViTConfig(
        image_size=(side, side), in_channels=CUES, num_classes=CUES, depth=depth, attention=attention,
        attention_window=1, **MODEL,
    )  # fmt: skip
    return ReadAt(new_model(config, seed), -1)


def named(side: int, attention: str, depth: int, seed: int, effort: Effort) -> float:
    """Return the accuracy on new pictures of a model trained to name the far cue."""
    model = reader(side, attention, depth, seed)
    learn(
        model, lambda step: corners(seed, step, BATCH, side), STEPS[effort.full], LR, seed, optimizer="muon",
        weight_decay=0.0, progress=effort.progress, name=f"{attention} attention, {depth} layers, seed {seed}",
    )  # fmt: skip
    return accuracy(model, *corners(seed, -1, TESTS, side))


def sensitivity(side: int, attention: str, depth: int, seed: int) -> float:
    """Return the largest derivative of a new model's features at the last patch by the first patch's pixels."""
    model = reader(side, attention, depth, seed).model.double().eval()
    pictures = corners(seed, -2, 8, side)[0].double().requires_grad_()
    last = model.forward_features(pictures)[:, -1]
    weights = torch.randn(last.shape, generator=generator(seed, "corners weights"), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((last * weights).sum(), pictures)
    return float(gradient[:, :, 0, 0].abs().max())


IDEA = Idea(
    name="early-far",
    number="S-24",
    claim="At the very beginning a transformer can attend far away; convolutions and local attention cannot.",
    experiment="The answer is read in one corner, the cue stands in the opposite one: attention that is global with "
    "one layer, and local with one layer and more.",
    paper="2010.11929, sec. 4.5 and fig. 7 (right)",
    trained=True,
    run=run,
)
