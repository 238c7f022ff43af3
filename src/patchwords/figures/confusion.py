"""What is taken for what: the confusion matrix, or of many classes the largest confusions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import name_ticks
from .sheet import CHART, Edges, Sheet
from .style import INK, SEQUENTIAL, SERIES, SMALL_PT, TICK_PT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ..metrics import Evaluation

MOST_CLASSES = 24
"""of more, the matrix would be a grey square: the largest confusions are listed in its place"""


@styled
def draw_confusion(result: Evaluation, figure: Figure, *, largest: int = 20) -> None:
    """Draw counts and shares of each true class; of more than 24 classes the `largest` confusions as bars."""
    sheet = Sheet(figure, "What is taken for what")
    if len(result.classes) <= MOST_CLASSES:
        _draw_matrices(sheet, result)
    else:
        _draw_largest(sheet, result, largest)
    wrong = int(result.confusion.sum() - np.trace(result.confusion))
    unknown = result.total - int(result.confusion.sum())
    sheet.note(
        f"{result.total} pictures, {wrong} taken for another class.",
        f"{unknown} of a class the model does not know are left out." if unknown else "",
    )
    sheet.finish()


def _draw_matrices(sheet: Sheet, result: Evaluation) -> None:
    from matplotlib.colors import Normalize

    counts = result.confusion
    names = [text.plain(name, 16) for name in result.classes]
    longest = max((text.width_in(name, TICK_PT) for name in names), default=0.1)
    edges = Edges(longest + 0.3, 0.15, 0.28, longest + 0.36)
    panels = sheet.panels(2, sheet.columns(2, 3.8), edges, aspect=1.0, widest=4.6)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(100 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    first = _draw_matrix(panels[0], counts, Normalize(0, max(int(counts.max(initial=0)), 1)), names, sheet)
    second = _draw_matrix(panels[1], share, Normalize(0, 100), names, sheet)
    panels[0].set_title("pictures")
    panels[1].set_title("% of the true class")
    sheet.scale(first, "pictures")
    sheet.scale(second, "share of the pictures of the true class (%)")
    if np.isnan(share).any():
        sheet.note("Empty rows: no picture of that class.")


def _draw_matrix(axes: Axes, values: np.ndarray, norm: object, names: list[str], sheet: Sheet) -> AxesImage:
    drawn = axes.imshow(values, norm=norm, cmap=SEQUENTIAL, interpolation="none", aspect="auto")
    axes.spines[:].set_visible(False)
    side, line = sheet.size_of(axes)[0], text.height_in("1", TICK_PT)
    for axis in (axes.xaxis, axes.yaxis):
        name_ticks(axis, range(len(names)), names, side, line)
    axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    words = [[f"{value:.0f}" for value in row] for row in values]
    room = side / max(len(names), 1) - 0.04
    if names and max(text.width_in(word, SMALL_PT) for row in words for word in row) <= room:
        for (row, column), value in np.ndenumerate(values):
            if value > 0:
                colour = "#0b0b0b" if drawn.norm(value) > 0.55 else "#f4f4f4"
                axes.text(column, row, words[row][column], size=SMALL_PT, color=colour, ha="center", va="center")
    return drawn


def largest_confusions(confusion: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return (true class, answer, pictures) of the most frequent confusions, most first, of equal ones the first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), confusion.shape[1]) for place in order]
    return [(row, column, int(wrong[row, column])) for row, column in pairs if wrong[row, column]]


def _draw_largest(sheet: Sheet, result: Evaluation, most: int) -> None:
    found = largest_confusions(result.confusion, most)
    wide = sheet.room * 0.42
    labels = [
        "\n".join(
            (
                text.fitted(result.classes[row], wide, SMALL_PT),
                "→ " + text.fitted(result.classes[column], wide, SMALL_PT),
            )
        )
        for row, column, _ in found
    ]
    longest = max((text.width_in(label, SMALL_PT) for label in labels), default=0.3)
    edges = Edges(longest + 0.4, 0.5, 0.1, CHART.bottom)
    (axes,) = sheet.panels(1, 1, edges, height=0.33 * max(len(found), 1), widest=5.5)
    for place, (row, _, pictures) in enumerate(found):
        axes.barh(place, pictures, 0.7, color=SERIES[0])
        share = f"{pictures} ({100 * pictures / result.confusion[row].sum():.0f} %)"
        axes.annotate(
            share, (pictures, place), (3, 0), textcoords="offset points", va="center", size=SMALL_PT, color=INK
        )
    axes.set_yticks(range(len(found)), labels, size=SMALL_PT)
    axes.set_ylim(max(len(found), 1) - 0.5, -0.5)
    axes.set_xlim(0, 1.2 * max((pictures for *_, pictures in found), default=1))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.set_xlabel("pictures (% of the true class)")
    axes.set_ylabel("true class → answer")
    sheet.note(f"The {len(found)} largest confusions of {len(result.classes)} classes.")
