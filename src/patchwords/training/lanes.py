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
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..config import RunConfig
from ..data.loader import use_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes:
    """Computes a function of several items at once, and yields the results in order.

    Args:
        count: how many at once; 1 computes in the calling thread, with all of its own threads. More share the
            caller's threads out evenly.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            before, meeting = torch.get_num_threads(), threading.Barrier(count)
            share = max(1, before // count)
            self._pool = ThreadPoolExecutor(count, "patchwords-lane", use_threads, (share,))
            list(self._pool.map(lambda _: meeting.wait(), range(count)))  # all have begun
            torch.set_num_threads(before)  # what a thread sets for itself becomes the default of threads to come

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield work(item) of each item, in order."""
        return self._pool.map(work, items) if self._pool else map(work, items)

    @contextmanager
    def between(self) -> Iterator[None]:
        """What the calling thread does between the lanes, it does alone: short work, not worth a meeting of threads.

        Where a core is busy with something else, each meeting waits for it: beside one other process a step of
        `vit_micro_patch4_32` took ten times as long as alone, nearly all of it in waiting.
        """
        before = torch.get_num_threads()
        if self._pool:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if self._pool:
                torch.set_num_threads(before)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool:
            self._pool.shutdown()


def choose_lanes(run: RunConfig, threads: int) -> int:
    """Return how many shards of a run are computed at once on a processor with `threads`.

    One where the model draws random numbers: torch's generator is one for all threads.
    """
    return 1 if run.model.draws else max(n for n in range(1, threads + 1) if run.train.shards % n == 0)
