"""Times that a busy machine changes little: processor time of one thread, the least of several rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

LEAST_S = 2e-3
"""a shorter work is repeated within a round until it takes this long"""
ROUNDS = (3, 8)
"""at least and at most"""
SETTLED = 0.98
"""a round in which no time falls below this share of the least before is the last"""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, so that its processor time is that of this thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def least_seconds(works: Sequence[Callable[[], object]]) -> list[float]:
    """Return processor seconds of each of `works`, the least of several rounds, until they fall no more.

    All are done in each round, so that a slow spell of the machine meets all of them. Processor time leaves out the
    time that other programs had; what they cost by their use of caches and memory stays, and the least has least of it.
    """
    with one_thread():
        repeats = [max(1, round(LEAST_S / max(_seconds(work, 1), 1e-7))) for work in works]  # first: to warm up
        least = [float("inf")] * len(works)
        for number in range(ROUNDS[1]):
            now = [_seconds(work, count) for work, count in zip(works, repeats, strict=True)]
            settled = all(new > SETTLED * old for new, old in zip(now, least, strict=True))
            least = [min(pair) for pair in zip(now, least, strict=True)]
            if settled and number + 1 >= ROUNDS[0]:
                break
    return least


def _seconds(work: Callable[[], object], count: int) -> float:
    start = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - start) / count


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return b of the best y = a x^b, by least squares of logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
