"""The paper's figures of compute against the cost formula: what it says, what we find, met or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..models.zoo import model_config
from . import paper
from .count import Cost, cost_of


@dataclass(frozen=True)
class Row:
    """One figure of the paper and ours."""

    number: str
    """of the claim, P-01 to P-37"""
    what: str
    """with its unit"""
    said: str
    """the paper's figure, as it is printed"""
    low: float
    """what still agrees with it"""
    high: float
    ours: float
    paper: float | None = None
    """the figure as a number; None: the paper gives a range or a tendency"""

    @property
    def met(self) -> bool:
        """Whether our figure agrees."""
        return self.low <= self.ours <= self.high

    @property
    def difference(self) -> float | None:
        """Our figure over the paper's less one; None: the paper gives no single figure."""
        return None if self.paper is None else self.ours / self.paper - 1

    def as_dict(self) -> dict[str, object]:
        """Return the row as JSON has it; a bound that does not exist is null."""
        bounds = {"low": self.low, "high": self.high if math.isfinite(self.high) else None}
        told: dict[str, object] = {"number": self.number, "what": self.what, "said": self.said, "ours": self.ours}
        return told | bounds | {"difference": self.difference, "met": self.met}


def audit() -> tuple[Row, ...]:
    """Return every audited figure: P-01, P-07, P-08, P-09, P-34, P-35, P-36 and P-37."""
    parts = (_parameters, _pretraining, _resnets, _hybrids, _vtab, _days, _hybrid_tokens, _resolution)
    return tuple(row for part in parts for row in part())


def _near(number: str, what: str, paper_figure: float, ours: float, share: float, rounding: float = 0.0) -> Row:
    """A figure that has to be met within a share of itself, beyond the `rounding` of what is printed."""
    slack = share * paper_figure + rounding
    return Row(number, what, f"{paper_figure:g}", paper_figure - slack, paper_figure + slack, ours, paper_figure)


def _cost(name: str, **options: object) -> Cost:
    return cost_of(model_config(paper.ZOO_NAMES[name], **options))


def _parameters() -> Iterator[Row]:
    """Table 1; L is 307 million in none of its sizes: 303.3 without a head, 304.3 with 1000 classes."""
    for name, millions in paper.TABLE_1.items():
        ours = _cost(name).parameters / 1e6
        yield _near("P-01", f"{name}: parameters with a head for 1000 classes, million", millions, ours, 0.012)


def pretraining_exaflops(row: paper.Scaled) -> float:
    """Return 10^18 operations of pre-training by our formula: 3 forward passes a picture, 303 million an epoch."""
    return _cost(row.name, num_classes=0).training_flops * paper.JFT_PICTURES * row.epochs / 1e18


def _pretraining() -> Iterator[Row]:
    """Table 6, whose figures are whole exaFLOPs."""
    for row in paper.VITS:
        what = f"{row.label}: pre-training, exaFLOPs"
        yield _near("P-07", what, row.exaflops, pretraining_exaflops(row), 0.02, rounding=0.5)


Accuracy = Callable[[paper.Scaled], float]
READINGS: dict[str, Accuracy] = {"the mean of 5 sets": lambda row: row.mean, "ImageNet alone": lambda row: row.imagenet}


def vit_exaflops(accuracy: float, of: Accuracy) -> float | None:
    """Return what pre-training a ViT costs that reaches `accuracy`, along the best ViTs of table 6.

    Between two of them the logarithm of the cost is taken as linear in the accuracy.

    Returns:
        10^18 operations; None outside of their accuracies.
    """
    front: list[paper.Scaled] = []
    for row in sorted(paper.VITS, key=lambda row: row.exaflops):
        if not front or of(row) > of(front[-1]):
            front.append(row)
    for lower, upper in zip(front, front[1:], strict=False):
        if of(lower) <= accuracy <= of(upper):
            share = (accuracy - of(lower)) / (of(upper) - of(lower))
            return lower.exaflops * (upper.exaflops / lower.exaflops) ** share
    return None


def _resnets() -> Iterator[Row]:
    """Sec. 4.4: ViT uses 2 to 4 times less compute for the same accuracy, mean over 5 sets."""
    for reading, of in READINGS.items():
        for row in paper.RESNETS:
            if vit := vit_exaflops(of(row), of):
                what = f"{row.label}: its compute over an equal ViT's, {reading}"
                yield Row("P-08", what, "2 to 4", 2.0, 4.0, row.exaflops / vit)


def _hybrids() -> Iterator[Row]:
    """Sec. 4.4: hybrids are slightly better at small budgets, and the difference vanishes for larger models."""
    of = READINGS["the mean of 5 sets"]
    for row in sorted(paper.HYBRIDS, key=lambda row: row.exaflops):
        if vit := vit_exaflops(of(row), of):
            small = row.exaflops < 500
            what = f"{row.label}: its compute over an equal ViT's, {'small' if small else 'large'}"
            said, low, high = ("below 1", 0.0, 1.0) if small else ("no gain", 0.95, math.inf)
            yield Row("P-09", what, said, low, high, row.exaflops / vit)


def _vtab() -> Iterator[Row]:
    """Table 9: the mean of 19 tasks."""
    for name, (scores, mean) in paper.TABLE_9.items():
        yield _near("P-34", f"{name}: mean of 19 VTAB tasks, %", mean, sum(scores) / len(scores), 0.0, rounding=0.05)


def _days() -> Iterator[Row]:
    """Sec. 4.2: about 30 days on 8 cores."""
    days = paper.CORE_DAYS_L16_I21K / 8
    yield _near("P-35", "ViT-L/16 on ImageNet-21k: days on 8 TPUv3 cores, of table 2", 30, days, 0.1)


def _hybrid_tokens() -> Iterator[Row]:
    """Sec. 4.1: a hybrid on stage 4, or with its layers in stage 3 for a sequence four times as long."""
    for depths, patches in (((3, 4, 6, 3), 49), ((3, 4, 9), 196)):
        config = model_config("vit_base_r50_s16_224", resnet_depths=depths)
        ours = cost_of(config).tokens - config.num_prefix_tokens
        yield _near("P-36", f"hybrid with {len(depths)} stages at 224: patches", patches, ours, 0.0)


def _resolution() -> Iterator[Row]:
    """Sec. 3.2: the same patch at a higher resolution is a longer sequence."""
    costs = {size: _cost("ViT-B/16", image_size=size) for size in paper.GMACS_B16}
    yield _near("P-37", "ViT-B/16 at 384: patches", 576, costs[384].tokens - 1, 0.0)
    for size, gmacs in paper.GMACS_B16.items():
        what = f"ViT-B/16 at {size}: 10^9 multiply-adds (listed for DeiT III)"
        yield _near("P-37", what, gmacs, costs[size].macs / 1e9, 0.01)
    said = paper.GMACS_B16[384] / paper.GMACS_B16[224]
    row = _near(
        "P-37", "ViT-B/16: cost at 384 over cost at 224", round(said, 2), costs[384].macs / costs[224].macs, 0.01
    )
    yield row


def audit_table() -> list[str]:
    """Return the audit as lines of text."""
    rows = audit()
    width = max(len(row.what) for row in rows)
    lines = [f"{'':<5} {'what':<{width}} {'paper':>8} {'ours':>9} {'differs':>8}  met"]
    for row in rows:
        differs = "" if row.difference is None else f"{row.difference:+.1%}"
        met = "yes" if row.met else "NO"
        lines.append(f"{row.number:<5} {row.what:<{width}} {row.said:>8} {_figure(row.ours):>9} {differs:>8}  {met}")
    missed = sorted({row.number for row in rows if not row.met})
    lines += ["", f"{sum(row.met for row in rows)} of {len(rows)} met"]
    if "P-08" in missed:
        ours = {
            name: [row.ours for row in rows if row.number == "P-08" and row.what.endswith(name)] for name in READINGS
        }
        spans = (f"{min(found):.2f} to {max(found):.2f} by {name}" for name, found in ours.items())
        lines.append(f"P-08: from table 6 itself it is {', '.join(spans)}; 2 to 4 lies between the readings.")
    lines.append("P-07 may differ by 2 % beyond the rounding of table 6 to whole exaFLOPs (B/32: 54.5 to 55.5).")
    return lines


def _figure(value: float) -> str:
    return (
        f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.2f}" if value < 100 else f"{value:.1f}"
    )
