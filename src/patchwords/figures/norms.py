"""What carries the tokens: size of the skip connection against its branch, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import log_ticks, name_ticks
from .sheet import CHART, Sheet
from .style import INK, SEQUENTIAL, SERIES, TICK_PT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ..inspection.norms import NormRatios


@styled
def draw_norms(result: NormRatios, figure: Figure) -> None:
    """Draw |z| / |f(z)| by branch for class token and patches, and for each token.

    Source: 2108.08810, figs. 7 and 8.
    """
    sheet = Sheet(figure, "Skip connection against branch")
    lines, tokens = sheet.panels(2, sheet.columns(2, 3.4), CHART, height=2.4)
    _draw_lines(lines, result)
    kinds = [("patches, mean", {"color": SERIES[0], "marker": "o"})]
    if np.isfinite(result.ratio[:, 0]).any():
        kinds.insert(0, ("class token", {"color": SERIES[1], "marker": "s"}))
    drawn = _draw_tokens(tokens, result, sheet)
    sheet.key([*kinds, ("skip and branch of one size", {"color": INK, "linestyle": "--", "linewidth": 1})])
    if drawn is not None:
        sheet.scale(drawn, "skip / branch of each token, logarithmic")
    sheet.note(
        f"Mean over {result.pictures} picture{'s' * (result.pictures != 1)}. "
        "Above 1 the skip connection is larger than what the branch adds.",
        "Infinite ratios (a branch that adds nothing) are left out." if np.isinf(result.token_ratio).any() else "",
    )
    sheet.finish()


def _draw_lines(axes: Axes, result: NormRatios) -> None:
    places = np.arange(len(result.branches))
    for column, colour, marker in ((1, SERIES[0], "o"), (0, SERIES[1], "s")):
        ratio = np.where(np.isfinite(result.ratio[:, column]), result.ratio[:, column], np.nan)
        axes.plot(places, ratio, color=colour, marker=marker)
    known = result.ratio[np.isfinite(result.ratio) & (result.ratio > 0)]
    low, high = min(known.min(initial=1.0) / 1.2, 0.5), max(known.max(initial=1.0) * 1.2, 2.0)
    axes.axhline(1, color=INK, linestyle="--", linewidth=1)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    log_ticks(axes.yaxis, low, high)
    axes.set_xlim(-0.5, len(places) - 0.5)
    firsts, names = _block_starts(result)
    name_ticks(axes.xaxis, firsts, names, 2.6, 0.22)
    axes.set_xlabel("block (attention, then MLP)")
    axes.set_ylabel("skip / branch (times)")
    axes.set_title("mean ratio of norms")


def _block_starts(result: NormRatios) -> tuple[list[int], list[str]]:
    """Return the first branch of each block, and the block's number."""
    numbers = [text.short_layer(name).split(" ")[0] for name in result.branches]
    firsts = [i for i, number in enumerate(numbers) if number not in numbers[:i]]
    return firsts, [numbers[i] for i in firsts]


def _draw_tokens(axes: Axes, result: NormRatios, sheet: Sheet) -> AxesImage | None:
    from matplotlib.colors import LogNorm

    ratio = np.where(np.isfinite(result.token_ratio) & (result.token_ratio > 0), result.token_ratio, np.nan)
    known = ratio[np.isfinite(ratio)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 1.0)
    norm = LogNorm(low, high if high > low else low * 1.01)
    count, tokens = ratio.shape
    extent = (0.5, tokens + 0.5, count - 0.5, -0.5)
    drawn = axes.imshow(ratio, norm=norm, cmap=SEQUENTIAL, aspect="auto", interpolation="none", extent=extent)
    axes.spines[:].set_visible(False)
    firsts, names = _block_starts(result)
    name_ticks(axes.yaxis, firsts, names, sheet.size_of(axes)[1], text.height_in("1", TICK_PT))
    axes.set_xlabel("token (class token first)" if np.isfinite(result.ratio[:, 0]).any() else "token")
    axes.set_ylabel("block (attention, then MLP)")
    axes.set_title("each token")
    return drawn if known.size else None
