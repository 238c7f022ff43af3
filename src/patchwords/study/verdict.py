"""The verdict of a study in words that say no more than its numbers do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..figures.text import listed
from ..report.finding import figures_of, plural
from .crossing import NONE, SEEN, UNSURE, Crossing
from .decomposition import Decomposition, Part
from .entry import Entry
from .statistics import SIGNIFICANT, Pair, Summary

MOST_NAMED = 8
"""pairs that are named in a sentence; of more, how many there are"""
FEW_SEEDS = 5


@dataclass(frozen=True)
class Verdict:
    """Sentences, each with its numbers."""

    order: tuple[str, ...]
    """which model is first, at each size"""
    crossings: tuple[str, ...]
    """which overtakes which, and that none is seen"""
    causes: tuple[str, ...]
    """augmentation, bias and variance, shifts"""
    caveats: tuple[str, ...]
    """what was not compared, and what stands in the way of more"""

    def lines(self) -> list[str]:
        """Return all sentences, one after another."""
        return [*self.order, *self.crossings, *self.causes, *self.caveats]


def verdict(summary: Summary) -> Verdict:
    """Return what may be said of a study."""
    levels = sorted({entry.augment for entry in summary.entries})
    order, crossings = [], []
    for level in levels:
        told = f"Augmentation {level}: " if len(levels) > 1 else ""
        part = summary.level(level)
        order += [told + _order(part, size) for size in part.sizes]
        crossings += [told + sentence for sentence in _crossings(part)]
    causes = (*_augmented(summary), *_split(summary), *_shifted(summary))
    return Verdict(tuple(order), tuple(crossings), causes, tuple(_caveats(summary)))


def share(value: float) -> str:
    """Return a share of 0..1 in per cent with one decimal."""
    return f"{100 * value:.1f} %".replace("-", "−")


def points(value: float) -> str:
    """Return a difference of shares in points with one decimal."""
    return f"{100 * value:.1f} point{'' if abs(round(100 * value, 1)) == 1 else 's'}".replace("-", "−")


def between(low: float, high: float) -> str:
    """Return the interval of a difference, in points with one decimal."""
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f}".replace("-", "−")


def pair_of(summary: Summary, first: Entry, second: Entry, size: int) -> Pair | None:
    """Return the comparison of two entries at a size; None where they have no seed in common."""
    for pair in summary.pairs:
        if pair.size == size and {pair.first, pair.second} == {first, second}:
            return pair
    return None


def _order(summary: Summary, size: int) -> str:
    """Return which entry is first at a size, whether that is more than chance, and the order of the means."""
    ranked, labels = summary.at(size), summary.labels
    first, others = ranked[0], ranked[1:]
    where = f"With {size:,} pictures"
    means = ", ".join(f"{labels[score.entry]} {share(score.mean)}" for score in ranked)
    if not others:
        return f"{where}: {means} right (95 % interval {share(first.low)} to {share(first.high)})."
    pairs = {score.entry: pair_of(summary, first.entry, score.entry, size) for score in others}
    untested = [entry for entry, pair in pairs.items() if pair is None or math.isnan(pair.p)]
    if len(untested) == len(others):
        return f"{where} the means are {means}; the seeds they share are too few to tell which is better."
    tested = {entry: pair for entry, pair in pairs.items() if pair and not math.isnan(pair.p)}
    alike = [f"{labels[each]} ({_lead(pair, first.entry)})" for each, pair in tested.items() if not pair.significant]
    behind = [each for each, pair in tested.items() if _leads(pair, first.entry)]
    above = [labels[each] for each, pair in tested.items() if _leads(pair, each)]
    parts = [f"{where} {labels[first.entry]} has the highest mean, {share(first.mean)}"]
    if behind:
        gap = "" if alike else f" (the nearest: {labels[behind[0]]}, {_lead(tested[behind[0]], first.entry)})"
        parts.append(f"significantly above {_number_of(len(behind), len(others))}{gap}")
    if alike:
        parts.append(f"not distinguishable from {listed(alike)}")
    if above:
        parts.append(f"but over the seeds they share significantly below {listed(above)}")
    if untested:
        parts.append(f"not tested against {listed([labels[entry] for entry in untested])} for want of common seeds")
    told = f"{', '.join(parts)}."
    return told if len(ranked) < 3 else f"{told} {_places(summary, size, means)}"


def _number_of(count: int, others: int) -> str:
    if count < others:
        return f"{count} of the other {others}"
    return "the other one" if others == 1 else "both others" if others == 2 else f"all {others} others"


def _lead(pair: Pair, first: Entry) -> str:
    """Return by how much `first` is above the other of `pair`, with its interval."""
    sign, ends = (1, (pair.low, pair.high)) if pair.first == first else (-1, (-pair.high, -pair.low))
    return f"by {points(sign * pair.difference)}, {between(*ends)}"


def _places(summary: Summary, size: int, means: str) -> str:
    """Return the order of all means, and how many of the differences are significant."""
    tested = [pair for pair in summary.pairs if pair.size == size and not math.isnan(pair.p)]
    held = sum(pair.significant for pair in tested)
    return f"Order of the means: {means}; {held} of {plural(len(tested), 'difference')} significant."


def p_text(value: float) -> str:
    """Return a p-value for a sentence."""
    return "not tested" if math.isnan(value) else "< 0.0001" if value < 1e-4 else figures_of(value, 2)


def size_text(value: float, sizes: Sequence[int]) -> str:
    """Return a crossing size, or the end of the range beyond which it lies."""
    if value == -math.inf:
        return f"below {min(sizes):,}"
    return f"above {max(sizes):,}" if value == math.inf else f"{float(f'{value:.3g}'):,.0f}"


def _crossings(summary: Summary) -> list[str]:
    met, labels = summary.crossings, summary.labels
    told = [_overtaking(summary, each) for each in met if each.state == SEEN]
    unsure = [each for each in met if each.state == UNSURE]
    if unsure:
        named = [
            f"{labels[each.before]} and {labels[each.after]} (near {size_text(each.size, each.sizes)})"
            for each in unsure[:MOST_NAMED]
        ] + _rest(unsure)
        told.append(
            f"The means of {listed(named)} cross, but not with a significant lead on both sides: no crossing is shown."
        )
    apart_all = [each for each in met if each.state == NONE and _differs(summary, each)]
    for low, high in sorted({(each.sizes[0], each.sizes[-1]) for each in apart_all}):
        apart = [each for each in apart_all if (each.sizes[0], each.sizes[-1]) == (low, high)]
        named = [f"{labels[each.before]} over {labels[each.after]}" for each in apart[:MOST_NAMED]] + _rest(apart)
        told.append(f"No crossing is seen from {low:,} to {high:,} pictures, by the means, of {listed(named)}.")
    return told


def _differs(summary: Summary, met: Crossing) -> bool:
    pairs = (pair_of(summary, met.before, met.after, size) for size in met.sizes)
    return any(pair and pair.difference for pair in pairs)


def _rest(found: Sequence[Crossing]) -> list[str]:
    return [f"{len(found) - MOST_NAMED} other pairs"] if len(found) > MOST_NAMED else []


def _overtaking(summary: Summary, met: Crossing) -> str:
    labels = summary.labels
    ahead = {
        entry: [size for size in met.sizes if _leads(pair_of(summary, met.before, met.after, size), entry)]
        for entry in (met.before, met.after)
    }
    sides = [
        f"{labels[entry]} is significantly ahead with {listed([f'{size:,}' for size in at])}"
        for entry, at in ahead.items()
    ]
    again = f" The means cross {met.crossings} times; this is the last." if met.crossings > 1 else ""
    return (
        f"{labels[met.after]} overtakes {labels[met.before]} at about {size_text(met.size, met.sizes)} pictures (95 % "
        f"interval {size_text(met.low, met.sizes)} to {size_text(met.high, met.sizes)}): {', '.join(sides)}.{again}"
    )


def _leads(pair: Pair | None, entry: Entry) -> bool:
    return bool(pair and pair.significant and (pair.first if pair.difference > 0 else pair.second) == entry)


def _augmented(summary: Summary) -> list[str]:
    """Return what augmentation does to each model, where there is more than one level."""
    told = []
    for pair in summary.pairs:
        if pair.first.augment != pair.second.augment and pair.significant:
            better, worse = (pair.first, pair.second) if pair.difference > 0 else (pair.second, pair.first)
            told.append(
                f"{better.model} with {pair.size:,} pictures: {points(abs(pair.difference))} more with augmentation "
                f"{better.augment} than with {worse.augment} (corrected p {p_text(pair.holm)})"
            )
    compared = sum(pair.first.augment != pair.second.augment and not math.isnan(pair.p) for pair in summary.pairs)
    if not compared:
        return []
    few = "; ".join(told) if len(told) <= MOST_NAMED else "they are in the table of tests"
    return [
        f"Augmentation: {len(told)} of {plural(compared, 'difference')} significant{': ' if told else ''}"
        f"{few if told else ''}."
    ]


def _split(summary: Summary) -> list[str]:
    """Return which entry has the largest and which the smallest bias² and variance, at the ends of the sizes."""
    told = []
    for size in sorted({min(summary.sizes), max(summary.sizes)}) if summary.sizes else ():
        here = [each for each in summary.decompositions if each.size == size]
        if len(here) > 1:
            told += [_ends(summary, here, "variance", lambda each: each.variance)]
            told += [_ends(summary, here, "bias²", lambda each: each.bias2)]
    return told


def _ends(summary: Summary, found: Sequence[Decomposition], name: str, part: Callable[[Decomposition], Part]) -> str:
    least, most = min(found, key=lambda each: part(each).value), max(found, key=lambda each: part(each).value)
    low, high = (
        f"{summary.labels[each.entry]} ({share(part(each).value)}{_within(part(each))})" for each in (least, most)
    )
    told = f"With {least.size:,} pictures the estimated {name} is largest for {high} and smallest for {low}"
    if math.isnan(part(least).high) or math.isnan(part(most).low):
        return f"{told}; fewer than three models do not tell how sure that is."
    return f"{told}{'.' if part(least).high < part(most).low else '; the intervals overlap.'}"


def _within(part: Part) -> str:
    return "" if math.isnan(part.low) else f", 95 % interval {share(part.low)} to {share(part.high)}"


def _shifted(summary: Summary) -> list[str]:
    """Return how many answers stay after a shift by one pixel, at the largest size."""
    size = max(summary.sizes, default=0)
    found = sorted((each for each in summary.at(size) if not math.isnan(each.shift)), key=lambda each: -each.shift)
    if not found:
        return []
    named = [
        f"{summary.labels[each.entry]} {share(each.shift)}"
        f"{'' if math.isnan(each.shift_half) else f' (± {100 * each.shift_half:.1f})'}"
        for each in found
    ]
    return [
        f"After a shift by one pixel the answer is the same, with {size:,} training pictures, for {', '.join(named)}."
    ]


def _caveats(summary: Summary) -> list[str]:
    """Return what was not compared, and what limits the rest."""
    told = []
    tests = sum(not math.isnan(pair.p) for pair in summary.pairs)
    if tests:
        told.append(
            f"Significant: the p-value, corrected for all {plural(tests, 'test')} of the study (Holm), is at most "
            f"{SIGNIFICANT:g}. Each interval is of one number by itself."
        )
    seeds = [score.seeds for score in summary.scores]
    fewest, most = min(seeds, default=0), max(seeds, default=0)
    if fewest == 1:
        told.append(
            "Where a model has one seed only, its interval is over test pictures alone and it is not tested: nothing "
            "is known of how far seeds spread."
        )
    if 2 <= most < FEW_SEEDS:
        told.append(
            f"{most} seeds say little of how far seeds spread; intervals are as wide as that demands, and differences "
            "that are real may not be significant."
        )
    if summary.missing:
        named = "; ".join(summary.missing[:MOST_NAMED])
        more = f"; and {len(summary.missing) - MOST_NAMED} more" if len(summary.missing) > MOST_NAMED else ""
        told.append(f"Not all that was asked for is there: {named}{more}.")
    if summary.edges > 0:
        told.append(
            f"The learning rate that was chosen is the smallest or the largest of those tried in "
            f"{summary.edges} of {len(summary.scores)} groups: a wider grid might do better there."
        )
    if any(each.share < 0.95 for each in summary.reached):
        told.append("The models did not spend the same training FLOPs: see the table at equal FLOPs.")
    return told
