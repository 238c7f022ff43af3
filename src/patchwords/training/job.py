"""A run that is set up: pictures, batches, state, and what it is measured with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..data.evaluation import Labelled, eval_batches, open_labelled
from ..data.loader import Batch, Loader
from ..data.manifest import Manifest, Pictures
from ..data.mixing import Mixer
from ..models import build_empty
from ..preprocess import Preprocess
from . import folder
from .decision import Decision
from .step import Shard, TrainState


class Pace(NamedTuple):
    """How fast a training goes."""

    speed: float
    """training pictures per second"""
    waiting: float
    """share of the time in which steps waited for their pictures, 0..1"""


@dataclass
class Job:
    """A run that is set up: what a step needs, and what it is measured and saved with."""

    run: RunConfig
    out: Path
    decision: Decision
    manifest: Manifest
    preprocess: Preprocess
    pictures: Pictures
    pixels: Tensor | None
    """every picture of the manifest as evaluation sees it, when they fit in memory"""
    loader: Loader
    mixer: Mixer
    state: TrainState
    log_length: int = 0
    """bytes of metrics.jsonl that belong to the steps already taken"""
    _evaluation_model: nn.Module | None = field(default=None, repr=False)
    _clock: tuple[int, float, float] = (0, 0.0, 0.0)
    _pace: Pace = Pace(0.0, 0.0)

    @property
    def config_hash(self) -> str:
        """sha256 of the settings that decide the result."""
        return folder.settings_hash(self.run)

    @property
    def loader_steps_per_epoch(self) -> float:
        """Steps in which every training picture is seen once; need not be whole."""
        return self.loader.plan.steps_per_epoch

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.state.step / self.loader_steps_per_epoch

    @property
    def epochs(self) -> float:
        """Epochs in all."""
        return self.state.steps / self.loader_steps_per_epoch

    def has(self, split: str) -> bool:
        """Return whether a split has pictures."""
        return split in self.manifest.counts

    def pace(self, step: int) -> Pace:
        """Return how fast the training goes, renewed once a second."""
        (before, began, lost), now, waited = self._clock, time.monotonic(), self.loader.waited
        if now - began >= 1.0 or not began:
            self._clock = (step, now, waited)
            if began:
                speed = (step - before) * self.run.train.batch_size / (now - began)
                self._pace = Pace(speed, min(1.0, (waited - lost) / (now - began)))
        return self._pace

    def shards(self, batch: Batch) -> list[Shard]:
        """Cut a batch into its virtual shards: mixed, normalised, on the device, in the compute type."""
        parts = []
        size = self.run.train.batch_size // self.run.train.shards
        for index in range(self.run.train.shards):
            cut = slice(index * size, (index + 1) * size)
            images, labels, weights = self.loader.on_device(batch, cut)
            if self.state.step < self.early_steps:
                side, augment = self.run.augment.early_crop, self.loader.augment
                images = augment.window(images, side, batch.epoch[cut].numpy(), batch.ids[cut].numpy())
            images, targets = self.mixer(images, labels, step=self.state.step, shard=index, weights=weights)
            images = self.preprocess.normalize(images, self.decision.dtype)
            parts.append(Shard(images, targets, weights))
        return parts

    @property
    def early_steps(self) -> int:
        """Steps at the start in which parts of pictures are shown."""
        return round(self.run.augment.early_share * self.state.steps) if self.run.augment.early_crop else 0

    def names(self, batch: Batch) -> list[str]:
        """Return the files of a batch."""
        train = self.manifest.split("train")
        return [self.manifest.pictures[train[i]].path for i in batch.ids.tolist()]

    def evaluation_model(self, dtype: torch.dtype) -> nn.Module:
        """Return a model in evaluation mode that holds the averaged weights in `dtype`."""
        if self._evaluation_model is None:
            model = build_empty(self.run.model)
            self._evaluation_model = model.to_empty(device=self.decision.device).eval()
        model = self._evaluation_model.to(dtype)
        model.load_state_dict(self.state.shipped())
        return model

    def labelled(self, split: str) -> Labelled:
        """Return the pictures of a split with their labels, from memory when they are there."""
        chosen = open_labelled(self.manifest, self.pictures, self.preprocess, self.manifest.classes, split)
        if self.pixels is None:
            return chosen
        here = self.pixels[torch.from_numpy(self.manifest.split(split))]
        return replace(chosen, batches=here.split)

    def pixel_batches(self, numbers: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        """Yield numbered pictures of the manifest as evaluation sees them, uint8 (batch, channel, row, column)."""
        if self.pixels is None:
            return eval_batches(self.pictures, numbers, self.preprocess, batch_size, self.run.data.workers)
        return iter(self.pixels[torch.from_numpy(numbers)].split(batch_size))

    def close(self) -> None:
        """Stop the threads of the loader and of the lanes."""
        self.loader.close()
        self.state.lanes.close()
