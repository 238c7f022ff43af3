"""Loading: every side is checked before it is timed, and one that gives something else has no figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.bench import load
from patchwords.preprocess import Preprocess

SIZES = {"pictures": 64, "small_pictures": 1024}


@pytest.fixture(autouse=True)
def without_photographs(monkeypatch):
    monkeypatch.delenv("PATCHWORDS_DATA", raising=False)


def sides(rows):
    return {(row.case, row.side): row for row in rows}


@pytest.mark.parametrize("peers", [False, True])
def test_every_side_makes_the_pictures_of_pillow(peers, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "webdataset", None)  # as if it were not installed
    rows = load.measure_load(2, peers, **SIZES)
    assert all(row.passed and len(row.seconds) == 2 and row.count >= 64 for row in rows), rows
    ours = [row for row in rows if row.side.startswith("patchwords")]
    assert len({row.case for row in ours}) == 5
    assert len(rows) - len(ours) == (7 if peers else 0)
    assert ("webdataset is left out" in capsys.readouterr().err) == peers


def test_photographs_have_edges_that_drawn_pictures_lack(shared_data, monkeypatch):
    monkeypatch.setenv("PATCHWORDS_DATA", str(shared_data))
    rows = load.measure_load(1, True, **SIZES)
    assert all(row.passed for row in rows), rows


def test_a_picture_may_be_that_of_any_reference_and_nothing_between():
    ones, zeros = torch.full((2, 4), 9.0), torch.zeros(2, 4)
    case = load.Case("", 2, (ones, zeros), 2.0)
    case.add("both", torch.stack([ones[0], zeros[1]]), int)
    case.add("between", torch.tensor([[9.0, 9.0, 0.0, 0.0]] * 2), int)
    assert list(case.rounds) == ["both"]


def test_webdataset_reads_our_shards(tmp_path):
    """Its pictures, in their order, are those of our loader."""
    pytest.importorskip("webdataset")
    load.write_pictures(tmp_path / "pictures", 64)
    with load.ExitStack() as opened:
        options = load.PackOptions(resize=256, raw=True, shard_size=4)
        case = load._photographs(tmp_path / "pictures", options, True, opened)
        assert any(side.startswith("webdataset") for side in case.rounds)


def test_a_side_that_resizes_otherwise_has_no_figure(monkeypatch):
    monkeypatch.setattr(load, "Preprocess", lambda: Preprocess(interpolation="bilinear"))
    rows = load.measure_load(1, **SIZES)
    wrong = [row for row in rows if not row.passed]
    assert len(wrong) == 4 and not any(row.seconds for row in wrong)


def test_a_missing_batch_is_noticed():
    case = load.Case("", 3, (torch.zeros(3, 2),), 0.0)
    case.add("short", torch.zeros(2, 2), int)
    case.add("whole", torch.zeros(3, 2), int)
    assert list(case.rounds) == ["whole"] and np.isnan(case.checks["short"][0].error)
