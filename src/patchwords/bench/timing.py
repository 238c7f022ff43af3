"""Times of several sides, each measured once a round, in turn; only of those that passed their check."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch


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
    """One side of one case."""

    case: str
    side: str
    checks: tuple[Check, ...]
    seconds: tuple[float, ...]
    """of each round; empty where a check failed"""
    of_peak: float | None
    """fraction of the GEMM peak in the fastest round"""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; no figure of a side that failed."""
        found = {"case": self.case, "side": self.side, "passed": self.passed}
        found["checks"] = [asdict(check) for check in self.checks]
        if self.seconds:
            least, median = min(self.seconds), statistics.median(self.seconds)
            found |= {"least": least, "median": median, "spread": max(self.seconds) - least, "of_peak": self.of_peak}
        return found


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes, on a GPU until it is done there."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each side, measured A B C A B C ..."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            taken[name].append(seconds_of(work))
    return {name: tuple(seconds) for name, seconds in taken.items()}
