"""Relative positions: what each head adds to its scores by the offset of the key from the query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .mosaic import draw_grid
from .sheet import Sheet
from .style import DIVERGING, styled
from .subset import spaced, subset_told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.position import RelativeBias


@styled
def draw_relative_bias(result: RelativeBias, figure: Figure, *, least_in: float = 0.45) -> None:
    """Draw the bias of each head: the middle of a map is the patch itself, below it the keys below.

    Source: 2010.11929, D.4 (relative positions); 1901.11117 for the picture.

    Args:
        least_in: inches of the smallest map worth drawing; of more heads than fit evenly spaced ones are drawn.
    """
    from matplotlib.colors import Normalize

    layers, heads = result.bias.shape[:2]
    sheet = Sheet(figure, "Relative position: what each head adds to its scores")
    down, across = spaced(layers, 24), spaced(heads, int((sheet.room - 0.6) / least_in))
    tiles = result.bias[down][:, across]
    size = np.abs(tiles[np.isfinite(tiles)])
    top = float(f"{np.quantile(size, 0.995):.2g}") if size.size else 1.0
    norm = Normalize(-(top or 1.0), top or 1.0)
    drawn = draw_grid(sheet, tiles, ("layer", down + 1), ("head", across + 1), norm=norm, cmap=DIVERGING)
    sheet.scale(drawn, "added to the score before the softmax", clipped="both")
    reach = [(side + 1) // 2 - 1 for side in result.bias.shape[2:]]
    sheet.note(
        f"Each map: keys from {reach[0]} rows above to {reach[0]} below, {reach[1]} columns left to right; its middle "
        f"is the query itself. By these alone heads look {_span(result.distance_px)} px far; attention even over all "
        f"patches {text.number(result.uniform_px)} px.",
        subset_told(across, heads, "heads"),
        subset_told(down, layers, "layers"),
    )
    sheet.finish()


def _span(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return (
        f"{text.number(float(known.min()))} to {text.number(float(known.max()))}" if known.size else "not a number of"
    )
