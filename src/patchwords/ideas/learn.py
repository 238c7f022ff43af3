"""How the trained ideas train: one loop for every model and task, and the pictures it is fed.

The loop is that of `patchwords train` (training/step.py) without files, restarts and reports. A task is a function
from the number of a step to its batch, so that unlimited data are as simple as a set of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from ..data.augment import Augment
from ..data.plan import Plan
from ..data.sources import Source, open_source
from ..errors import DataError
from ..models import build
from ..preprocess import Preprocess
from ..randomness import derived_seed, permutation
from ..training.step import Shard, TrainState, train_step
from .idea import Effort

Batches = Callable[[int], tuple[Tensor, Tensor]]
"""from the number of a step to its pictures (B, C, H, W) and their labels (B,), the same at every call"""


@dataclass(frozen=True)
class Course:
    """How a model learned; it is ready to answer."""

    model: nn.Module
    losses: tuple[float, ...]
    """of each step's batch, before the step"""

    @property
    def loss(self) -> float:
        """Mean over the last tenth of the steps."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(last) / len(last)


def new_model(config: Any, seed: int) -> nn.Module:
    """Return a model with the initial values of training, a function of (config, seed)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "init"))
        return build(config)


class ReadAt(nn.Module):
    """A model that answers from one of its encoded tokens instead of from all or from the class token.

    Args:
        model: of any kind, without tokens before its patches; it pools by the mean where it is a ViT.
        place: which patch, in raster order; negative: from the end.
    """

    def __init__(self, model: nn.Module, place: int) -> None:
        super().__init__()
        self.model, self.place, self.config = model, place, model.config

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W)."""
        tokens = self.model.forward_features(images)
        place = self.place % tokens.shape[1]
        return self.model.forward_head(tokens[:, place : place + 1])

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters that are tables or tokens, not matrices."""
        return {f"model.{name}" for name in self.model.no_weight_decay()}


def parameters(model: nn.Module) -> int:
    """Return how many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def learn(
    model: nn.Module,
    batches: Batches,
    steps: int,
    lr: float,
    seed: int = 0,
    *,
    optimizer: str = "adamw",
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    label_smoothing: float = 0.0,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[str], None] = lambda line: None,
    name: str = "",
) -> Course:
    """Train `model` where it stands and return how it went.

    Args:
        lr: peak learning rate; of Muon's matrices it is 20 times that (0.02 for 1e-3).
        seed: of dropout; the batches have their own.
        optimizer: adamw, sgd or muon.
        warmup: share of the steps in which the rate rises; a cosine takes it down to 0 after that.
        clip_norm: largest norm of the gradient; 0: off.
        label_smoothing: share of each target that is spread over all classes.
        dtype: what the model computes in; the weights are float32 in any case, also afterwards.
        progress: told about every eighth of the steps, under `name`.

    Raises:
        NonFiniteError: the loss or a gradient is not a finite number; the step was not applied.
    """
    run = RunConfig(
        optimizer=OptimizerConfig(
            name=optimizer, lr=lr, muon_lr=20 * lr, weight_decay=weight_decay, clip_norm=clip_norm
        ),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(seed=seed % 2**32),
    )
    losses = []
    with torch.random.fork_rng(devices=[]):
        state = TrainState(model.train(), run, steps, min(math.ceil(warmup * steps), steps - 1), dtype)
        for step in range(steps):
            pictures, labels = batches(step)
            targets = F.one_hot(labels, model.config.num_classes).float()
            targets = targets * (1 - label_smoothing) + label_smoothing / model.config.num_classes
            shard = Shard(pictures.to(dtype), targets, torch.ones(len(labels)))
            losses.append(train_step(state, [shard], lambda step=step: [f"the batch of step {step}"]).loss)
            if name and (step + 1) % max(1, steps // 8) == 0:
                progress(f"{name}: step {step + 1} of {steps}, loss {losses[-1]:.3f}")
    model.to(torch.float32).load_state_dict(state.shipped())
    return Course(model.eval(), tuple(losses))


@torch.no_grad()
def answers(model: nn.Module, pictures: Tensor, size: int = 256) -> Tensor:
    """Return the logits (N, K) of an evaluating model for pictures (N, C, H, W), `size` at a time."""
    model.eval()
    return torch.cat([model(part) for part in pictures.split(size)])


def accuracy(model: nn.Module, pictures: Tensor, labels: Tensor, size: int = 256) -> float:
    """Return the share of pictures (N, C, H, W) that are given their label (N,)."""
    return float((answers(model, pictures, size).argmax(dim=1) == labels).double().mean())


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n - 1); 0 for a single value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class PictureSet:
    """Pictures in memory, in an order of which every beginning is a stratified subset."""

    images: Tensor
    """(N, C, H, W) uint8"""
    labels: Tensor
    """(N,) int64"""
    classes: tuple[str, ...]
    preprocess: Preprocess
    """how pixels become the input of a model"""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> Tensor:
        """Return all pictures normalised: (N, C, H, W) float32."""
        return self.preprocess.normalize(self.images)

    def first(self, count: int) -> PictureSet:
        """Return the first `count`: each class has its share of them, to within a picture."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def batches(self, seed: int, size: int, augment: Any = None) -> Batches:
        """Return batches of `size`, each epoch in a new order.

        Args:
            seed: of order and augmentation.
            augment: an AugmentConfig, or None to leave the pictures as they are.
        """
        plan = Plan(seed % 2**32, len(self), size)
        change = Augment(augment, seed % 2**32, self.preprocess.interpolation) if augment else None

        def batch(step: int) -> tuple[Tensor, Tensor]:
            planned = plan.batch(step)
            chosen = torch.from_numpy(planned.positions)
            images = self.images[chosen]
            if change:
                images = change(images, planned.epoch, planned.positions)
            return self.preprocess.normalize(images), self.labels[chosen]

        return batch


def digits(seed: int = 0) -> tuple[PictureSet, PictureSet]:
    """Return the built-in digits, 8x8 grey: four fifths to train on and one to test on, a function of `seed`."""
    return pictures_of("digits", seed, 10**6, 10**6, (8, 8), 1)


def real_pictures(
    effort: Effort, train: int, test: int, image_size: tuple[int, int] = (32, 32)
) -> tuple[PictureSet, PictureSet]:
    """Return `train` and `test` pictures, or as many as there are, of `effort.data` (cifar10 where it is empty).

    Raises:
        PatchwordsError: as reading them does, such as cifar10 where it is not stored and cannot be fetched.
    """
    return pictures_of(effort.data or "cifar10", effort.seed, train, test, image_size, 3)


def pictures_of(
    spec: str, seed: int, train: int, test: int, image_size: tuple[int, int], channels: int
) -> tuple[PictureSet, PictureSet]:
    """Return pictures to train on and to test on, only those decoded that are wanted.

    The test pictures are those of the split test, else of val; where there is none, a fifth of each class is set
    apart. Mean and standard deviation of the normalisation are those of the training pictures.

    Raises:
        DataError: there are not two classes, or one of the pictures cannot be read; names it.
    """
    source = open_source(spec)
    classes = tuple(sorted({entry.label for entry in source.entries}))
    if len(classes) < 2:
        raise DataError("has not two classes", where=source.name, fix="Give pictures of two classes or more")
    numbers = _split(source, seed)
    plain = Preprocess(image_size=image_size, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)
    sets = []
    for chosen in (numbers[0][:train], numbers[1][:test]):
        images = torch.stack([plain.pixels(source.read(number), source.where(number)) for number in chosen])
        labels = torch.tensor([classes.index(source.entries[number].label) for number in chosen])
        sets.append(PictureSet(images, labels, classes, plain))
    values = sets[0].images.double().div(255)
    mean, std = values.mean(dim=(0, 2, 3)).tolist(), values.std(dim=(0, 2, 3)).clamp_min(1e-2).tolist()
    normalised = replace(plain, mean=tuple(mean), std=tuple(std))
    return replace(sets[0], preprocess=normalised), replace(sets[1], preprocess=normalised)


def _split(source: Source, seed: int) -> tuple[list[int], list[int]]:
    """Return numbers of training and of test pictures, each in a stratified order."""
    splits = {entry.split for entry in source.entries}
    tests = next((name for name in ("test", "val") if name in splits), None)
    by_class: dict[str, dict[bool, list[int]]] = {}
    for number, entry in enumerate(source.entries):
        if entry.split in ("", "train", tests):
            by_class.setdefault(entry.label, {False: [], True: []})[entry.split == tests].append(number)
    places: dict[bool, list[tuple[float, int, int]]] = {False: [], True: []}
    for index, (label, parts) in enumerate(sorted(by_class.items())):
        for test, members in parts.items():
            order = permutation(seed % 2**32, f"idea pictures {label} {test}", 0, len(members)) if members else ()
            shuffled = [members[place] for place in order]
            if tests is None and not test:
                cut = max(1, round(len(shuffled) / 5))
                places[True] += [((rank + 0.5) / cut, index, n) for rank, n in enumerate(shuffled[:cut])]
                shuffled = shuffled[cut:]
            places[test] += [((rank + 0.5) / len(shuffled), index, n) for rank, n in enumerate(shuffled)]
    train, test = ([number for *_, number in sorted(places[side])] for side in (False, True))
    if not train or not test:
        raise DataError("has no pictures to train and to test on", where=source.name)
    return train, test
