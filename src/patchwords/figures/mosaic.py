"""Many small maps as one image: fast to draw, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .axis import name_ticks
from .sheet import Edges, Sheet
from .style import TICK_PT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


HIGHEST_IN = 10.0
"""a grid that is no higher can be seen whole"""


@dataclass(frozen=True)
class Mosaic:
    """Tiles in rows and columns with gaps between them, and where each is."""

    image: np.ndarray
    """(H, W) float, nan in the gaps; or (H, W, 4) uint8, transparent in the gaps"""
    row_centres: np.ndarray
    column_centres: np.ndarray
    tile: tuple[int, int]
    """rows and columns of one tile in `image`"""
    gap: int

    def at(self, row: int, column: int) -> np.ndarray:
        """Return one tile out of the image."""
        high, wide = self.tile
        top, left = row * (high + self.gap), column * (wide + self.gap)
        return self.image[top : top + high, left : left + wide]


def mosaic(tiles: np.ndarray, least: int = 8) -> Mosaic:
    """Return `tiles` (rows, columns, h, w) or (rows, columns, h, w, 3) as one image.

    Tiles of fewer than `least` values a side are repeated, so that the gaps stay thin beside them.
    """
    tiles = np.asarray(tiles)
    rows, columns, high, wide = tiles.shape[:4]
    times = max(1, -(-least // max(high, wide)))
    tiles = tiles.repeat(times, axis=2).repeat(times, axis=3)
    high, wide = high * times, wide * times
    gap = max(1, round(max(high, wide) / 14))
    if tiles.ndim == 5:
        image = np.zeros((rows, columns, high + gap, wide + gap, 4), dtype=np.uint8)
        image[:, :, :high, :wide, :3], image[:, :, :high, :wide, 3] = tiles, 255
    else:
        image = np.full((rows, columns, high + gap, wide + gap), np.nan)
        image[:, :, :high, :wide] = tiles
    image = image.swapaxes(1, 2).reshape(rows * (high + gap), columns * (wide + gap), *image.shape[4:])
    centres = [np.arange(n) * (side + gap) + side / 2 for n, side in ((rows, high), (columns, wide))]
    return Mosaic(image[:-gap, :-gap], *centres, (high, wide), gap)


def show(axes: Axes, tiles: Mosaic, **colours: Any) -> AxesImage:
    """Draw the image over all of `axes`, one unit a value, first row on top."""
    high, wide = tiles.image.shape[:2]
    drawn = axes.imshow(tiles.image, extent=(0, wide, high, 0), aspect="auto", interpolation="none", **colours)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return drawn


def draw_grid(
    sheet: Sheet,
    tiles: np.ndarray,
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    *,
    largest_in: float = 1.2,
    **colours: Any,
) -> AxesImage:
    """Place `tiles` (rows, columns, h, w[, 3]) as one panel with names beside the rows and below the columns.

    Args:
        rows, columns: what they are, and the name of each.
        largest_in: inches a tile never exceeds.
        colours: `norm` and `cmap` for maps of numbers.
    """
    made = mosaic(tiles)
    names = [text.plain(name, 24) for name in rows[1]]
    left = 0.3 + max((text.width_in(name, TICK_PT) for name in names), default=0)
    high, wide = made.image.shape[:2]
    count = max(1, len(columns[1]))
    widest = min(largest_in * count, HIGHEST_IN * wide / high)
    (axes,) = sheet.panels(1, 1, Edges(left, 0.05, 0.05, 0.42), aspect=high / wide, widest=widest)
    drawn = show(axes, made, **colours)
    axes.set_ylabel(rows[0])
    axes.set_xlabel(columns[0])
    width_in, height_in = sheet.size_of(axes)
    name_ticks(axes.yaxis, made.row_centres, names, height_in, text.height_in("1", TICK_PT))
    wider = max((text.width_in(text.plain(name, 24), TICK_PT) for name in columns[1]), default=0) + 0.06
    name_ticks(axes.xaxis, made.column_centres, [text.plain(name, 24) for name in columns[1]], width_in, wider)
    return drawn
