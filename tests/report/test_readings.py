"""What the exhibits say in words, against numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from patchwords.inspection.curves import Curves
from patchwords.inspection.distance import HeadDistances
from patchwords.report.attributions import _told as told_of_curves
from patchwords.report.finding import Bundle, figures_of, percent, plural
from patchwords.report.heads import layer_rows, numbers_of_heads, ordered_rows, told_of_heads


def heads(distance, uniform: float = 10.0) -> HeadDistances:
    distance = np.array(distance, np.float32)
    nothing = np.zeros_like(distance)
    return HeadDistances(distance, nothing, nothing, nothing, uniform, 2.0, 0.5, 0.8, 3, (4, 4), (4, 4))


def test_heads_are_counted_and_the_furthest_is_named():
    found = heads([[1, 6, 9], [4, 5, 6], [8.5, 9, 9.5]])
    says = told_of_heads(found)
    assert says[0].startswith("2 of 9 heads are local (below 50 % of uniform attention, 5 px), 4 are global")
    assert says[1] == "In layer 1 head 3 looks furthest, 9 px (90 % of uniform); head 1 looks nearest, 1 px."
    assert "from 5.33 to 9 px" in says[2]
    assert "it grows with depth" not in says[2] and "no clear trend" in says[2]  # 5.33, 5, 9: rank correlation 0.5
    assert [row["furthest_head"] for row in layer_rows(found)] == [3, 3, 3]
    assert [(row["layer"], row["head"]) for row in ordered_rows(found)][:4] == [(1, 3), (1, 2), (1, 1), (2, 3)]
    numbers = {each.name: each.value for each in numbers_of_heads(found)}
    assert numbers["local heads"] == 2 and numbers["global heads"] == 4
    assert numbers["furthest head of layer 1"] == pytest.approx(9)


def test_one_head_and_heads_that_see_no_patch():
    assert told_of_heads(heads([[3]]))[0].startswith("1 of 1 head is local")
    assert len(told_of_heads(heads([[3]]))) == 2
    assert "No head attends to patches at all" in told_of_heads(heads([[np.nan]]))[1]
    assert "it grows with depth (rank correlation 1)" in told_of_heads(heads([[1], [2]]))[2]
    assert "it falls with depth" in told_of_heads(heads([[3], [2]]))[2]


def curves(gain: float, pictures: int = 4) -> Curves:
    areas = np.full((2, pictures), 0.5, np.float32)
    deletion, insertion = areas.copy(), areas.copy()
    deletion[0] -= gain
    insertion[0] += gain
    steps = np.zeros((2, pictures, 3), np.float32)
    share = np.array([0, 0.5, 1], np.float32)
    return Curves(("grad_cam", "random"), share, steps, steps, deletion, insertion, np.zeros(pictures, int), 1)


def test_a_map_that_explains_nothing_is_called_so():
    assert "Grad cam explains most here" in told_of_curves(curves(0.2))[0]
    assert "do not trust these maps" in told_of_curves(curves(-0.1))[0]
    assert "do not trust these maps" in told_of_curves(curves(0.0))[0]
    assert told_of_curves(curves(0.2, pictures=1))[-1] == "With 1 picture that is a hint, no more."


def test_words():
    assert [figures_of(value) for value in (0.12345, 12.345, 12345.0, float("nan"))] == [
        "0.123",
        "12.3",
        "12,345",
        "no number",
    ]
    assert percent(0.256) == "25.6 %" and plural(1, "head") == "1 head" and plural(2, "head") == "2 heads"
    two = Bundle({"a": heads([[1]]), "b": heads([[2]])}, "who")
    assert [(row["who"], row["distance_px"]) for row in two.rows()] == [("a", 1), ("b", 2)]
