"""What became of every tensor of a checkpoint: loaded, adapted, new or unused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..errors import printable

STATUSES = ("loaded", "adapted", "new", "unused")


@dataclass(frozen=True)
class Line:
    """One parameter of the model, or one tensor of the file that the model has no place for."""

    status: str
    """loaded: the same numbers in the same order; adapted: changed as `how` says; new: random, not in the file;
    unused: in the file and not in the model"""
    name: str
    """of our parameter; "" when unused"""
    source: tuple[str, ...]
    """names in the file; empty when new"""
    shape: tuple[int, ...]
    how: str = ""
    """how it was adapted, or why it is not used"""


@dataclass(frozen=True)
class Report:
    """Every tensor accounted for, and everything the file does not say with what was taken in its place."""

    format: str
    """whose file it is"""
    where: str
    lines: tuple[Line, ...]
    assumed: dict[str, str] = field(default_factory=dict)
    """setting -> its value and the ground for it"""

    @property
    def counts(self) -> dict[str, int]:
        """Number of lines of each status."""
        found = Counter(line.status for line in self.lines)
        return {status: found[status] for status in STATUSES}

    def summary(self) -> str:
        """Return one line."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        return f"{self.where}: {self.format} format; {counts}"

    def text(self) -> str:
        """Return a line for every tensor, what was assumed, and the summary."""
        width = max([len(line.name) for line in self.lines] + [1])
        rows = [
            f"{line.status:<8} {line.name:<{width}}  {_shape(line.shape):<16} {_source(line)}" for line in self.lines
        ]
        rows += [f"assumed  {name}: {value}" for name, value in self.assumed.items()]
        return "\n".join(printable(row.rstrip()) for row in [*rows, self.summary()])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "format": self.format,
            "where": self.where,
            "counts": self.counts,
            "assumed": self.assumed,
            "tensors": [
                {"status": e.status, "name": e.name, "source": list(e.source), "shape": list(e.shape), "how": e.how}
                for e in self.lines
            ],
        }


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _source(line: Line) -> str:
    names = ", ".join(line.source)
    names = "" if names == line.name else names
    return f"{names} ({line.how})" if names and line.how else names or line.how
