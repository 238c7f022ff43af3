"""Which classes are found: accuracy of each with its interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .sheet import CHART, Edges, Sheet
from .style import INK, SERIES, TICK_PT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..metrics import Evaluation


@styled
def draw_accuracy(result: Evaluation, figure: Figure, *, most_classes: int = 30, best: int = 5) -> None:
    """Draw the share of each class that is found, least first, with its 95 % interval, beside that of all pictures.

    Args:
        most_classes: of more, the least found and the `best` are drawn, and the figure says so.
    """
    found, there = np.diag(result.confusion), result.confusion.sum(axis=1)
    known = np.flatnonzero(there)
    order = known[np.argsort(found[known] / there[known], kind="stable")]
    chosen = order
    if len(order) > most_classes:
        chosen = np.concatenate([order[: most_classes - best], order[len(order) - best :]])
    sheet = Sheet(figure, "Which classes are found")
    names = [text.fitted(result.classes[index], 0.42 * sheet.room, TICK_PT) for index in chosen]
    left = 0.44 + max((text.width_in(name, TICK_PT) for name in names), default=0.2)
    (axes,) = sheet.panels(1, 1, Edges(left, 0.2, 0.1, CHART.bottom), height=0.19 * max(len(chosen), 2), widest=6.0)
    places = np.arange(len(chosen))
    places[most_classes - best :] += len(chosen) < len(order)  # a gap between the least and the best
    for place, index in zip(places, chosen, strict=True):
        low, high = (100 * end for end in wilson(int(found[index]), int(there[index])))
        axes.plot([low, high], [place, place], color=SERIES[0], linewidth=1.2)
        axes.plot(100 * found[index] / there[index], place, "o", color=SERIES[0], markeredgewidth=0)
    axes.axvline(100 * result.top1, color=INK, linestyle="--", linewidth=1)
    axes.set_xlim(0, 102)
    axes.set_ylim(max(places.max(initial=0), 0) + 0.5, -0.5)
    axes.set_yticks(places.tolist(), names)
    axes.set_xlabel("right answers (%)")
    axes.set_ylabel("class")
    sheet.key(
        [
            ("a class, with 95 % interval", {"color": SERIES[0], "marker": "o", "linewidth": 1.2}),
            ("all pictures", {"color": INK, "linestyle": "--", "linewidth": 1}),
        ]
    )
    absent = len(result.classes) - len(known)
    sheet.note(
        f"{result.total} pictures, {text.percent(round(result.top1, 4))} right. Intervals: Wilson.",
        f"The {most_classes - best} least and the {best} best found of {len(order)} classes are drawn."
        if len(chosen) < len(order)
        else "",
        f"{absent} classes without pictures are left out." if absent else "",
    )
    sheet.finish()


def wilson(found: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a share, Wilson's (J. Am. Stat. Assoc. 22, 1927)."""
    share, spread = found / total, z * z / total
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
