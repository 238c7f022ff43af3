"""Which model, with how much data: learning curves, accuracy by compute, bias and variance, shifts by a pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import text
from .axis import log_ticks
from .sheet import CHART, Edges, Sheet
from .style import INK, LINES, MARKERS, SERIES, TICK_PT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..study.entry import Entry
    from ..study.statistics import Score, Summary

EDGES = Edges(0.62, CHART.right, CHART.top, CHART.bottom)


@styled
def draw_learning(result: Summary, figure: Figure) -> None:
    """Draw the right test answers over the number of training pictures, with 95 % intervals."""
    sheet = Sheet(figure, "Right answers by training pictures")
    _over_sizes(sheet, result, "right test answers (%)", lambda score: (score.mean, score.low, score.high))
    sheet.note(
        f"Means over seeds on {result.pictures:,} test pictures; bars: 95 % intervals over seeds and test pictures. "
        "Points of one size stand side by side."
    )
    sheet.finish()


@styled
def draw_compute(result: Summary, figure: Figure) -> None:
    """Draw the right answers over the training FLOPs: the way on validation pictures, the end on test pictures."""
    sheet = Sheet(figure, "Right answers by training compute")
    levels = _levels(result)
    places = [(level, size) for level in levels for size in result.sizes]
    panels = sheet.panels(len(places), sheet.columns(len(places), 2.9), EDGES, height=2.2, widest=7.0)
    looks = looks_of(result.entries)
    for axes, (level, size) in zip(panels, places, strict=True):
        spent = [score.flops for score in result.scores if score.size == size]
        for course in result.courses:
            if course.size == size and course.entry.augment == level:
                spent += [each for each in course.flops if each > 0]
                look = looks[course.entry] | {"marker": "", "linewidth": 1.0}
                axes.plot(course.flops, 100 * np.array(course.val_top1), **look)
        for score in result.scores:
            if score.size == size and score.entry.augment == level:
                _line(axes, [score.flops], [(score.mean, score.low, score.high)], looks[score.entry])
        _compute_axis(axes, min(spent) / 1.3, max(spent) * 1.3)
        axes.set_title(f"{size:,} pictures" + (f", augmentation {text.plain(level)}" if len(levels) > 1 else ""))
    _same_height(panels)
    _key(sheet, result, looks)
    sheet.note(
        "Lines: validation pictures, while the learning rate is not at its end. Dots: test pictures, at the end."
    )
    sheet.finish()


@styled
def draw_split(result: Summary, figure: Figure) -> None:
    """Draw the wrong answers of each entry, split into bias² and variance, a panel for each size."""
    sheet = Sheet(figure, "Wrong answers: bias² and variance")
    found = {size: [each for each in result.decompositions if each.size == size] for size in result.sizes}
    found = {size: here for size, here in found.items() if here}
    names = {entry: text.fitted(name, 0.3 * sheet.room, TICK_PT) for entry, name in result.labels.items()}
    left = 0.3 + max((text.width_in(name, TICK_PT) for name in names.values()), default=0.2)
    columns = sheet.columns(len(found), left + 2.0)
    most = max((len(here) for here in found.values()), default=1)
    panels = sheet.panels(
        len(found), columns, Edges(left, 0.2, CHART.top, CHART.bottom), height=0.26 * max(most, 2), widest=6.0
    )
    widest = max((each.error for each in result.decompositions), default=1.0)
    for axes, (size, here) in zip(panels, found.items(), strict=True):
        places = np.arange(len(here))
        bias2 = 100 * np.array([max(each.bias2.value, 0.0) for each in here])
        variance = 100 * np.array([each.variance.value for each in here])
        axes.barh(places, bias2, 0.62, color=SERIES[0])
        axes.barh(places, variance, 0.62, left=bias2, color=SERIES[1])
        _whiskers(axes, places - 0.16, here, "bias2", np.zeros(len(here)))
        _whiskers(axes, places + 0.16, here, "variance", bias2)
        axes.set_yticks(places.tolist(), [names[each.entry] for each in here])
        axes.set_ylim(max(len(here), 2) - 0.5, -0.5)
        axes.set_xlim(0, 108 * widest)
        axes.set_title(f"{size:,} pictures")
        axes.set_xlabel("wrong test answers (%)")
        axes.set_ylabel("model")
    sheet.key(
        [
            ("bias²: also on the mean of many such models", {"color": SERIES[0], "linewidth": 6}),
            ("variance: from one set of training pictures to another", {"color": SERIES[1], "linewidth": 6}),
        ]
    )
    sheet.note(
        "Kohavi and Wolpert's split of the 0/1 loss; the two add up to the wrong answers. Lines: 95 % intervals."
    )
    sheet.finish()


@styled
def draw_shift(result: Summary, figure: Figure) -> None:
    """Draw how many answers stay the same after a shift by one pixel, over the number of training pictures."""

    def stays(score: Score) -> tuple[float, float, float]:
        half = 0.0 if math.isnan(score.shift_half) else score.shift_half
        return score.shift, score.shift - half, min(1.0, score.shift + half)

    sheet = Sheet(figure, "The same answer after a shift by one pixel")
    _over_sizes(sheet, result, "same answer (%)", stays)
    sheet.note("Means over seeds; bars: 95 % intervals over seeds (Student's t).")
    sheet.finish()


def _over_sizes(
    sheet: Sheet, result: Summary, up: str, values_of: Callable[[Score], tuple[float, float, float]]
) -> None:
    """Place a panel for each level of augmentation: means with their intervals, over the sizes; and the legend."""
    levels, looks = _levels(result), looks_of(result.entries)
    panels = sheet.panels(len(levels), sheet.columns(len(levels), 3.2), EDGES, height=3.0, widest=7.0)
    for axes, level in zip(panels, levels, strict=True):
        entries = [entry for entry in result.entries if entry.augment == level]
        for entry, aside in zip(entries, _aside(len(entries)), strict=True):
            scores = [score for score in result.scores if score.entry == entry and not math.isnan(values_of(score)[0])]
            places = [score.size * aside for score in scores]
            _line(axes, places, [values_of(score) for score in scores], looks[entry])
        _pictures(axes, result)
        axes.set_ylabel(up)
        if len(levels) > 1:
            axes.set_title(f"augmentation {text.plain(level)}")
    _same_height(panels)
    _key(sheet, result, looks)


def looks_of(entries: Sequence[Entry]) -> dict[Entry, dict[str, Any]]:
    """Return how the line of each entry looks: colour and marker by model, line by arm."""
    models = list(dict.fromkeys(entry.model for entry in entries))
    arms = sorted({entry.arm for entry in entries})
    looks = {}
    for entry in entries:
        again, place = divmod(models.index(entry.model), len(SERIES))
        looks[entry] = {
            "color": SERIES[place],
            "marker": MARKERS[(place + 2 * again) % len(MARKERS)],
            "linestyle": LINES[(arms.index(entry.arm) + 2 * again) % len(LINES)],
            "linewidth": 1.3,
            "markersize": 4.5,
        }
    return looks


def _line(
    axes: Axes, places: Sequence[float], values: Sequence[tuple[float, float, float]], look: dict[str, Any]
) -> None:
    """Draw means with the ends of their intervals, shares; ends that are no numbers are not drawn."""
    if len(values):
        means = 100 * np.array(values)
        reach = np.nan_to_num(np.abs(means[:, 1:] - means[:, :1])).T
        axes.errorbar(places, means[:, 0], yerr=reach, elinewidth=1.0, capsize=2, clip_on=False, **look)


def _compute_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes.xaxis, low, high, 4)
    axes.set_xticks(axes.get_xticks(), [f"{value:.0e}".replace("e+", "e") for value in axes.get_xticks()])
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel("right answers (%)")


def _whiskers(axes: Axes, places: np.ndarray, here: Sequence[Any], name: str, start: np.ndarray) -> None:
    for place, each, left in zip(places, here, start, strict=True):
        part = getattr(each, name)
        if not math.isnan(part.low):
            axes.plot([left + 100 * part.low, left + 100 * part.high], [place, place], color=INK, linewidth=1.0)


def _aside(count: int) -> np.ndarray:
    """Return factors that set points of one size side by side on a logarithmic axis."""
    return np.exp((np.arange(count) - (count - 1) / 2) * 0.03)


def _pictures(axes: Axes, result: Summary) -> None:
    low, high = min(result.sizes, default=1) / 1.3, max(result.sizes, default=1) * 1.3
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    if len(result.sizes) <= 1.6 * axes.figure.get_size_inches()[0]:
        axes.set_xticks(list(result.sizes), [f"{size:,}" for size in result.sizes])
    else:
        log_ticks(axes.xaxis, low, high)
    axes.set_xticks([], minor=True)
    axes.grid(axis="y")
    axes.set_xlabel("training pictures")


def _levels(result: Summary) -> list[str]:
    return sorted({entry.augment for entry in result.entries})


def _same_height(panels: Sequence[Axes]) -> None:
    """Give all panels the same range of values, with room around."""
    low, high = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)
        axes.yaxis.get_major_locator().set_params(nbins=6)
        axes.yaxis.set_major_formatter(lambda value, _: text.number(value))


def _key(sheet: Sheet, result: Summary, looks: dict[Entry, dict[str, Any]]) -> None:
    """Place the legend: every model and arm."""
    shown: dict[str, dict[str, Any]] = {}
    for entry in result.entries:
        name = f"{entry.model} (transfer)" if entry.arm == "transfer" else entry.model
        shown.setdefault(text.plain(name, 40), looks[entry])
    sheet.key(list(shown.items()))
