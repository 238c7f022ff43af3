"""The attention map of every head: layers down, heads across."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .attention import query_words, top_of
from .mosaic import draw_grid
from .sheet import Sheet
from .style import SEQUENTIAL, styled
from .subset import spaced, subset_told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.attention import AttentionMaps


@styled
def draw_heads(
    result: AttentionMaps,
    figure: Figure,
    *,
    picture: int = 0,
    distance_px: np.ndarray | None = None,
    least_in: float = 0.36,
) -> None:
    """Draw the map of each head on one picture, in one scale for all.

    Args:
        picture: number of the one to draw, from 0.
        distance_px: (layers, heads) attention distances: heads then stand in order of them, nearest first.
        least_in: inches of the smallest map worth drawing; where more heads or layers than fit are there, evenly
            spaced ones are drawn, and the figure says so.
    """
    from matplotlib.colors import Normalize

    maps = result.maps[:, picture]
    if distance_px is not None:
        order = np.argsort(distance_px, axis=1, kind="stable")
        maps = np.take_along_axis(maps, order[:, :, None, None], axis=1)
    sheet = Sheet(figure, f"Every head: attention of the {query_words(result.query)}")
    layers, heads = spaced(len(maps), 24), spaced(maps.shape[1], int((sheet.room - 0.6) / least_in))
    tiles = maps[layers][:, heads] * maps[0, 0].size
    columns = ("head, nearest first", heads + 1) if distance_px is not None else ("head", heads + 1)
    norm = Normalize(0, top_of([tiles]))
    drawn = draw_grid(sheet, tiles, ("layer", layers + 1), columns, norm=norm, cmap=SEQUENTIAL)
    sheet.scale(drawn, "attention to a patch, in multiples of the even share (1: as any other)", clipped="high")
    sheet.note(
        subset_told(heads, maps.shape[1], "heads"),
        subset_told(layers, len(maps), "layers"),
        "Each row is in order of the distance at which its heads look." if distance_px is not None else "",
    )
    sheet.finish()
