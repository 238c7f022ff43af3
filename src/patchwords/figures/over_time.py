"""Learning to look: maps of the same pictures as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .overlay import as_rgb, lit, thumbnail
from .sheet import Sheet
from .style import SMALL_PT, styled
from .subset import spaced, subset_told
from .tiles import Tile, draw_tiles, tile_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def draw_over_time(
    result: np.ndarray,
    figure: Figure,
    *,
    epochs: Sequence[float],
    pictures: Sequence[np.ndarray],
    names: Sequence[str] = (),
    what: str = "attention rollout",
    most_pictures: int = 8,
) -> None:
    """Draw a row for each picture: the picture, then lit by its map at each time.

    Args:
        result: (times, pictures, rows, columns), 0 or larger: rollout, attention, attribution.
        epochs: (times,).
        pictures: (H, W, 3) or (H, W) uint8.
        names: of the pictures.
        what: the maps are, for the title.
        most_pictures: of more, the first so many are drawn, and the figure says so.
    """
    count = min(len(pictures), most_pictures)
    sheet = Sheet(figure, f"Learning to look: {what}")
    times = spaced(len(epochs), max(2, int(sheet.room / 0.74) - 1))
    shape, tiles = as_rgb(pictures[0]).shape, []
    aspect = shape[0] / shape[1]
    side = max(tile_size(sheet, 1 + len(times), aspect, 1.3))
    for number in range(count):
        shown = thumbnail(as_rgb(pictures[number]), side)
        tiles.append(Tile(shown, names[number] if len(names) else f"picture {number + 1}"))
        for time in times:
            label = f"epoch {text.number(float(epochs[time]))}" if number == 0 else ""
            tiles.append(Tile(lit(shown, result[time, number]), label))
    draw_tiles(sheet, tiles, 1 + len(times), aspect=aspect, widest=1.3, size=SMALL_PT)
    sheet.note(
        "Light is proportional to the map, full at the peak of each, drawn smoothly between patches.",
        subset_told(times, len(epochs), "times"),
        f"The first {count} of {len(pictures)} pictures are drawn." if count < len(pictures) else "",
    )
    sheet.finish()
