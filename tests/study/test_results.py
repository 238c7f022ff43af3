"""results.json, results.npz and results.csv: whole, the same bytes every time, and refused when they are damaged."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from patchwords.errors import CheckpointError, MissingError
from patchwords.study.results import Cell, Results, read_results
from tests.study import made

FILES = ("results.json", "results.npz", "results.csv")


@pytest.fixture
def small() -> Results:
    whole = made.study({"cnn": (0.5, 0.6), "vit": (0.4, 0.7)}, sizes=(10, 20), pictures=101)
    plain = made.cell("vit", 10, 0, np.arange(101) % 3 == 0, augment="strong", curve=[(8, float("nan"), 1.5)])
    return Results(whole.question, whole.classes, (plain, *whole.cells))


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_what_is_written_is_read_and_written_the_same(small, tmp_path):
    small.write(tmp_path)
    first = bytes_of(tmp_path)
    for where in (tmp_path, tmp_path / "results.json"):
        again = read_results(where)
        assert again == small
        for mine, theirs in zip(small.cells, again.cells, strict=True):
            assert (mine.correct == theirs.correct).all() and mine.test_top1 == theirs.test_top1
            assert (mine.votes is None) == (theirs.votes is None)
            assert mine.votes is None or (mine.votes == theirs.votes).all()
    again.write(tmp_path)
    assert bytes_of(tmp_path) == first


def test_the_order_of_cells_does_not_matter(small, tmp_path):
    for name, cells in (("a", small.cells), ("b", small.cells[::-1])):
        (tmp_path / name).mkdir()
        Results(small.question, small.classes, cells).write(tmp_path / name)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_the_table_has_a_line_for_each_cell(small, tmp_path):
    small.write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(rows) == len(small.cells) == 13
    for row, cell in zip(rows, small.cells, strict=True):
        assert (row["model"], int(row["size"]), int(row["seed"])) == (cell.model, cell.size, cell.seed)
        assert float(row["test_top1"]) == pytest.approx(cell.correct.mean(), abs=1e-8)
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["cells"][-1]["curve"] == [[8, None, 1.5]] and told["pictures"] == 101


def test_no_cells_yet(tmp_path):
    empty = Results({"models": ["vit"]}, ("a", "b"))
    empty.write(tmp_path)
    assert read_results(tmp_path) == empty and empty.pictures == 0


@pytest.mark.parametrize("classes", (2, 10, 256, 1000, 65_536))
def test_votes_of_any_number_of_classes(classes, tmp_path):
    votes = np.random.default_rng(0).integers(0, classes, 77)
    votes[0] = classes - 1
    Results({}, (), (made.cell("vit", 1, 0, votes == 0, votes=votes),)).write(tmp_path)
    assert (read_results(tmp_path).cells[0].votes == votes).all()


def test_cells_that_cannot_be_are_refused(small):
    with pytest.raises(ValueError, match="same model"):
        Results({}, (), (small.cells[0], small.cells[0]))
    with pytest.raises(ValueError, match="different pictures"):
        Results({}, (), (small.cells[0], made.cell("vit", 10, 9, np.ones(5))))
    for wrong in ({"arm": "else"}, {"draw": "else"}, {"votes": np.zeros(3)}):
        with pytest.raises(ValueError):
            made.cell("vit", 10, 0, np.ones(5), **wrong)


def test_damage_is_named_in_one_line(small, tmp_path):
    with pytest.raises(MissingError):
        read_results(tmp_path)
    small.write(tmp_path)
    good = bytes_of(tmp_path)
    told = json.loads(good["results.json"])
    damaged = {
        "results.npz": [good["results.npz"][:-1], b"", good["results.npz"].replace(b"votes", b"vetos")],
        "results.json": [b"{", b"[]", b"{}", json.dumps(told | {"version": 2}).encode(),
                         json.dumps(told | {"cells": told["cells"][1:]}).encode(),
                         json.dumps(told | {"cells": [{"model": 1}]}).encode(),
                         json.dumps(told | {"pictures": 10**9}).encode(),
                         json.dumps(told | {"pictures": "many"}).encode(),
                         json.dumps(told | {"cells": [each | {"curve": [1]} for each in told["cells"]]}).encode()],
    }  # fmt: skip
    for name, contents in damaged.items():
        for content in contents:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(CheckpointError) as caught:
                read_results(tmp_path)
            assert "\n" not in caught.value.line() and "results." in caught.value.line()
        (tmp_path / name).write_bytes(good[name])
    assert read_results(tmp_path) == small


def test_a_cell_is_equal_to_itself_alone(small):
    first = small.cells[0]
    same = Cell(**(first.as_dict() | {"correct": first.correct, "votes": first.votes}))
    other = Cell(**(first.as_dict() | {"correct": ~first.correct, "votes": first.votes}))
    assert first == same and first != other and first != "cell"
