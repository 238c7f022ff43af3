"""How far each head looks, by layer, and which heads are local or global (fig. 7 right, fig. 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import number_ticks
from .sheet import CHART, Edges, Sheet
from .style import INK, QUIET, SERIES, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..inspection.distance import HeadDistances


@styled
def draw_distance(result: HeadDistances, figure: Figure) -> None:
    """Draw a dot for each head: layer across, mean attention distance in pixels up; below, the share of each kind.

    Source: 2010.11929, fig. 7 right and fig. 11; local and global as in 2108.08810, sec. 5.
    """
    layers, heads = result.distance_px.shape
    sheet = Sheet(figure, "How far each head looks")
    columns = sheet.columns(2, 3.6)
    dots, bars = sheet.panels(2, columns, Edges(0.58, CHART.right, CHART.top, CHART.bottom), height=2.6)
    _draw_dots(dots, result)
    _draw_kinds(bars, result)
    for axes in (dots, bars):
        axes.set_xlim(0.4, layers + 0.6)
        number_ticks(axes.xaxis, layers, 12)
        axes.set_xlabel("layer")
    sheet.key(
        [
            ("a head", {"color": SERIES[0], "marker": "o", "linestyle": "none"}),
            ("attention even over all patches", {"color": INK, "linestyle": "--"}),
            (f"local: below {text.percent(result.local_below)} of even", {"color": SERIES[1], "linewidth": 6}),
            ("between", {"color": QUIET, "linewidth": 6, "alpha": 0.45}),
            (f"global: above {text.percent(result.global_above)}", {"color": SERIES[2], "linewidth": 6}),
        ]
    )
    pictures = f"{result.pictures} pictures" if result.pictures != 1 else "1 picture"
    sheet.note(
        f"{heads} heads in each of {layers} layers; mean over {pictures} and all query patches; "
        f"even attention looks {text.number(result.uniform_px)} px far on this grid of "
        f"{result.grid[0]} × {result.grid[1]} patches.",
    )
    sheet.finish()


def _draw_dots(axes: Axes, result: HeadDistances) -> None:
    layers, heads = result.distance_px.shape
    x = np.repeat(np.arange(1, layers + 1), heads)
    axes.plot(x, result.distance_px.ravel(), "o", color=SERIES[0], alpha=0.75, markeredgewidth=0)
    axes.axhline(result.uniform_px, color=INK, linestyle="--", linewidth=1)
    for share, colour in ((result.local_below, SERIES[1]), (result.global_above, SERIES[2])):
        axes.axhline(share * result.uniform_px, color=colour, linewidth=0.8, alpha=0.7)
    top = np.nanmax(np.append(result.distance_px[np.isfinite(result.distance_px)], result.uniform_px))
    axes.set_ylim(0, float(top) * 1.06 or 1.0)
    axes.set_ylabel("mean attention distance (pixels)")
    axes.set_title("distance of each head")


def _draw_kinds(axes: Axes, result: HeadDistances) -> None:
    relative = result.relative
    known = np.maximum(np.isfinite(relative).sum(axis=1), 1)
    local, far = (relative < result.local_below).sum(axis=1), (relative > result.global_above).sum(axis=1)
    parts = (
        (local, SERIES[1], 1.0),
        (np.isfinite(relative).sum(axis=1) - local - far, QUIET, 0.45),
        (far, SERIES[2], 1.0),
    )
    below = np.zeros(len(relative))
    for heads, colour, alpha in parts:
        share = 100 * heads / known
        axes.bar(np.arange(1, len(relative) + 1), share, 0.75, below, color=colour, alpha=alpha)
        below += share
    axes.set_ylim(0, 100)
    axes.set_ylabel("heads (%)")
    axes.set_title("local and global heads")
