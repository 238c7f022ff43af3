"""Which samples are in a training step, in which order: a pure function of (seed, step), with no state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError
from ..randomness import permutation


class Planned(NamedTuple):
    """The samples of one step."""

    epoch: np.ndarray
    """(B,) int64: how often each sample was seen before; the outer counter of its random draws"""
    positions: np.ndarray
    """(B,) int64 in 0 .. num_samples - 1; the inner counter of its random draws"""


@lru_cache(maxsize=8)  # the two epochs around a boundary for a few plans; a cache only, its content changes no result
def _order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    order = permutation(seed, "order", epoch, num_samples)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class Plan:
    """The order of all training samples, for ever.

    Samples are numbered along one endless line: number g is place g mod N of epoch g div N, and every
    epoch has a permutation of its own. Step t takes the B samples from t * B on. So every step is full,
    batches run over the boundary of epochs, nothing is dropped, and each sample is seen exactly once
    per epoch. The place in the data is (seed, epoch, samples consumed), and any step is found at once.

    Raises:
        ConfigError: there is no sample, or the batch is empty.
    """

    seed: int
    num_samples: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError("there is no picture to train on", where="data.source")
        if self.batch_size < 1:
            raise ConfigError(f"{self.batch_size} is too small", where="train.batch_size", fix="Give 1 or more")

    @property
    def steps_per_epoch(self) -> float:
        """Steps in one epoch; not a whole number where the batch does not divide the samples."""
        return self.num_samples / self.batch_size

    def locate(self, step: int) -> tuple[int, int]:
        """Return (epoch, samples of that epoch already consumed) at the start of `step`."""
        return divmod(step * self.batch_size, self.num_samples)

    def batch(self, step: int) -> Planned:
        """Return the samples of `step`, 0 being the first."""
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        epoch, place = np.divmod(numbers, self.num_samples)
        positions = np.empty_like(place)
        for each in range(int(epoch[0]), int(epoch[-1]) + 1):
            here = epoch == each
            positions[here] = _order(self.seed, each, self.num_samples)[place[here]]
        return Planned(epoch, positions)


@dataclass(frozen=True)
class Once:
    """Every sample exactly once, in order, for evaluation; the last batch may be short."""

    num_samples: int
    batch_size: int

    @property
    def num_steps(self) -> int:
        """Batches in all."""
        return -(-self.num_samples // self.batch_size)

    def batch(self, step: int) -> Planned:
        """Return the samples of batch `step`, 0 .. num_steps - 1."""
        stop = min((step + 1) * self.batch_size, self.num_samples)
        positions = np.arange(step * self.batch_size, stop, dtype=np.int64)
        return Planned(np.zeros_like(positions), positions)
