"""Receptive fields: how far the centre token of each layer sees, beside what it can see at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import layer_places, layer_ticks
from .sheet import CHART, Sheet
from .style import INK, SEQUENTIAL, SERIES, styled
from .subset import spaced, subset_told
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..inspection.receptive import ReceptiveField

FAINTEST = 1e-3
"""smallest share of the peak that has a colour of its own"""


@styled
def draw_receptive_field(result: ReceptiveField, figure: Figure, *, most_layers: int = 12) -> None:
    """Draw a map for each layer, and by layer the radii that hold half and 90 % of it and the exact support.

    Source: 2108.08810, fig. 6; 1701.04128 (effective receptive fields).

    Args:
        most_layers: maps; of more layers evenly spaced ones are drawn, and the figure says so.
    """
    from matplotlib.colors import LogNorm

    sheet = Sheet(figure, "Receptive field of the centre token")
    chosen = spaced(len(result.layers), most_layers)
    norm, aspect = LogNorm(FAINTEST, 1), result.maps.shape[1] / result.maps.shape[2]
    columns = sheet.columns(len(chosen), 1.25)
    tiles = [
        Tile(visible(result, layer), text.tile_layer(result.layers[layer]), {"norm": norm, "cmap": SEQUENTIAL})
        for layer in chosen
    ]
    drawn = draw_tiles(sheet, tiles, columns, aspect=aspect, widest=1.5, size=7.5)
    sheet.scale(drawn[-1], "mean |d token / d pixel|, share of the peak (logarithmic)")
    sheet.gap(0.05)
    radii, shares = sheet.panels(2, sheet.columns(2, 3.4), CHART, height=1.9)
    _draw_radii(radii, result)
    _draw_support(shares, result)
    branches = any(name.endswith(("/attn", "/mlp")) for name in result.layers)
    sheet.key(
        [
            ("radius of 90 %", {"color": SERIES[0], "marker": "o"}),
            ("radius of 50 %", {"color": SERIES[1], "marker": "s"}),
            ("the same, were all pixels alike", {"color": INK, "linestyle": "--", "linewidth": 1}),
            *(
                [("branch alone, without the skip", {"color": INK, "marker": "x", "linestyle": "none"})]
                if branches
                else []
            ),
        ]
    )
    sheet.note(
        f"Mean over {result.pictures} picture{'s' * (result.pictures != 1)}. Empty in a map: pixels on which the token "
        f"does not depend at all. {text.percent(FAINTEST)} of the peak and less have one colour.",
        subset_told(chosen, len(result.layers), "layers"),
    )
    sheet.finish()


def visible(result: ReceptiveField, layer: int) -> np.ndarray:
    """Return the map of a layer as shares of its peak, at least FAINTEST; nan outside the support."""
    values = result.maps[layer]
    peak = float(np.nan_to_num(values).max(initial=0)) or 1.0
    return np.where(result.support[layer], np.maximum(values / peak, FAINTEST), np.nan)


def _draw_radii(axes: Axes, result: ReceptiveField) -> None:
    places = layer_places(result.layers)
    alone = np.array([name.endswith(("/attn", "/mlp")) for name in result.layers])
    kinds = (
        (result.radius90_px, result.uniform_radius90_px, SERIES[0], "o"),
        (result.radius50_px, result.uniform_radius50_px, SERIES[1], "s"),
    )
    for radius, even, colour, marker in kinds:
        axes.plot(places[~alone], radius[~alone], color=colour, marker=marker)
        axes.plot(places[alone], radius[alone], color=colour, marker="x", linestyle="none", markersize=5)
        axes.axhline(even, color=colour, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("radius (pixels)")
    axes.set_title("how far it looks")
    layer_ticks(axes, result.layers)


def _draw_support(axes: Axes, result: ReceptiveField) -> None:
    alone = np.array([name.endswith(("/attn", "/mlp")) for name in result.layers])
    places = layer_places(result.layers)
    axes.plot(places[~alone], 100 * result.support_share[~alone], color=SERIES[2], marker="^")
    axes.plot(places[alone], 100 * result.support_share[alone], color=SERIES[2], marker="x", linestyle="none")
    axes.set_ylim(0, 105)
    axes.set_ylabel("share of the picture (%)")
    axes.set_title("how far it can look (exact)")
    layer_ticks(axes, result.layers)
