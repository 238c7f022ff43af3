"""Promises of the audit: the paper's table 6 within 2 %, the claims that its tables bear out and those they do not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from patchwords.cost import audit, paper
from patchwords.cost.audit import Row, audit_table, pretraining_exaflops, vit_exaflops

ROWS = audit.audit()


def rows(number: str) -> list[Row]:
    return [row for row in ROWS if row.number == number]


def test_table_6_within_two_percent() -> None:
    found = {row.label: pretraining_exaflops(row) for row in paper.VITS}
    # 6 x multiply-adds x 303 million x epochs, computed by hand from the sizes of table 1
    by_hand = [56.1, 223.5, 195.7, 783.3, 1566.7, 4258]
    assert list(found.values()) == pytest.approx(by_hand, rel=1e-3)
    assert all(row.met for row in rows("P-07")) and len(rows("P-07")) == 6
    assert max(abs(row.difference) for row in rows("P-07")[1:]) < 0.003
    assert 0.020 < rows("P-07")[0].difference < 0.0201  # B/32: 56.10, where "55" may be up to 55.5


def test_what_is_met_and_what_is_not() -> None:
    missed = [(row.number, row.what.partition(":")[0]) for row in ROWS if not row.met]
    assert {number for number, _ in missed} == {"P-08"}
    assert {row.number for row in ROWS} == {"P-01", "P-07", "P-08", "P-09", "P-34", "P-35", "P-36", "P-37"}


def test_compute_of_resnets_by_both_readings() -> None:
    mean = [row.ours for row in rows("P-08") if row.what.endswith("mean of 5 sets")]
    imagenet = [row.ours for row in rows("P-08") if row.what.endswith("ImageNet alone")]
    assert mean == pytest.approx([3.46, 5.86, 4.45], abs=0.01)
    assert (min(imagenet), max(imagenet)) == pytest.approx((1.72, 2.45), abs=0.01)


def test_hybrids_pay_while_they_are_small() -> None:
    assert [row.ours for row in rows("P-09")] == pytest.approx([0.54, 0.49, 0.72, 0.99, 1.28], abs=0.01)


def test_the_mean_of_five_sets_is_that_of_table_7() -> None:
    means = {row.label: row.mean for row in paper.RESNETS}
    assert means["ResNet50x1, 7 epochs"] == pytest.approx(89.33, abs=0.005)
    assert means["ResNet152x2, 7 epochs"] == pytest.approx(94.01, abs=0.005)


def test_the_cost_of_an_equal_vit_is_read_between_two() -> None:
    def imagenet(row: paper.Scaled) -> float:
        return row.imagenet

    assert vit_exaflops(80.73, imagenet) == pytest.approx(55)
    assert vit_exaflops((84.37 + 86.30) / 2, imagenet) == pytest.approx((196 * 783) ** 0.5)  # B/16 is dearer and worse
    assert vit_exaflops(80.0, imagenet) is None and vit_exaflops(89.0, imagenet) is None


def test_other_figures() -> None:
    (days,) = rows("P-35")
    assert days.ours == 28.75
    assert [row.ours for row in rows("P-34")] == pytest.approx([77.6, 76.3, 72.7], abs=0.05)
    assert [row.ours for row in rows("P-36")] == [49, 196]
    patches, at_224, at_384, ratio = rows("P-37")
    assert (patches.ours, round(at_224.ours, 2), round(at_384.ours, 2)) == (576, 17.56, 55.48)
    assert ratio.ours == pytest.approx(3.16, abs=0.005)


def test_a_figure_outside_is_not_met() -> None:
    row = rows("P-07")[3]
    assert dataclasses.replace(row, ours=row.paper * 1.03).met is False


def test_the_table_has_every_row_and_says_what_is_not_met() -> None:
    lines = audit_table()
    assert sum(line.startswith("P-") and line.endswith((" yes", " NO")) for line in lines) == len(ROWS)
    assert sum(line.endswith(" NO") for line in lines) == 5
    assert f"{len(ROWS) - 5} of {len(ROWS)} met" in lines
    assert json.loads(json.dumps([row.as_dict() for row in ROWS], allow_nan=False))[0]["met"] is True
