"""The tables of a study: as they are read on the page, and with all digits in files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..inspection.results import Row
from .statistics import Summary

UNITS = {"(%)": 100, "(points)": 100, "TFLOPs": 1e-12}
"""unit in a head -> how many of it are one of what files have"""


@dataclass(frozen=True)
class Table:
    """Numbers of one kind."""

    name: str
    """of its CSV file, without ending"""
    caption: str
    heads: dict[str, str]
    """column -> what stands over it"""
    exact: Sequence[Row]
    """shares in 0..1"""
    shown: Sequence[Row]
    """the same for people: shares in per cent, differences in points"""
    filter: str = ""
    """column by which lines can be chosen"""
    open: bool = True

    def rows(self) -> list[Row]:
        """Return the lines with all digits, for CSV."""
        return list(self.exact)


def tables_of(summary: Summary) -> list[Table]:
    """Return the tables that have lines."""
    found = [_scores(summary), _pairs(summary), _crossings(summary), _reached(summary), _split(summary)]
    return [table for table in found if table.exact]


def _table(name: str, caption: str, heads: dict[str, str], exact: list[Row], **how: Any) -> Table:
    """Return a table whose numbers are read in the units that stand in its heads."""
    scales = {key: scale for key, head in heads.items() for unit, scale in UNITS.items() if unit in head}
    shown = [{key: scales[key] * row[key] if key in scales else row[key] for key in heads} for row in exact]
    return Table(name, caption, heads, exact, shown, **how)


def _scores(summary: Summary) -> Table:
    labels = summary.labels
    heads = {
        "pictures": "size", "model": "model", "top1": "right (%)", "low": "95 % from (%)", "high": "to (%)",
        "sd": "sd (points)", "n": "seeds", "lr": "learning rate", "flops": "training TFLOPs",
        "parameters": "parameters", "samples_seen": "samples seen", "shift_consistency": "same after 1 px (%)",
    }  # fmt: skip
    rows: list[Row] = [
        {
            "pictures": score.size, "model": labels[score.entry], "arm": score.entry.arm,
            "augment": score.entry.augment, "top1": score.mean, "sd": score.sd, "n": score.seeds, "low": score.low,
            "high": score.high, "lr": " ".join(f"{rate:g}" for rate in score.rates), "flops": score.flops,
            "parameters": score.parameters, "samples_seen": score.samples_seen, "shift_consistency": score.shift,
            "shift_half_interval": score.shift_half,
        }
        for size in summary.sizes
        for score in summary.at(size)
    ]  # fmt: skip
    return _table("scores", "Right answers, best first at each size", heads, rows, filter="pictures")


def _pairs(summary: Summary) -> Table:
    labels = summary.labels
    heads = {
        "pictures": "size", "first": "model", "second": "against",
        "difference": "difference (points)", "low": "95 % from (points)", "high": "to (points)",
        "significant": "significant", "p_corrected": "p corrected", "p": "p", "n": "seeds",
    }  # fmt: skip
    rows: list[Row] = [
        {
            "pictures": pair.size, "first": labels[pair.first], "second": labels[pair.second], "n": pair.seeds,
            "difference": pair.difference, "low": pair.low, "high": pair.high, "p": pair.p, "p_corrected": pair.holm,
            "significant": "not tested" if math.isnan(pair.p) else "yes" if pair.significant else "no",
        }
        for pair in summary.pairs
    ]  # fmt: skip
    caption = f"Paired tests, corrected for all {sum(not math.isnan(pair.p) for pair in summary.pairs)} of them (Holm)"
    return _table("pairs", caption, heads, rows, filter="pictures", open=len(rows) <= 40)


def _crossings(summary: Summary) -> Table:
    labels = summary.labels
    heads = {
        "before": "ahead at first", "after": "the other", "crossing": "crossing", "pictures": "at size",
        "low": "95 % from", "high": "to", "slope": "lead per tenfold (points)",
        "slope_half": "± (points)",
    }  # fmt: skip
    rows: list[Row] = [
        {
            "before": labels[each.before], "after": labels[each.after], "crossing": each.state, "pictures": each.size,
            "low": each.low, "high": each.high, "times": each.crossings, "from": each.sizes[0],
            "to": each.sizes[-1], "slope": each.slope, "slope_half": each.slope_half,
        }
        for each in summary.crossings
    ]  # fmt: skip
    return _table("crossings", "Crossings of learning curves", heads, rows)


def _reached(summary: Summary) -> Table:
    labels = summary.labels
    heads = {
        "pictures": "size", "model": "model", "n": "seeds", "budget": "training TFLOPs",
        "share": "of its training (%)", "val_top1": "right on validation (%)", "sd": "sd (points)",
    }  # fmt: skip
    rows: list[Row] = [
        {
            "pictures": each.size, "model": labels[each.entry], "n": each.seeds, "budget": each.budget,
            "share": each.share, "val_top1": each.val_top1, "sd": each.sd,
        }
        for each in summary.reached
    ]  # fmt: skip
    return _table("equal_flops", "At equal training FLOPs", heads, rows, filter="pictures")


def _split(summary: Summary) -> Table:
    labels = summary.labels
    heads = {
        "pictures": "size", "model": "model", "models": "models asked", "draw": "their pictures",
        "error": "wrong (%)", "bias2": "bias² (%)", "variance": "variance (%)", "majority_wrong": "majority wrong (%)",
        "leaving_costs": "leaving it costs (%)", "leaving_gains": "leaving it gains (%)",
    }  # fmt: skip
    rows: list[Row] = [
        {
            "pictures": each.size, "model": labels[each.entry], "models": each.models, "draw": each.draw,
            "error": each.error, "bias2": each.bias2.value, "bias2_low": each.bias2.low, "bias2_high": each.bias2.high,
            "variance": each.variance.value, "variance_low": each.variance.low, "variance_high": each.variance.high,
            "majority_wrong": each.majority_wrong, "leaving_costs": each.leaving_costs,
            "leaving_gains": each.leaving_gains,
        }
        for each in summary.decompositions
    ]  # fmt: skip
    return _table("split", "Bias and variance of wrong answers", heads, rows, filter="pictures", open=len(rows) <= 40)
