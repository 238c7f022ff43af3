"""One figure laid out from top to bottom: title, panels, scales, key, notes; it grows to what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .axis import log_values
from .style import LABEL_PT, NOTE_PT, TICK_PT, TITLE_PT

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

PAD_IN = 0.1
"""between the edge of the figure and what stands in it"""


@dataclass(frozen=True)
class Edges:
    """Room around the axes of a panel for its ticks, labels and title, in inches."""

    left: float = 0.55
    right: float = 0.15
    top: float = 0.28
    bottom: float = 0.46


CHART = Edges()
"""a chart"""


class Sheet:
    """Places things below each other; `finish` gives the figure the height they took.

    Nothing is measured by drawing: all rooms are known in inches, so a figure of many panels costs no more than its
    panels.
    """

    def __init__(self, figure: Figure, title: str = "") -> None:
        self.figure, self.width = figure, float(figure.get_size_inches()[0])
        self._used = PAD_IN
        self._axes: list[tuple[Axes, float, float, float, float]] = []
        self._marks: list[tuple[Artist, float, float]] = []
        figure.set_label(title)
        if title:
            self.write(title, size=TITLE_PT, weight="bold", after=0.08)

    @property
    def room(self) -> float:
        """Inches between the left and the right edge."""
        return self.width - 2 * PAD_IN

    def write(
        self, words: str, size: float = NOTE_PT, weight: str = "normal", faint: bool = False, after: float = 0.06
    ) -> None:
        """Place a paragraph over the whole width."""
        scale = 1.1 if weight == "bold" else 1.0
        lines = text.wrapped(words, size * scale, self.room)
        told = self.figure.text(0, 0, lines, size=size, weight=weight, va="top", linespacing=1.2)
        told.set_alpha(0.72 if faint else None)
        self._marks.append((told, PAD_IN, self._used))
        self._used += text.height_in(lines, size) + after

    def note(self, *sentences: str) -> None:
        """Place small print, when there is any."""
        words = " ".join(sentence for sentence in sentences if sentence)
        if words:
            self.write(words, faint=True)

    def gap(self, height: float) -> None:
        """Leave `height` inches empty."""
        self._used += height

    def columns(self, count: int, least_in: float) -> int:
        """Return how many of `count` panels of at least `least_in` inches go side by side, in rows of equal length."""
        most = max(1, min(count, int((self.room + 1e-6) // least_in)))
        return -(-count // -(-count // most)) if count else 1

    def panels(
        self,
        count: int,
        columns: int,
        edges: Edges = CHART,
        *,
        aspect: float | None = None,
        height: float = 2.3,
        widest: float = float("inf"),
    ) -> list[Axes]:
        """Place `count` axes in rows of `columns` and return them.

        Args:
            aspect: height / width of the axes; None: they are `height` inches high.
            widest: inches that axes never exceed.
        """
        wide = min(self.room / columns - edges.left - edges.right, widest)
        high = height if aspect is None else wide * aspect
        made = []
        for index in range(count):
            row, column = divmod(index, columns)
            left = PAD_IN + column * (wide + edges.left + edges.right) + edges.left
            top = self._used + row * (high + edges.top + edges.bottom) + edges.top
            axes = self.figure.add_axes((0.1, 0.1, 0.5, 0.5))
            self._axes.append((axes, left, top, wide, high))
            made.append(axes)
        self._used += -(-count // columns) * (high + edges.top + edges.bottom) + PAD_IN / 2
        return made

    def size_of(self, axes: Axes) -> tuple[float, float]:
        """Return how wide and how high `axes` are, in inches."""
        return next((width, height) for one, _, _, width, height in self._axes if one is axes)

    def scale(self, mappable: ScalarMappable, label: str, *, clipped: str = "") -> Axes:
        """Place the legend of a scale of colours: a bar with its values.

        Args:
            clipped: "high" or "both": values beyond that end have its colour too, and the tick says so.
        """
        label = text.wrapped(label, LABEL_PT, self.room - 0.4)
        low = 0.23 + text.height_in(label, LABEL_PT)
        (axes,) = self.panels(1, 1, Edges(0.2, 0.2, 0.06, low), height=0.11, widest=3.2)
        colours = mappable.cmap(np.linspace(0, 1, 128))[None]
        axes.imshow(colours, extent=(0, 1, 0, 1), aspect="auto", interpolation="none")
        axes.spines[:].set_visible(False)
        axes.yaxis.set_visible(False)
        values = scale_ticks(mappable.norm, ends=bool(clipped))
        names = [text.number(value) for value in values]
        if clipped:
            names[-1] = f"≥ {names[-1]}"
        if clipped == "both":
            names[0] = f"≤ {names[0]}"
        axes.set_xticks([float(np.clip(mappable.norm(value), 0, 1)) for value in values], names)
        axes.set_xlabel(label, loc="left")
        return axes

    def key(self, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Place the legend of lines and dots, in as many rows as it needs. Each entry: words, how its line looks."""
        from matplotlib.lines import Line2D

        x, sample, space, row = PAD_IN, 0.3, 0.08, 0.19
        for words, look in entries:
            words = text.wrapped(words, TICK_PT, self.room - sample - space)
            wide = sample + space + text.width_in(words, TICK_PT) + 0.2
            if x > PAD_IN and x + wide > self.width:
                x, self._used = PAD_IN, self._used + row
            middle = self._used + row / 2
            look = {"markevery": [1]} | look if "marker" in look else look
            line = Line2D([0, 0.5, 1], [0, 0, 0], transform=self.figure.transFigure, **look)
            self.figure.add_artist(line)
            self._marks.append((line, x, middle))
            told = self.figure.text(0, 0, words, size=TICK_PT, va="center")
            self._marks.append((told, x + sample + space, middle))
            x += wide
            if "\n" in words:
                x, self._used = PAD_IN, self._used + text.height_in(words, TICK_PT) - row
        self._used += row + 0.06

    def finish(self) -> None:
        """Give the figure its height and everything its place."""
        from matplotlib.lines import Line2D

        high = self._used + PAD_IN / 2
        self.figure.set_size_inches(self.width, high)
        for axes, left, top, width, height in self._axes:
            axes.set_position((left / self.width, 1 - (top + height) / high, width / self.width, height / high))
            axes.get_xticklabels(), axes.get_yticklabels()  # made now, in this style, not when they are drawn
        for mark, left, top in self._marks:
            x, y = left / self.width, 1 - top / high
            if isinstance(mark, Line2D):
                mark.set_data(np.linspace(x, x + 0.3 / self.width, 3), [y, y, y])
            else:
                mark.set_position((x, y))


def scale_ticks(norm: Any, most: int = 4, *, ends: bool = False) -> list[float]:
    """Return round values of a norm, linear or logarithmic, to stand at its legend; with its ends where asked for."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    low, high = float(norm.vmin), float(norm.vmax)
    if not low < high:
        return [low]
    if isinstance(norm, LogNorm):
        inside = log_values(low * (1 - 1e-9), high * (1 + 1e-9), most + 2)
    else:
        values = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        inside = [float(v) for v in values if -1e-9 <= float(norm(v)) <= 1 + 1e-9]
    if ends:
        inside = [low, *(v for v in inside if 0.15 < float(norm(v)) < 0.85), high]
    return inside if len(inside) > 1 else [low, high]
