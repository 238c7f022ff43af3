"""Attention rollout over pictures: each picture beside itself, lit where the answer comes from (fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .attention import query_words
from .overlay import as_rgb, lit, thumbnail
from .sheet import Sheet
from .style import styled
from .tiles import Tile, draw_tiles, tile_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.rollout import Rollout


@styled
def draw_rollout(
    result: Rollout,
    figure: Figure,
    *,
    pictures: Sequence[np.ndarray],
    names: Sequence[str] = (),
    most_pictures: int = 12,
) -> None:
    """Draw pairs: a picture, and the picture lit by rollout through all layers. Source: 2010.11929, fig. 6 and D.8.

    Args:
        pictures: (H, W, 3) or (H, W) uint8, as many as in `result`.
        names: of the pictures.
        most_pictures: of more, the first so many are drawn, and the figure says so.
    """
    count = min(len(pictures), most_pictures)
    maps = result.maps[-1]
    sheet = Sheet(figure, f"Attention rollout, read at the {query_words(result.query)}")
    columns = 2 * sheet.columns(count, 1.9 if sheet.width < 6 else 2.3)
    aspect = as_rgb(pictures[0]).shape[0] / as_rgb(pictures[0]).shape[1]
    side, tiles = max(tile_size(sheet, columns, aspect)), []
    for number in range(count):
        shown = thumbnail(as_rgb(pictures[number]), side)
        peak = float(np.nan_to_num(maps[number]).max(initial=0)) * maps[number].size
        tiles.append(Tile(shown, str(names[number]) if len(names) else f"picture {number + 1}"))
        tiles.append(Tile(lit(shown, maps[number]), f"peak {text.number(peak, 2)}×"))
    draw_tiles(sheet, tiles, columns, aspect=aspect)
    sheet.note(
        f"Light is proportional to what reaches the answer from a patch through {len(result.layers)} layers "
        f"({result.fusion} over heads, skip connections weighted {text.number(result.residual_share)}), drawn smoothly "
        "between patches, full light at each picture's peak. Peak: in multiples of the even share.",
        f"{text.percent(result.discard_share)} of each layer's weights set to zero." if result.discard_share else "",
        f"The first {count} of {len(pictures)} pictures are drawn." if count < len(pictures) else "",
    )
    sheet.finish()
