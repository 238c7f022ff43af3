"""How far two banks of filters see the same: cosines of the angles between what their components span."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import number_ticks
from .sheet import Edges, Sheet
from .style import INK, SERIES, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.filters import FilterOverlap


@styled
def draw_overlap(result: FilterOverlap, figure: Figure) -> None:
    """Draw the cosines of the principal angles, largest first, and the overlap beside chance."""
    sheet = Sheet(figure, "Do two sets of filters see the same?")
    (axes,) = sheet.panels(1, 1, Edges(top=0.1), height=2.0, widest=6.0)
    count = len(result.cosines)
    axes.plot(np.arange(1, count + 1), result.cosines, color=SERIES[0], marker="o")
    axes.axhline(np.sqrt(result.chance_share), color=INK, linestyle="--", linewidth=1)
    axes.set_xlim(0.5, count + 0.5)
    axes.set_ylim(0, 1.05)
    number_ticks(axes.xaxis, count)
    axes.set_xlabel("direction, most alike first")
    axes.set_ylabel("cosine (1: the same)")
    sheet.key(
        [
            ("these two", {"color": SERIES[0], "marker": "o"}),
            ("mean of random ones", {"color": INK, "linestyle": "--", "linewidth": 1}),
        ]
    )
    first, second = (text.plain(source, 50) for source in result.sources)
    sheet.note(
        f"{first} against {second}, at {result.size_px[0]} × {result.size_px[1]} pixels: "
        f"{text.percent(round(result.overlap_share, 3))} in common, random ones "
        f"{text.percent(round(result.chance_share, 3))}. The dashed line is the root of that share."
    )
    sheet.finish()
