"""S-28: learn from many pictures first, then from the few of the task at hand."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from ..checkpoint import LoadedModel
from ..config import AugmentConfig
from ..figures.plot import Plot, Series
from ..formats.adapt import adapt_model
from ..randomness import permutation
from .idea import Check, Effort, Idea, Result
from .learn import PictureSet, accuracy, answers, learn, mean_and_sd, new_model, real_pictures
from .trained import Scale, chance_points, scale_of, seeds_of, trained

SMALL, LARGE = (24, 24), (32, 32)
"""pixels of pictures before and after the transfer; the table of positions is resampled"""
NEW_CLASSES = 4
"""classes that pre-training never sees"""
LABELS = {False: (40, 200), True: (100, 300, 1000)}
STEPS = {False: 80, True: 400}
RATES = (1 / 8, 1 / 2, 1.0)
"""parts of the usual learning rate, of which each arm takes its best"""
BATCH = 32


@dataclass(frozen=True)
class Task:
    """Pictures of the new classes: few to learn from, some to choose a rate by, the others to test on."""

    labelled: PictureSet
    chosen_by: PictureSet
    test: PictureSet


def run(effort: Effort) -> Result:
    """Pre-train on some classes, give the model a head of zeros for others, and fine-tune it on few labels."""
    scale = scale_of(effort)
    config = scale.vit(image_size=SMALL)
    many, _ = real_pictures(effort, scale.train, 1, SMALL)
    train, test = (as_seen(each, many) for each in real_pictures(effort, scale.train, scale.test, LARGE))
    found: dict[int, list[tuple[float, float]]] = {labels: [] for labels in LABELS[effort.full]}
    heads = []
    for seed in seeds_of(effort):
        new = permutation(seed % 2**32, "idea new classes", 0, len(train.classes))[:NEW_CLASSES].tolist()
        old = [number for number in range(len(train.classes)) if number not in new]
        source = of_classes(many, old)
        model = trained(config, source, scale.recipe, seed, effort, name="pre-training")
        start = transferred(model, source, [train.classes[number] for number in new])
        parts = of_classes(train, new), of_classes(test, new)
        heads.append(new_head(start, parts[1]))
        for labels in found:
            task = Task(parts[0].first(labels), part(parts[0], labels, labels + 200), parts[1])
            arms = (start, new_model(start.config, seed))
            found[labels].append(tuple(best(arm, task, scale, seed, effort) for arm in arms))
    return concluded(found, heads, len(parts[1]))


def of_classes(pictures: PictureSet, classes: list[int]) -> PictureSet:
    """Return the pictures of these classes, numbered in the order in which they are given."""
    number = torch.full((len(pictures.classes),), -1)
    number[classes] = torch.arange(len(classes))
    kept = number[pictures.labels] >= 0
    names = tuple(pictures.classes[each] for each in classes)
    return replace(pictures, images=pictures.images[kept], labels=number[pictures.labels[kept]], classes=names)


def as_seen(pictures: PictureSet, source: PictureSet) -> PictureSet:
    """Return the pictures normalised as those of pre-training were: the model is used to that."""
    return replace(pictures, preprocess=replace(source.preprocess, image_size=pictures.preprocess.image_size))


def part(pictures: PictureSet, start: int, stop: int) -> PictureSet:
    """Return pictures `start` to `stop` - 1."""
    return replace(pictures, images=pictures.images[start:stop], labels=pictures.labels[start:stop])


def transferred(model: nn.Module, source: PictureSet, classes: list[str]) -> nn.Module:
    """Return the model for larger pictures and new classes: its table resampled, its head zeros (sec. 3.2)."""
    loaded = LoadedModel(model, source.classes, source.preprocess, {})
    return adapt_model(loaded, image_size=LARGE, classes=tuple(classes))[0].model


def new_head(model: nn.Module, pictures: PictureSet) -> tuple[float, float]:
    """Return the largest logit of a model with a new head, and how far its loss is from that of guessing, ln K."""
    seen = pictures.first(64)
    logits = answers(model, seen.inputs).double()
    loss = float(F.cross_entropy(logits, seen.labels))
    return float(logits.abs().max()), abs(loss - math.log(len(pictures.classes)))


def best(start: nn.Module, task: Task, scale: Scale, seed: int, effort: Effort) -> float:
    """Return the test accuracy (%) of a copy of `start` trained at the rate that pictures apart prefer."""
    runs = []
    for share in RATES:
        model = copy.deepcopy(start)
        batches = task.labelled.batches(seed, BATCH, AugmentConfig(crop="shift", shift=scale.recipe.shift, flip=True))
        learn(
            model, batches, STEPS[effort.full], share * scale.recipe.lr, seed, optimizer=scale.recipe.optimizer,
            dtype=getattr(torch, scale.recipe.precision), progress=effort.progress,
            name=f"{len(task.labelled)} labels, rate {share * scale.recipe.lr:.2g}, seed {seed}",
        )  # fmt: skip
        runs.append((accuracy(model, task.chosen_by.inputs, task.chosen_by.labels), -share, model))
    model = max(runs, key=lambda each: each[:2])[2]
    return 100 * accuracy(model, task.test.inputs, task.test.labels)


def concluded(found: dict[int, list[tuple[float, float]]], heads: list[tuple[float, float]], tests: int) -> Result:
    """Return what (fine-tuned, from scratch), % of `tests` pictures and one a seed, by number of labels say."""
    won = {labels: [a - b for a, b in values] for labels, values in found.items()}
    checks = (
        Check("new head: largest logit before fine-tuning", max(logit for logit, _ in heads), "==", 0.0),
        Check("new head: loss less ln K, nats", max(gap for _, gap in heads), "<", 1e-6),
        *(
            Check(f"{labels} labels: smallest gain of a seed, points", min(each), ">", 0.0)
            for labels, each in won.items()
        ),
    )
    told = ", ".join(
        f"{mean_and_sd([a for a, _ in values])[0]:.1f} % against {mean_and_sd([b for _, b in values])[0]:.1f} % with "
        f"{labels:,} labels"
        for labels, values in found.items()
    )
    seeds = len(next(iter(found.values())))
    reason = f"Pre-trained on other classes against from scratch, each at its best rate: {told} ({seeds} seed(s))."
    gains = [gain for each in won.values() for gain in each]
    noise = chance_points(tests)
    close = seeds == 1 and min(gains) < noise
    if close:
        reason += f" With one seed and {tests:,} pictures, a gain below {noise:.1f} points may be chance."
    met = all(check.met for check in checks) and not close
    verdict = "confirmed" if met else "qualified" if sum(gains) / len(gains) > 0 else "refuted"
    figures: dict[str, float | int | str] = {
        f"{labels} labels: gain, points": mean_and_sd(each)[0] for labels, each in won.items()
    }
    figures |= {f"{labels} labels: sd of the gain": mean_and_sd(each)[1] for labels, each in won.items()}
    x = tuple(float(labels) for labels in found)
    lines = tuple(
        Series(name, x, tuple(mean_and_sd([each[side] for each in values])[0] for values in found.values()))
        for side, name in enumerate(("pre-trained", "from scratch"))
    )
    plot = Plot("Few labels, with and without pre-training", "labels", "accuracy, %", lines, log_x=True)
    return Result(verdict, reason, checks, figures, (plot,))


IDEA = Idea(
    name="pretrain",
    number="S-28",
    claim="Many pictures first, then transfer: with few labels, a pre-trained ViT beats one from scratch.",
    experiment=f"Pre-train on smaller pictures of other classes, resample the table, put a head of zeros on, fine-tune "
    f"on few labels of {NEW_CLASSES} new classes, and compare with training from scratch for as many steps.",
    paper="2010.11929, sec. 3.2 and 4.3; 2106.10270, sec. 4.2",
    trained=True,
    run=run,
)
