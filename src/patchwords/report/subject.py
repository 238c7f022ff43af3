"""What is looked at: a model with its pictures as it sees them, their names and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import LoadedModel
from ..errors import ConfigError
from ..inspection.still import chunks

T = TypeVar("T")

SHOWN = 4
"""pictures that the exhibits of single pictures show: the first"""
CHEAP_GFLOP = 1.0
"""one picture through a model below this: nothing is saved on"""

DEAR_GFLOP = 20.0
"""above this only what costs a few passes is done"""

Report = Callable[[int, int], None]
"""called with (done, in all)"""


@dataclass(frozen=True)
class Subject:
    """One model and the pictures it is shown."""

    name: str
    """as the user wrote it"""
    loaded: LoadedModel
    pixels: Tensor
    """(pictures, C, H, W) uint8, as the model sees them; none when there are no pictures"""
    paths: tuple[str, ...] = ()
    """names of the pictures"""
    labels: np.ndarray | None = None
    """(pictures,) classes of this model, -1: unknown; None: no picture has a class that the model knows"""
    gallery: Gallery | None = None
    """pictures among which the nearest ones are looked for; None: the pictures themselves"""
    seed: int = 0
    shown: int = SHOWN

    @property
    def model(self) -> torch.nn.Module:
        """The model."""
        return self.loaded.model

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes."""
        return self.loaded.classes

    def __len__(self) -> int:
        return len(self.pixels)

    def require_pictures(self, least: int = 1) -> None:
        """Raise ConfigError when there are fewer than `least` pictures."""
        if len(self) < least:
            what = f"it needs {least} pictures or more, and {len(self)} is given" if least > 1 else "it needs pictures"
            raise ConfigError(what)

    def images(self, count: int | None = None) -> Tensor:
        """Return the first `count` pictures, normalised: float32 (count, C, H, W); None: those that are shown."""
        self.require_pictures()
        return self.loaded.preprocess.normalize(self.pixels[: self.shown if count is None else count])

    def batches(self, progress: Report, size: int = 32, most: int | None = None) -> Iterator[Tensor]:
        """Yield all pictures (or the first `most`), normalised, in near-equal batches of at most `size`."""
        self.require_pictures()
        count = len(self) if most is None else min(most, len(self))
        for part in chunks(count, size):
            yield self.loaded.preprocess.normalize(self.pixels[part])
            progress(part.stop, count)

    def drawable(self, count: int | None = None) -> list[np.ndarray]:
        """Return the first pictures as (H, W, C) uint8, as drawing takes them."""
        shown = self.pixels[: self.shown if count is None else count]
        return [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in shown]

    def names(self, count: int | None = None) -> list[str]:
        """Return the file names of the first pictures."""
        return [Path(path).name or path for path in self.paths[: self.shown if count is None else count]]

    @property
    def gflop(self) -> float:
        """10^9 operations of one picture through the model: twice the parameters of its matrices for each token."""
        weights = sum(parameter.numel() for parameter in self.model.parameters() if parameter.ndim > 1)
        tokens = self.model.num_prefix_tokens + self.model.grid[0] * self.model.grid[1]
        return 2e-9 * weights * tokens

    @property
    def cheap(self) -> bool:
        """Whether the model is so small that nothing is saved on."""
        return self.gflop < CHEAP_GFLOP


@dataclass(frozen=True)
class Gallery:
    """Pictures among which neighbours are looked for."""

    what: str
    """in words: 1024 of the training pictures"""
    pixels: Tensor
    """(pictures, C, H, W) uint8"""
    paths: tuple[str, ...]
    labels: np.ndarray
    """(pictures,) classes of the model, -1: unknown"""


def part_of(progress: Report, number: int, parts: int) -> Report:
    """Return the progress of part `number`, from 0, of `parts` equal ones."""
    return lambda done, total: progress(number * total + done, parts * total)


def of_each(
    name: str, subject: Subject, other: Subject | None, progress: Report, measure: Callable[[Subject, Report], T]
) -> tuple[dict[str, T], dict[str, Subject], list[str]]:
    """Measure the model under `name` and the other, where there is one, under `name_other`.

    Returns:
        what was found by name, whose it is, and notes: what does not apply to the other model is no more than a note.

    Raises:
        ConfigError: it does not apply to `subject`.
    """
    parts, notes = 2 if other else 1, []
    found, whose = {name: measure(subject, part_of(progress, 0, parts))}, {name: subject}
    if other:
        try:
            found[f"{name}_other"] = measure(other, part_of(progress, 1, parts))
            whose[f"{name}_other"] = other
        except ConfigError as fault:
            notes.append(f"{other.name}: {fault.line()}.")
    return found, whose, notes
