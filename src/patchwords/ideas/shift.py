"""S-18: one pixel further, and everything an MLP reads is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..architecture import CNNConfig, MLPConfig, ViTConfig
from ..figures.plot import Plot, Series
from .draws import drawn_model, largest
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import PictureSet, answers, digits, learn, new_model, real_pictures

SHIFTS = (1, 2, 3, 4)
"""pixels, in each of four directions"""
PATCH = 4
MARGIN = 4
"""pixels of background around a digit, so that nothing of it is lost"""
BATCH, LR = 64, 2e-3
TRAIN, TEST = {False: 2000, True: 20_000}, {False: 400, True: 5000}
"""pictures of the larger set"""
STEPS = {False: {"digits": 200, "pictures": 200}, True: {"digits": 1500, "pictures": 4000}}
SEEDS = {False: 1, True: 3}
NAMES = {"mlp": "MLP", "vit": "ViT", "cnn": "CNN"}


def run(effort: Effort) -> Result:
    """Train three models without ever shifting a picture, then shift the test pictures by 1 to 4 pixels."""
    real = real_pictures(effort, TRAIN[effort.full], TEST[effort.full])
    sets = {"digits": tuple(framed(each) for each in digits(effort.seed)), "pictures": real}
    checks: list[Check] = []
    figures: dict[str, float | int | str] = {}
    plots = []
    for data, (train, test) in sets.items():
        agreed, right = {}, {}
        for kind, name in NAMES.items():
            effort.progress(f"{data}: {name}")
            agreed[kind], right[kind] = measured(kind, data, train, test, effort)
            figures[f"{data}, {name}: accuracy"] = right[kind][0]
            figures |= {
                f"{data}, {name}: accuracy after {s} px": a for s, a in zip(SHIFTS, right[kind][1:], strict=True)
            }
            figures |= {f"{data}, {name}: consistency at {s} px": a for s, a in zip(SHIFTS, agreed[kind], strict=True)}
        checks += compared(data, agreed, right)
        lines = tuple(Series(name, SHIFTS, tuple(agreed[kind])) for kind, name in NAMES.items())
        plots.append(Plot(f"The same answer after a shift, {data}", "shift (px)", "share of test pictures", lines))
    change, kept = patch_shift(real[1], effort.seed)
    name = f"ViT without table, cyclic shift by {PATCH} px"
    checks += [
        Check(f"{name}: change of the logits, float64", change, "<", 1e-12),
        Check(f"{name}: consistency", kept, "==", 1.0),
    ]
    return Result(
        verdict_of_checks(checks), reason_of(sets, figures, checks, change), tuple(checks), figures, tuple(plots)
    )


def compared(data: str, agreed: dict[str, tuple[float, ...]], right: dict[str, tuple[float, ...]]) -> list[Check]:
    """Return the checks of one set: the order one pixel and one patch further, and how far the MLP falls."""
    name, patch = f"{data}, 1 px: consistency of the", SHIFTS.index(PATCH)
    checks = [
        Check(f"{name} {NAMES[more]} less that of the {NAMES[less]}", agreed[more][0] - agreed[less][0], ">", 0.0)
        for less, more in (("mlp", "vit"), ("vit", "cnn"))
    ]
    name = f"{data}, {PATCH} px: consistency of the ViT less that of the MLP"
    checks.append(Check(name, agreed["vit"][patch] - agreed["mlp"][patch], ">", 0.0))
    if data == "digits":
        name = "digits, MLP: accuracy after 2 px over accuracy before"
        checks.append(Check(name, right["mlp"][2] / right["mlp"][0], "<", 0.5))
    return checks


def verdict_of_checks(checks: list[Check]) -> str:
    """Return "qualified" where only the order at one pixel does not come out."""
    others = [check for check in checks if ", 1 px: " not in check.name]
    return verdict_of(tuple(checks), "qualified" if all(check.met for check in others) else "refuted")


def reason_of(data: Iterable[str], figures: dict[str, Any], checks: list[Check], change: float) -> str:
    """Return what came out, in words."""

    def shares(each: str, shift: int) -> str:
        told = (
            f"{name} {100 * figures[f'{each}, {name}: consistency at {shift} px']:.3g} %" for name in NAMES.values()
        )
        return ", ".join(told)

    told = "; ".join(f"{each} {shares(each, 1)}, and {PATCH} px further {shares(each, PATCH)}" for each in data)
    order = [check.met for check in checks if ", 1 px: " in check.name]
    holds = "holds on both sets" if all(order) else "does not hold" if not any(order) else "does not hold throughout"
    return (
        f"Answers that stay one pixel further: {told}. The order MLP < ViT < CNN {holds} at one pixel. "
        f"A cyclic shift by a whole patch changes a ViT without positions by {change:.1g}: rounding."
    )


def measured(
    kind: str, data: str, train: PictureSet, test: PictureSet, effort: Effort
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return of models of a kind, means over seeds: consistency at each shift; accuracy unshifted and at each shift."""
    agreed, right = [], []
    move = moved_on_background if data == "digits" else moved_reflected
    for seed in range(effort.seed, effort.seed + SEEDS[effort.full]):
        model = new_model(model_config(kind, test), seed)
        learn(model, train.batches(seed, BATCH), STEPS[effort.full][data], LR, seed)
        shares = consistency(model, test, move)
        agreed.append(shares[0])
        right.append(shares[1])
    return tuple(torch.tensor(agreed).mean(0).tolist()), tuple(torch.tensor(right).mean(0).tolist())


def model_config(kind: str, pictures: PictureSet) -> Any:
    """Return the settings of a small model for these pictures."""
    channels, rows, columns = pictures.images.shape[1:]
    shape = {"image_size": (rows, columns), "in_channels": channels, "num_classes": len(pictures.classes)}
    if kind == "mlp":
        return MLPConfig(**shape, dim=256, depth=2)
    if kind == "cnn":
        return CNNConfig(**shape, width=16, depths=(1, 1, 1), groups=8)
    return ViTConfig(**shape, patch_size=(PATCH, PATCH), dim=48, depth=2, num_heads=3, mlp_dim=96)


def consistency(
    model: nn.Module, test: PictureSet, move: Callable[[Tensor, int, int], Tensor]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return shares of pictures: answered as before at each shift; answered rightly unshifted and at each shift.

    Each shift goes up, down, left and right; the shares are means over the four.
    """
    before = answers(model, test.inputs).argmax(dim=1)
    same, right = [], [float((before == test.labels).double().mean())]
    for shift in SHIFTS:
        ways = [(shift, 0), (-shift, 0), (0, shift), (0, -shift)]
        after = torch.stack(
            [answers(model, test.preprocess.normalize(move(test.images, *way))).argmax(dim=1) for way in ways]
        )
        same.append(float((after == before).double().mean()))
        right.append(float((after == test.labels).double().mean()))
    return tuple(same), tuple(right)


def framed(pictures: PictureSet) -> PictureSet:
    """Return pictures with a margin of background (0) on all sides."""
    return replace(
        pictures,
        images=F.pad(pictures.images, (MARGIN,) * 4),
        preprocess=replace(pictures.preprocess, image_size=(16, 16)),
    )


def moved_on_background(images: Tensor, down: int, right: int) -> Tensor:
    """Return pictures (N, C, H, W) moved by pixels; what comes in is background (0)."""
    return _cut(F.pad(images, (max(SHIFTS),) * 4), images, down, right)


def moved_reflected(images: Tensor, down: int, right: int) -> Tensor:
    """Return pictures (N, C, H, W) moved by pixels; what comes in is the mirror image of what is beside it."""
    padded = F.pad(images.float(), (max(SHIFTS),) * 4, mode="reflect").to(images.dtype)
    return _cut(padded, images, down, right)


def _cut(padded: Tensor, images: Tensor, down: int, right: int) -> Tensor:
    rows, columns = images.shape[2:]
    top, left = max(SHIFTS) - down, max(SHIFTS) - right
    return padded[:, :, top : top + rows, left : left + columns]


def patch_shift(pictures: PictureSet, seed: int, count: int = 64) -> tuple[float, float]:
    """Return what a cyclic shift by one patch does to a ViT without positions, float64.

    Returns:
        the largest change of a logit; the share of pictures with the same answer.
    """
    config = replace(model_config("vit", pictures), position="none")
    model, inputs = drawn_model(config, seed), pictures.inputs[:count].double()
    before, after = answers(model, inputs), answers(model, inputs.roll((PATCH, PATCH), dims=(2, 3)))
    return largest(after - before), float((after.argmax(dim=1) == before.argmax(dim=1)).double().mean())


IDEA = Idea(
    name="shift",
    number="S-18",
    claim="An MLP is unstable: shift the picture by one pixel, and all its inputs are others.",
    experiment="Train MLP, ViT and CNN without shifts, then move the test pictures by 1 to 4 pixels and count the "
    "answers that stay; and shift by a whole patch, cyclically, without positions.",
    paper="2010.11929, sec. 3.1 (inductive bias)",
    trained=True,
    run=run,
)
