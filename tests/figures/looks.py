"""What a reader would see: where the letters of a figure lie, and what is drawn in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

Letters = tuple[Text, Axes | None, np.ndarray]


def letters(figure: Figure) -> list[Letters]:
    """Return every piece of text, whose axes it belongs to, and its box (left, low, right, high) in pixels."""
    canvas = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    found = []
    for text, axes in _texts(figure, renderer):
        if text.get_visible() and text.get_text().strip():
            found.append((text, axes, text.get_window_extent(renderer).extents))
    return found


def _texts(figure: Figure, renderer: object) -> Iterator[tuple[Text, Axes | None]]:
    for text in figure.texts:
        yield text, None
    for axes in figure.axes:
        for text in (*axes.texts, axes.title, axes._left_title, axes._right_title):
            yield text, axes
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            if axis.get_visible():
                for tick in axis._update_ticks():
                    yield tick.label1, axes
                axis._update_label_position(renderer)
                yield axis.label, axes
                yield axis.offsetText, axes


def cut(figure: Figure, found: list[Letters]) -> list[str]:
    """Return the texts that reach beyond the figure, or touch its edge."""
    width, height = figure.bbox.width, figure.bbox.height
    return [
        text.get_text()
        for text, _, (left, low, right, high) in found
        if left < 1.5 or low < 1.5 or right > width - 1.5 or high > height - 1.5
    ]


def overlaps(figure: Figure, found: list[Letters], allowed_px: float = 1.0) -> list[tuple[str, str]]:
    """Return the pairs of texts that lie on each other, and texts that lie on the axes of another panel."""
    boxes = np.array([box for *_, box in found])
    pairs = []
    for first in range(len(found)):
        rest = boxes[first + 1 :]
        over = np.minimum(boxes[first, 2:], rest[:, 2:]) - np.maximum(boxes[first, :2], rest[:, :2])
        for second in np.flatnonzero((over > allowed_px).all(axis=1)):
            pairs.append((found[first][0].get_text(), found[first + 1 + second][0].get_text()))
        for axes in figure.axes:
            panel = axes.bbox.extents
            over = np.minimum(boxes[first, 2:], panel[2:]) - np.maximum(boxes[first, :2], panel[:2])
            if axes is not found[first][1] and (over > allowed_px).all():
                pairs.append((found[first][0].get_text(), "another panel"))
    return pairs


def unlabelled(figure: Figure) -> list[str]:
    """Return the axes that are visible and do not say what they show."""
    return [
        f"panel {number}, {name}"
        for number, axes in enumerate(figure.axes)
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis))
        if axes.axison and axis.get_visible() and not axis.get_label().get_text().strip()
    ]


def said(figure: Figure) -> str:
    """Return all words of a figure in one line."""
    return " ".join(" ".join(text.get_text() for text, *_ in letters(figure)).split())
