"""Pictures and maps in rows, each under its label: one set of axes, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .overlay import thumbnail
from .sheet import Edges, Sheet
from .style import LABEL_PT, QUIET

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

GAP_IN = 0.1
"""between two tiles"""


@dataclass(frozen=True)
class Tile:
    """A picture (rows, columns, 3) of uint8, or a map (rows, columns) with the colours of its scale; and its label."""

    pixels: np.ndarray
    label: str = ""
    colours: dict[str, Any] = field(default_factory=dict)
    """`norm` and `cmap` of a map"""
    framed: tuple[float, float, float, float] | None = None
    """a part to be framed: (left, top, width, height) as shares of the tile"""


def draw_tiles(
    sheet: Sheet,
    tiles: Sequence[Tile],
    columns: int,
    *,
    aspect: float,
    widest: float = 1.8,
    size: float = LABEL_PT,
) -> list[AxesImage]:
    """Place `tiles` in rows of `columns` and return what was drawn.

    Args:
        aspect: height / width of every tile.
        widest: inches a tile never exceeds.
        size: of the labels, points. A label too long for its tile is cut in the middle.
    """
    from matplotlib.patches import Rectangle

    wide, high = tile_size(sheet, columns, aspect, widest)
    lines = max((tile.label.count("\n") + 1 for tile in tiles if tile.label), default=0)
    over = lines * text.height_in("1", size) + 0.03 * bool(lines)
    rows = -(-len(tiles) // columns)
    total = rows * (over + high + GAP_IN) - GAP_IN
    (axes,) = sheet.panels(1, 1, Edges(0, 0, 0, 0), height=total, widest=columns * (wide + GAP_IN))
    axes.set_axis_off()
    drawn = []
    for number, tile in enumerate(tiles):
        left, top = number % columns * (wide + GAP_IN), number // columns * (over + high + GAP_IN)
        pixels = thumbnail(tile.pixels, max(wide, high)) if tile.pixels.ndim == 3 else tile.pixels
        extent = (left, left + wide, top + over + high, top + over)
        drawn.append(axes.imshow(pixels, extent=extent, interpolation="none", aspect="auto", **tile.colours))
        if tile.pixels.ndim == 2 and np.isnan(tile.pixels).any():
            axes.add_patch(Rectangle((left, top + over), wide, high, fill=False, edgecolor=QUIET, linewidth=0.5))
        if tile.framed:
            x, y, *sides = (share * side for share, side in zip(tile.framed, (wide, high, wide, high), strict=True))
            for width, colour in ((2.4, "#0b0b0b"), (1.2, "#f4f4f4")):
                look = {"fill": False, "edgecolor": colour, "linewidth": width}
                axes.add_patch(Rectangle((left + x, top + over + y), *sides, **look))
        for line, label in enumerate(reversed(tile.label.split("\n"))):
            label = text.fitted(label, wide + GAP_IN / 2, size)
            axes.text(left, top + over - 0.03 - line * text.height_in("1", size), label, size=size, va="bottom")
    axes.set_xlim(0, columns * (wide + GAP_IN))
    axes.set_ylim(total, 0)
    return drawn


def tile_size(sheet: Sheet, columns: int, aspect: float, widest: float = 1.8) -> tuple[float, float]:
    """Return how wide and how high, in inches, a tile is when `columns` stand side by side."""
    wide = min(sheet.room / columns - GAP_IN, widest)
    return wide, wide * aspect
