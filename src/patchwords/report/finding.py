"""What an exhibit found: results, figures of them, key numbers, tables, and what they say in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inspection.results import Result, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn."""

    name: str
    """of its files, without ending"""
    caption: str
    draw: Callable[[Figure], None]
    width_in: float = 9.2
    folded: bool = False
    """put away in the page until it is asked for"""


@dataclass(frozen=True)
class Number:
    """One key number."""

    name: str
    value: float
    unit: str = ""
    means: str = ""
    """in plain words"""


@dataclass(frozen=True)
class Sheet:
    """A table of the page, sortable by every column."""

    caption: str
    rows: Sequence[Row]
    heads: dict[str, str] = field(default_factory=dict)
    """column -> what stands over it; the columns of the table, in their order"""
    filter: str = ""
    """column by which rows can be chosen"""
    open: bool = True
    """shown at once; False: folded away"""


@dataclass(frozen=True)
class Finding:
    """Everything that one exhibit found."""

    results: dict[str, Result]
    """name of the CSV and NPZ files, without ending -> what is in them"""
    drawings: tuple[Drawing, ...]
    says: tuple[str, ...]
    """sentences about this model, made from the numbers"""
    numbers: tuple[Number, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    """how it was measured, where that is not the whole of it"""


@dataclass(frozen=True)
class Bundle:
    """Several results that belong together, in one CSV and one NPZ."""

    parts: dict[str, Any]
    """name -> result; the name goes before the names of its arrays"""
    column: str = ""
    """of the CSV: the name of the part; "": the parts say it themselves"""

    def rows(self) -> list[Row]:
        """Return the lines of all parts, one after another."""
        told: Callable[[str], Row] = lambda name: {self.column: name} if self.column else {}  # noqa: E731
        return [told(name) | row for name, part in self.parts.items() for row in part.rows()]


def figures_of(value: float, digits: int = 3) -> str:
    """Return a number to some significant figures, for a sentence."""
    if not np.isfinite(value):
        return "no number" if np.isnan(value) else ("∞" if value > 0 else "-∞")
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in text else text


def percent(share: float) -> str:
    """Return a share of 0..1 in per cent, for a sentence."""
    return f"{figures_of(100 * share)} %"


def plural(count: int, thing: str) -> str:
    """Return "1 head", "2 heads"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def mean_of(values: np.ndarray) -> float:
    """Return the mean of the numbers among `values`; nan when there is none."""
    numbers = np.asarray(values)[np.isfinite(values)]
    return float(numbers.mean()) if numbers.size else float("nan")
