"""Filters taking shape: the leading components of the first filters as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .filters import component_picture
from .mosaic import draw_grid
from .sheet import Sheet
from .style import styled
from .subset import spaced, subset_told

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def draw_filters_over_time(
    result: np.ndarray, figure: Figure, *, epochs: Sequence[float], most_times: int = 12
) -> None:
    """Draw a row for each time and a column for each component, most variance first (2010.11929, fig. 7 left).

    Args:
        result: (times, components, C, rows, columns).
        epochs: (times,).
        most_times: of more, evenly spaced ones are drawn, and the figure says so.
    """
    sheet = Sheet(figure, "Filters of the patch embedding as they are learned")
    times = spaced(len(result), most_times)
    tiles = np.array([[component_picture(component) for component in result[time]] for time in times])
    draw_grid(
        sheet,
        tiles,
        ("epoch", [text.number(float(epochs[time])) for time in times]),
        ("component", range(1, result.shape[1] + 1)),
        largest_in=0.75,
    )
    channels = result.shape[2]
    sheet.note(
        "Middle grey is 0; each is scaled to its own largest value, which is positive. Components that explain about "
        "as much may change places.",
        "" if channels in (1, 3) else f"Of {channels} channels the first is drawn.",
        subset_told(times, len(result), "times"),
    )
    sheet.finish()
