"""What belongs together: the leading components of the patch tokens as colours beside the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .overlay import as_rgb
from .sheet import Sheet
from .style import styled
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.components import Components


@styled
def draw_components(
    result: Components,
    figure: Figure,
    *,
    pictures: Sequence[np.ndarray],
    names: Sequence[str] = (),
    most_pictures: int = 12,
) -> None:
    """Draw pairs: a picture, and its patches in the colours of the first three components over all pictures.

    Source: 2304.07193, fig. 1 (DINOv2).

    Args:
        pictures: (H, W, 3) or (H, W) uint8, as many as in `result`.
        names: of the pictures.
        most_pictures: of more, the first so many are drawn, and the figure says so.
    """
    count = min(len(pictures), most_pictures)
    sheet = Sheet(figure, "Which patches are alike")
    first, tiles = as_rgb(pictures[0]), []
    for number in range(count):
        tiles.append(Tile(as_rgb(pictures[number]), str(names[number]) if len(names) else f"picture {number + 1}"))
        tiles.append(Tile(np.rint(255 * np.nan_to_num(result.colours[number])).astype(np.uint8), ""))
    columns = 2 * sheet.columns(count, 1.9 if sheet.width < 6 else 2.3)
    draw_tiles(sheet, tiles, columns, aspect=first.shape[0] / first.shape[1])
    shares = [text.percent(float(f"{share:.2g}")) for share in result.explained_share]
    sheet.note(
        f"Red, green, blue: first, second, third component of {text.layer_name(result.layer)} over all pictures, "
        f"{text.listed(shares)} of the variance. Like colours: like tokens; a colour has no meaning by itself.",
        "Black: not of the figure." if result.foreground is not None else "",
        f"The first {count} of {len(pictures)} pictures are drawn." if count < len(pictures) else "",
    )
    sheet.finish()
