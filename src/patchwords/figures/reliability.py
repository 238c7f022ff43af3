"""Reliability diagram: is an answer given with 80 % right in 80 % of cases?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .sheet import CHART, Sheet
from .style import INK, SERIES, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..metrics import Evaluation


@styled
def draw_reliability(result: Evaluation, figure: Figure) -> None:
    """Draw accuracy by confidence beside the diagonal, and how many pictures each bin holds.

    Source: 1706.04599, fig. 1.
    """
    sheet = Sheet(figure, "Are the probabilities right?")
    columns = sheet.columns(2, 3.4)
    accuracy, counts = sheet.panels(2, columns, CHART, height=2.4, widest=4.6)
    bins = result.calibration
    middle, width = 100 * (bins.edges[:-1] + bins.edges[1:]) / 2, 100 * np.diff(bins.edges)
    accuracy.bar(middle, np.nan_to_num(100 * bins.accuracy), 0.9 * width, color=SERIES[0], alpha=0.85)
    accuracy.plot(100 * bins.confidence, 100 * bins.accuracy, "o", color=SERIES[1], markeredgewidth=0, clip_on=False)
    accuracy.plot([0, 100], [0, 100], color=INK, linestyle="--", linewidth=1)
    accuracy.set_ylim(0, 100)
    accuracy.set_ylabel("right answers (%)")
    accuracy.set_title("accuracy by confidence")
    share = 100 * bins.counts / max(int(bins.counts.sum()), 1)
    counts.bar(middle, share, 0.9 * width, color=SERIES[0], alpha=0.85)
    counts.set_ylim(0, max(1.0, 1.05 * float(share.max(initial=0))))
    counts.set_ylabel("pictures (%)")
    counts.set_title("how many are so sure")
    for axes in (accuracy, counts):
        _confidence_across(axes)
    sheet.key(
        [
            ("right answers in the bin", {"color": SERIES[0], "alpha": 0.85, "linewidth": 6}),
            ("the same at the bin's mean confidence", {"color": SERIES[1], "marker": "o", "linestyle": "none"}),
            ("perfectly calibrated", {"color": INK, "linestyle": "--", "linewidth": 1}),
        ]
    )
    sheet.note(
        f"{result.total} pictures, {text.percent(round(result.top1, 4))} right; expected calibration error "
        f"{text.percent(round(result.ece, 4))} over {len(bins.counts)} bins. "
        "Bars below the diagonal: too sure of itself."
    )
    sheet.finish()


def _confidence_across(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("confidence (%)")
