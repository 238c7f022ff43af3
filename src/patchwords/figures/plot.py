"""Plots of any experiment: lines over an axis, and pictures side by side; data first, then their drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .axis import log_ticks
from .sheet import CHART, Edges, Sheet
from .style import LINES, MARKERS, QUIET, SEQUENTIAL, SERIES, styled
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Series:
    """One line of a plot: y at x, with an interval where `low` and `high` are given; all (n,)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Lines over one axis; drawn by `draw_plot`."""

    title: str
    x: str
    """what the axis shows, with its unit"""
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Grid:
    """Pictures side by side with one scale; drawn by `draw_grid`."""

    title: str
    names: tuple[str, ...]
    """one for each picture"""
    images: tuple[np.ndarray, ...]
    """(rows, columns) of values, or (rows, columns, 3) of colours in 0..1"""
    unit: str = ""
    """of the values"""


@styled
def draw_plot(result: Plot, figure: Figure) -> None:
    """Draw the lines of a plot, their intervals as bands.

    A point that has no place (no number; zero or less on a logarithmic axis) is left out, and the small print counts
    them.
    """
    sheet = Sheet(figure, result.title)
    wide = Edges(0.75, CHART.right, 0.06, CHART.bottom)
    (axes,) = sheet.panels(1, 1, wide, height=2.5, widest=5.5)
    missing = sum(_draw_series(axes, each, _look(number), result) for number, each in enumerate(result.series))
    whole = all(value == round(value) for each in result.series for value in each.x if np.isfinite(value))
    _finish(axes.xaxis, result.log_x, whole)
    _finish(axes.yaxis, result.log_y, False)
    axes.set_xlabel(text.plain(result.x, 60))
    axes.set_ylabel(text.plain(result.y, 40))
    if any(each.name for each in result.series):
        sheet.key([(text.plain(each.name, 60), _look(number)) for number, each in enumerate(result.series)])
    bands = any(each.low for each in result.series)
    points = f"{missing} point{'s have' if missing != 1 else ' has'} no place on these axes and"
    points += f" {'are' if missing != 1 else 'is'} left out."
    sheet.note("Bands are the intervals." if bands else "", points if missing else "")
    sheet.finish()


def _draw_series(axes: Axes, series: Series, look: dict[str, Any], plot: Plot) -> int:
    """Draw one line and return how many of its points have no place."""
    x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
    placed = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not plot.log_x)) & ((y > 0) | (not plot.log_y))
    if series.low:
        low, high = (np.asarray(side, dtype=float)[placed] for side in (series.low, series.high))
        low = np.maximum(low, y[placed] * 1e-2) if plot.log_y else low  # a band may reach below the axis
        axes.fill_between(x[placed], low, high, color=look["color"], alpha=0.18)
    axes.plot(x[placed], y[placed], **look)
    return int((~placed).sum())


def _look(number: int) -> dict[str, Any]:
    kind = number % len(SERIES)
    look = {"color": SERIES[kind], "marker": MARKERS[kind], "linestyle": LINES[number // len(SERIES) % len(LINES)]}
    thinner = max(0.0, 1 - number / 4)  # a line that lies on another leaves some of it to be seen
    return look | {"linewidth": 1.1 + 1.7 * thinner, "markersize": 3.0 + 3.0 * thinner}


def _finish(axis: Any, logarithmic: bool, whole: bool) -> None:
    """Put plain numbers at an axis, whole ones only where all of its values are."""
    if logarithmic:
        data_low, data_high = axis.get_data_interval()
        known = np.isfinite([data_low, data_high]).all() and data_low > 0
        low, high = (data_low, data_high) if known else (0.3, 3.0)
        beside = max(1.15, (high / low) ** 0.03)
        low, high = low / beside, high * beside
        axis._set_axes_scale("log")
        axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
        log_ticks(axis, low, high)
        return
    axis.get_major_locator().set_params(nbins=6, integer=whole)
    axis.set_major_formatter(lambda value, _: text.number(value))


@styled
def draw_grid(result: Grid, figure: Figure, *, least_in: float = 1.1) -> None:
    """Draw pictures side by side under their names: maps in one scale of colours, colours as they are.

    Pictures of another shape than the first are set into its frame, so that their pixels stay square.

    Args:
        least_in: inches of the smallest picture worth drawing; more than fit side by side go into several rows.
    """
    from matplotlib.colors import Normalize

    sheet = Sheet(figure, result.title)
    maps = [image for image in result.images if image.ndim == 2]
    known = np.concatenate([image[np.isfinite(image)].ravel() for image in maps]) if maps else np.zeros(0)
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    colours = {"norm": Normalize(low, high if high > low else low + 1), "cmap": SEQUENTIAL}
    high_px, wide_px = result.images[0].shape[:2]
    tiles = [
        Tile(_framed(image, high_px / wide_px), text.plain(name), colours if image.ndim == 2 else {})
        for name, image in zip(result.names, result.images, strict=True)
    ]
    columns = sheet.columns(len(tiles), least_in)
    drawn = draw_tiles(sheet, tiles, columns, aspect=high_px / wide_px)
    sheet.gap(0.06)
    shown = [image for image, tile in zip(drawn, tiles, strict=True) if tile.pixels.ndim == 2]
    if shown and result.unit:
        sheet.scale(shown[0], text.plain(result.unit, 60))
    sheet.finish()


def _framed(image: np.ndarray, aspect: float) -> np.ndarray:
    """Return an image of height / width `aspect` with `image` in its middle; colours in 0..1 become uint8."""
    image = np.asarray(image, dtype=float)
    rows, columns = image.shape[:2]
    high, wide = max(rows, round(columns * aspect)), max(columns, round(rows / aspect))
    frame = np.full((high, wide, *image.shape[2:]), np.nan)
    top, left = (high - rows) // 2, (wide - columns) // 2
    frame[top : top + rows, left : left + columns] = image
    if image.ndim == 2:
        return frame
    beside = np.array([int(QUIET[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.rint(255 * np.where(np.isnan(frame), beside, frame.clip(0, 1))).astype(np.uint8)
