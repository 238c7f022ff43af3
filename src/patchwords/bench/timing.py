"""Times of several sides, each measured once a round, in turn; only of those that passed their check."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

OURS = "patchwords"
"""how the name of a side of ours begins; every other side is a peer"""


@dataclass(frozen=True)
class Check:
    """Whether a side computes what it should: `error` is at most `bound`."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """False for a NaN too."""
        return self.error <= self.bound


@dataclass(frozen=True)
class Row:
    """One side of one case; sides of one case do the same work and are compared."""

    case: str
    side: str
    checks: tuple[Check, ...]
    seconds: tuple[float, ...]
    """of each round; empty where a check failed"""
    of_peak: float | None
    """fraction of the GEMM peak in the fastest round"""
    count: int | None = None
    """pictures in a round, where pictures a second are of interest"""
    peak_bytes: tuple[int, ...] = ()
    """the most memory that each round took, of a row that measures memory and not time"""
    top1: tuple[float, ...] = ()
    """test accuracy, 0 to 1, of each round, of a row whose rounds are whole trainings"""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def ours(self) -> bool:
        """Whether this is a side of ours."""
        return self.side.startswith(OURS)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; no figure of a side that failed."""
        found: dict[str, Any] = {"case": self.case, "side": self.side, "ours": self.ours, "passed": self.passed}
        found["checks"] = [asdict(check) for check in self.checks]
        if self.top1:  # told of a missed target too
            found |= {"top1": list(self.top1), "seconds": list(self.seconds)}
        if not self.passed:
            return found
        if self.seconds:
            least, median = min(self.seconds), statistics.median(self.seconds)
            found |= {"least": least, "median": median, "spread": max(self.seconds) - least, "of_peak": self.of_peak}
            found["seconds"] = list(self.seconds)
            if self.count:
                found["count"] = self.count
                found["per_second"] = {"fastest": self.count / least, "median": self.count / median}
        if self.peak_bytes:
            found["peak_bytes"] = list(self.peak_bytes)
        return found


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes; with a GPU by its own clock, until it is done there."""
    if torch.cuda.is_available():
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        began.record()
        work()
        ended.record()
        ended.synchronize()
        return began.elapsed_time(ended) / 1000
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    sides: Mapping[str, Callable[[], object]] | Mapping[Any, Callable[[], object]], rounds: int, warmed: bool = False
) -> dict[Any, tuple[float, ...]]:
    """Return the seconds of each side, measured A B C A B C ...

    Args:
        warmed: each runs once without a clock before it is timed: threads of the side before it still spin for a while,
            and what that left in caches and in the heap is its own.
    """
    taken: dict[Any, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            if warmed:
                work()
            taken[name].append(seconds_of(work))
    return {name: tuple(seconds) for name, seconds in taken.items()}


def ratios(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for every case and peer how many times what ours takes the peer takes, in time or in memory.

    Ours is the fastest side of ours. `fastest` compares the best rounds, `median` and `least` are of the ratios of
    the single rounds, in which both sides were measured one after the other.
    """
    found = []
    for case in dict.fromkeys(row.case for row in rows):
        sides = [(row, row.peak_bytes or row.seconds) for row in rows if row.case == case and row.passed]
        sides = [(row, taken) for row, taken in sides if taken]
        own = min((side for side in sides if side[0].ours), key=lambda side: min(side[1]), default=None)
        for row, taken in sides:
            if own is None or row.ours:
                continue
            ratio = {"case": case, "ours": own[0].side, "peer": row.side, "of": "memory" if row.peak_bytes else "time"}
            ratio["fastest"] = min(taken) / min(own[1])
            if len(taken) == len(own[1]):
                by_round = [theirs / mine for theirs, mine in zip(taken, own[1], strict=True)]
                ratio |= {"median": statistics.median(by_round), "least": min(by_round)}
            found.append(ratio)
    return found
