"""Lanes: virtual shards computed side by side, a thread each, instead of every operation shared by all threads.

The operations of a small model are short. Sharing each of them out to the cores and meeting again costs time, and
where a core is busy with something else everybody waits for it at every meeting; lanes meet once a step. What is
computed stays the same: a shard's gradient does not depend on what runs beside it, and the gradients are added in
the order of the shards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

from ..data.loader import compute_alone
from ..models.layers import DropPath

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """Computes a function of several items at once, one thread each, and yields the results in order.

    Args:
        count: how many at once; 1 computes in the calling thread, with all of its own threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            before, meeting = torch.get_num_threads(), threading.Barrier(count)
            self._pool = ThreadPoolExecutor(count, "patchwords-lane", compute_alone)
            list(self._pool.map(lambda _: meeting.wait(), range(count)))  # all have begun
            torch.set_num_threads(before)  # what a thread sets for itself becomes the default of threads to come

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield work(item) of each item, in order."""
        return self._pool.map(work, items) if self._pool else map(work, items)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool:
            self._pool.shutdown()


def draws(model: nn.Module) -> bool:
    """Return whether a training pass of `model` uses random numbers; torch's generator is one for all threads."""
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [module.rate for module in model.modules() if isinstance(module, DropPath)]
    return any(rates) or bool(getattr(model.config, "patch_dropout", 0.0))
