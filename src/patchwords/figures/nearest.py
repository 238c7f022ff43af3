"""The pictures of a set that a model takes for most alike, as strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .overlay import as_rgb
from .sheet import Sheet
from .style import SMALL_PT, styled
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.nearest import Neighbours


@styled
def draw_nearest(
    result: Neighbours,
    figure: Figure,
    *,
    queries: Sequence[np.ndarray],
    pictures: Sequence[np.ndarray] | Mapping[int, np.ndarray],
    query_names: Sequence[str] = (),
    names: Sequence[str] | Mapping[int, str] = (),
    most_queries: int = 8,
) -> None:
    """Draw a row for each query: the picture, then its neighbours with the cosine of their features.

    Args:
        queries: (H, W, 3) or (H, W) uint8, as many as in `result`.
        pictures: the set, by number; those in `result.indices` are enough.
        query_names, names: what stands above the pictures, such as their classes.
        most_queries: of more, the first so many are drawn, and the figure says so.
    """
    count, found = min(len(queries), most_queries), result.indices.shape[1]
    sheet = Sheet(figure, "Nearest pictures")
    neighbours = min(found, int(sheet.room / 0.64) - 1)
    first, tiles = as_rgb(queries[0]), []
    for number in range(count):
        tiles.append(Tile(as_rgb(queries[number]), query_names[number] if len(query_names) else f"query {number + 1}"))
        for place in range(neighbours):
            index = int(result.indices[number, place])
            name = f"\n{text.plain(names[index])}" if len(names) else ""
            tiles.append(Tile(as_rgb(pictures[index]), f"{result.similarity[number, place]:.2f}{name}"))
    draw_tiles(sheet, tiles, 1 + neighbours, aspect=first.shape[0] / first.shape[1], widest=1.1, size=SMALL_PT)
    sheet.note(
        "First in each row: the picture asked about. Above the others: cosine of the features (1: the same).",
        f"The first {neighbours} of {found} neighbours are drawn." if neighbours < found else "",
        f"The first {count} of {len(queries)} pictures are drawn." if count < len(queries) else "",
    )
    sheet.finish()
