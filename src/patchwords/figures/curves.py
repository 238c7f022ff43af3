"""Deletion and insertion: does the answer go when what a map calls important is taken away?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .attribution import METHOD_WORDS
from .sheet import CHART, Sheet
from .style import LINES, MARKERS, QUIET, SERIES, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.curves import Curves


@styled
def draw_curves(result: Curves, figure: Figure) -> None:
    """Draw the probability of the class against the share of patches changed, mean over pictures, random in grey.

    Source: 1806.07421, sec. 4 (deletion and insertion).
    """
    sheet = Sheet(figure, "Does the map explain the answer?")
    panels = sheet.panels(2, sheet.columns(2, 3.2), CHART, height=2.3)
    kinds = (
        ("deletion: low is good", "patches taken away (%)", result.deletion),
        ("insertion: high is good", "patches put in (%)", result.insertion),
    )
    for axes, (title, across, probability) in zip(panels, kinds, strict=True):
        for number, _ in enumerate(result.methods):
            mean = probability[number].mean(axis=0)
            axes.plot(100 * result.changed_share, mean, markevery=0.2, **_look(number, result))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1)
        axes.set_title(title)
        axes.set_xlabel(across)
        axes.set_ylabel("probability of the class")
    sheet.key([(_words(number, result), _look(number, result)) for number in range(len(result.methods))])
    pictures = result.targets.size
    sheet.note(
        f"Mean over {pictures} picture{'s' * (pictures != 1)}; random: mean of {result.random_orders} orders. "
        "Areas under the curves in brackets: deletion, insertion.",
        "A mark shows the methods that beat the random order by more than two standard errors: ✓."
        if pictures > 2
        else "Too few pictures to say which method is better than chance.",
    )
    sheet.finish()


def _look(number: int, result: Curves) -> dict[str, object]:
    if number == len(result.methods) - 1:
        return {"color": QUIET, "linestyle": "--", "linewidth": 2}
    kind = number % len(SERIES)
    return {"color": SERIES[kind], "marker": MARKERS[kind], "linestyle": LINES[number // len(SERIES) % len(LINES)]}


def _words(number: int, result: Curves) -> str:
    method = result.methods[number]
    areas = (np.mean(result.deletion_area[number]), np.mean(result.insertion_area[number]))
    last = number == len(result.methods) - 1
    good = " ✓" if not last and result.targets.size > 2 and result.explains[number] else ""
    return f"{METHOD_WORDS.get(method, text.plain(method))} ({areas[0]:.2f}, {areas[1]:.2f}){good}"
