"""Patch-embedding filters: their leading components as pictures, and how much each explains (fig. 7 left)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import number_ticks
from .overlay import as_rgb
from .sheet import CHART, Sheet
from .style import INK, SERIES, SMALL_PT, styled
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..inspection.filters import FilterComponents


@styled
def draw_filters(result: FilterComponents, figure: Figure, *, least_in: float = 0.5) -> None:
    """Draw the components as pictures in order of the variance they explain, then variance and roughness as lines.

    Source: 2010.11929, fig. 7 left (28 components).

    Args:
        least_in: inches of the smallest picture.
    """
    count = len(result.components)
    sheet = Sheet(figure, "Filters of the patch embedding: leading components")
    columns = sheet.columns(count, max(least_in, 0.5))
    pictures = [component_picture(component) for component in result.components]
    tiles = [Tile(shown, percent_of(share)) for shown, share in zip(pictures, result.explained_share, strict=True)]
    aspect = pictures[0].shape[0] / pictures[0].shape[1]
    draw_tiles(sheet, tiles, columns, aspect=aspect, widest=0.8, size=SMALL_PT)
    sheet.gap(0.1)
    shares, rough = sheet.panels(2, sheet.columns(2, 3.4), CHART, height=1.5)
    _draw_shares(shares, result.explained_share)
    _draw_roughness(rough, result.roughness)
    channels = result.components.shape[1]
    sheet.note(
        f"{text.plain(result.source, 60)}: {result.filters} filters. Above each picture: share of the variance of the "
        "filters it explains. Middle grey is 0; each is scaled to its own largest value.",
        "" if channels in (1, 3) else f"Of {channels} channels the first is drawn.",
    )
    sheet.finish()


def component_picture(component: np.ndarray) -> np.ndarray:
    """Return a component (C, rows, columns) as (rows, columns, 3) uint8: 0 is middle grey, the largest value 0 or 255.

    Three channels are red, green, blue; of any other number the first is drawn in greys.
    """
    shown = np.moveaxis(component if len(component) == 3 else component[:1], 0, -1)
    top = float(np.abs(np.nan_to_num(shown)).max(initial=0)) or 1.0
    return as_rgb(np.rint(127.5 + 127.5 * np.nan_to_num(shown) / top).astype(np.uint8))


def percent_of(share: float) -> str:
    """Return a share in per cent, short enough to stand above a small picture."""
    value = 100 * float(share)
    return f"{value:.1f} %" if value >= 0.1 or value != value else "<0.1 %"


def _draw_shares(axes: Axes, share: np.ndarray) -> None:
    axes.plot(np.arange(1, len(share) + 1), 100 * np.cumsum(share), color=SERIES[0], marker="o", markersize=2.5)
    axes.set_ylim(0, 100)
    axes.set_title("variance explained so far")
    axes.set_ylabel("variance (%)")
    _components_across(axes, len(share))


def _draw_roughness(axes: Axes, roughness: np.ndarray) -> None:
    axes.plot(np.arange(1, len(roughness) + 1), roughness, color=SERIES[1], marker="s", markersize=2.5)
    axes.axhline(1, color=INK, linestyle="--", linewidth=1)
    known = roughness[np.isfinite(roughness)]
    axes.set_ylim(0, max(1.25, 1.1 * float(known.max(initial=0))))
    axes.set_title("roughness (dashed: noise)")
    axes.set_ylabel("roughness (noise = 1)")
    _components_across(axes, len(roughness))


def _components_across(axes: Axes, count: int) -> None:
    axes.set_xlim(0.5, count + 0.5)
    number_ticks(axes.xaxis, count)
    axes.set_xlabel("component")
