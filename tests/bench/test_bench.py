"""Bench: sides take turns, a side that fails its check has no figure, the command prints JSON."""

from __future__ import annotations

import json

import pytest

from patchwords.bench import infer, step
from patchwords.bench.timing import Check, alternate
from patchwords.cli import main

TINY = ["--batch-size", "2", "--rounds", "2", "--json"]


def test_sides_take_turns() -> None:
    order: list[str] = []
    seconds = alternate({name: lambda name=name: order.append(name) for name in "abc"}, 3)
    assert "".join(order) == "abcabcabc" and {len(s) for s in seconds.values()} == {3}


def test_not_a_number_fails_a_check() -> None:
    assert not Check("", float("nan"), 1.0).passed and Check("", 1.0, 1.0).passed


@pytest.mark.parametrize("what,rows", [("step", 1), ("infer", 2)])
def test_the_command_prints_checked_figures(what: str, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", what, *TINY]) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    assert len(found) == rows
    assert all(row["passed"] and 0 < row["least"] <= row["median"] and row["of_peak"] > 0 for row in found)


def test_a_failed_check_is_exit_code_3_without_figure(monkeypatch, capsys) -> None:
    monkeypatch.setattr(step, "LOSS_BOUND", -1.0)
    assert main(["bench", "step", *TINY]) == 3
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert not row["passed"] and "least" not in row and "of_peak" not in row
    assert infer.BOUNDS
