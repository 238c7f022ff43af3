"""Position vectors: which patch each one resembles, as a grid of small maps (fig. 7 centre, fig. 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .mosaic import draw_grid
from .sheet import Sheet
from .style import SEQUENTIAL, styled
from .subset import spaced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.position import PositionSimilarity


@styled
def draw_position(result: PositionSimilarity, figure: Figure, *, least_in: float = 0.42, most: int = 14) -> None:
    """Draw for each patch the similarity of its position vector with those of all patches, at its place.

    Source: 2010.11929, fig. 7 centre and fig. 10.

    Args:
        least_in: inches of the smallest map worth drawing.
        most: maps a side; of more patches evenly spaced ones are drawn, and the figure says so.
    """
    from matplotlib.colors import Normalize

    rows, columns = result.similarity.shape[:2]
    sheet = Sheet(figure, "Position: which patches have similar vectors")
    fit = min(most, int((sheet.room - 0.5) / least_in))
    down, across = spaced(rows, min(fit, most)), spaced(columns, fit)
    tiles = result.similarity[down][:, across]
    drawn = draw_grid(
        sheet,
        tiles,
        ("row of the patch", down + 1),
        ("column of the patch", across + 1),
        norm=Normalize(-1, 1),
        cmap=SEQUENTIAL,
        largest_in=min(1.0, 5.6 / max(len(across), 1)),
    )
    sheet.scale(drawn, "cosine similarity with the vectors of all patches")
    some = len(down) < rows or len(across) < columns
    sheet.note(
        f"{text.plain(result.source, 60)}, {rows} × {columns} patches.",
        f"{len(down)} × {len(across)} of them are drawn, evenly spaced." if some else "",
        _numbers_told(result),
    )
    sheet.finish()


def _numbers_told(result: PositionSimilarity) -> str:
    read = [
        f"{what} with R² {text.number(value, 2)}"
        for what, value in (("row", result.row_r2), ("column", result.column_r2))
        if np.isfinite(value)
    ]
    return (
        f"Rank correlation of similarity with distance {text.number(result.distance_correlation, 2)}; "
        f"rows explain {text.percent(round(result.row_share, 3))} of the variance, "
        f"columns {text.percent(round(result.column_share, 3))}"
        + (f"; a vector tells its {text.listed(read)}." if read else ".")
    )
