"""Numbers over epochs: small charts side by side, of the same times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .sheet import CHART, Edges, Sheet
from .style import INK, LINES, MARKERS, SERIES, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trend:
    """One chart."""

    title: str
    up: str
    """what is drawn, with its unit"""
    values: np.ndarray
    """(times, lines)"""
    names: Sequence[str] = ()
    """of the lines; none: they are numbered from 1, as layers are, and have the colours of a scale"""
    limits: tuple[float | None, float | None] = (None, None)
    guide: float | None = None
    """a dashed line that things are compared with"""


@styled
def draw_trends(
    result: Sequence[Trend],
    figure: Figure,
    *,
    title: str,
    epochs: Sequence[float],
    numbered: str = "layer",
    guide: str = "",
    note: str = "",
) -> None:
    """Draw the charts.

    Args:
        epochs: (times,).
        numbered: what the lines without names are.
        guide: what the dashed line is.
        note: small print.
    """
    sheet = Sheet(figure, title)
    panels = sheet.panels(
        len(result), sheet.columns(len(result), 2.9), Edges(0.7, CHART.right, CHART.top, CHART.bottom), height=2.1
    )
    key: dict[str, dict[str, Any]] = {}
    most = max((trend.values.shape[1] for trend in result if not trend.names), default=0)
    for axes, trend in zip(panels, result, strict=True):
        looks = _numbered(most) if not trend.names else [_look(number) for number in range(len(trend.names))]
        for line, look in zip(trend.values.T, looks, strict=False):
            axes.plot(epochs, line, **look)
        key |= dict(zip(trend.names, looks, strict=True)) if len(trend.names) > 1 else {}
        _finish(axes, trend, epochs)
    if most:
        sheet.scale(_colours(most), numbered)
    if guide:
        key[guide] = {"color": INK, "linestyle": "--", "linewidth": 1.0}
    if key:
        sheet.key([(text.plain(name, 60), look) for name, look in key.items()])
    sheet.note(note)
    sheet.finish()


def _finish(axes: Axes, trend: Trend, epochs: Sequence[float]) -> None:
    if trend.guide is not None:
        axes.axhline(trend.guide, color=INK, linestyle="--", linewidth=1.0)
    low, high = trend.limits
    axes.set_ylim(low, high)
    last = float(max(epochs, default=1.0))
    axes.set_xlim(0, last or 1.0)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.yaxis.get_major_locator().set_params(nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: text.number(value))
    axes.set_title(trend.title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(trend.up)


def _look(number: int) -> dict[str, Any]:
    kind = number % len(SERIES)
    return {
        "color": SERIES[kind],
        "marker": MARKERS[kind],
        "linestyle": LINES[number // len(SERIES) % len(LINES)],
        "linewidth": 1.2,
        "markersize": 3,
        "clip_on": False,
    }


def _colours(count: int) -> Any:
    """Return the scale of numbered lines: viridis without its ends, which vanish on black or white."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = colormaps["viridis"](np.linspace(0.12, 0.82, 128))
    return ScalarMappable(Normalize(1, max(count, 2)), ListedColormap(shades))


def _numbered(count: int) -> list[dict[str, Any]]:
    colours = _colours(count)
    return [
        {"color": colours.to_rgba(number), "linewidth": 1.3, "marker": "o", "markersize": 2.5, "clip_on": False}
        for number in range(1, count + 1)
    ]
