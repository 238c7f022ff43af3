"""How training went: loss, learning rate and validation accuracy over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .sheet import CHART, Edges, Sheet
from .style import SERIES, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]


@styled
def draw_training(result: Sequence[Row], figure: Figure) -> None:
    """Draw the lines of metrics.jsonl: loss, learning rate, right answers on the validation split.

    Args:
        result: as `metrics.read_log` returns them; what no line has is not drawn.
    """
    sheet = Sheet(figure, "How training went")
    kinds = [
        ("loss", "loss (nats)", (("loss", "training", 1.0), ("val_loss", "validation", 1.0))),
        ("right answers", "pictures (%)", (("val_top1", "validation", 100.0),)),
        ("learning rate", "learning rate", (("lr", "training", 1.0),)),
    ]
    kinds = [kind for kind in kinds if any(key in row for row in result for key, _, _ in kind[2])]
    panels = sheet.panels(
        max(len(kinds), 1),
        sheet.columns(max(len(kinds), 1), 2.7),
        Edges(0.75, CHART.right, CHART.top, CHART.bottom),
        height=2.0,
    )
    for axes, (title, up, series) in zip(panels, kinds, strict=False):
        for key, side, scale in series:
            epochs, values = column(result, key)
            colour, validation = SERIES[side == "validation"], side == "validation"
            axes.plot(
                epochs, scale * values, color=colour, linewidth=1.2, marker="o" if validation else "", markersize=3
            )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_ylabel(up)
        axes.yaxis.get_major_locator().set_params(nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _: text.number(value))
        axes.set_xlim(0, max((float(row["epoch"]) for row in result if "epoch" in row), default=1.0) or 1.0)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    if not kinds:
        panels[0].set_xlabel("epoch")
        panels[0].set_ylabel("loss (nats)")
    sheet.key(
        [
            ("training", {"color": SERIES[0], "linewidth": 1.2}),
            ("validation", {"color": SERIES[1], "marker": "o", "linewidth": 1.2}),
        ]
    )
    sheet.note(_best_told(result))
    sheet.finish()


def column(rows: Sequence[Row], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs and values of the lines that have `key`; what is not a number leaves a hole."""
    found = [(float(row["epoch"]), float("nan") if row[key] is None else float(row[key])) for row in rows if key in row]
    values = np.array(found, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], np.where(np.isfinite(values[:, 1]), values[:, 1], np.nan)


def _best_told(rows: Sequence[Row]) -> str:
    epochs, top1 = column(rows, "val_top1")
    if not np.isfinite(top1).any():
        return "" if rows else "No line was written yet."
    best = int(np.nanargmax(top1))
    return (
        f"Best on the validation split: {text.percent(round(float(top1[best]), 4))} after epoch "
        f"{text.number(float(epochs[best]))}; last {text.percent(round(float(top1[-1]), 4))}."
    )
