"""`inspect RUN --over-time`: the numbers written are those stored; what is damaged or no such run gets an answer."""

import csv
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from patchwords.errors import CheckpointError
from patchwords.report.over_time import look_over_time
from patchwords.report.watched import FOLDER, PROBES, read_watched
from patchwords.training import Request, train
from tests.command_line import TINY, assert_one_line, call
from tests.conftest import draw_folder

STEPS = [0, 3, 6, 8, 10]
"""looks of ten steps, 2.625 in an epoch"""
DRAWN = {
    "training", "answers_over_time", "rollout_over_time", "attention_over_time_1", "attention_over_time_2",
    "distance_over_time", "filters_over_time", "filter_numbers_over_time", "positions_over_time",
}  # fmt: skip
TABLES = {
    "training", "answers_over_time", "rollout_over_time", "attention_over_time", "distance_over_time",
    "filters_over_time", "positions_over_time",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps, looked at after each epoch; one class has a name that is a tag."""
    root = tmp_path_factory.mktemp("over-time")
    pictures = draw_folder(root / "pictures", ("<b>bar", "dot", "ring"))
    settings = {
        **dict(option.removeprefix("--").split("=") for option in TINY), "train.steps": "10", "train.batch_size": "16",
        "model.depth": "2", "train.log_steps": "1", "train.watch_epochs": "1", "train.watch_pictures": "3",
    }  # fmt: skip
    train(Request(str(pictures), settings=settings), root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def out(run: Path) -> Path:
    look_over_time(run, run.parent / "out")
    return run.parent / "out"


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def lines(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_table_and_array_is_written(out):
    assert {path.stem for path in out.glob("*.png")} == {path.stem for path in out.glob("*.svg")} == DRAWN
    assert {path.stem for path in out.glob("*.csv")} == {path.stem for path in out.glob("*.npz")} == TABLES
    assert json.loads((out / "index.json").read_text())["looks"] == STEPS


def test_numbers_are_those_stored(run, out):
    stored = [np.load(run / FOLDER / f"step-{step:09d}.npz") for step in STEPS]
    names = {
        "answers_over_time": {"probability": "probability"},
        "rollout_over_time": {"maps": "rollout"},
        "attention_over_time": {"maps": "attention"},
        "distance_over_time": {name: name for name in ("distance_px", "entropy_nats", "prefix_share", "uniform_px")},
        "filters_over_time": {name: name for name in ("components", "explained_share", "roughness")},
    }
    for file, fields in names.items():
        written = np.load(out / f"{file}.npz")
        assert written["steps"].tolist() == STEPS
        for mine, theirs in fields.items():
            want = np.stack([look[theirs] for look in stored])
            want = want[0] if theirs == "uniform_px" else want
            assert np.array_equal(written[mine], want, equal_nan=True), (file, mine)
    positions = np.load(out / "positions_over_time.npz")
    for number, name in enumerate(positions["names"].tolist()):
        want = [float(look[f"position.{name}"]) for look in stored]
        np.testing.assert_array_equal(positions["values"][:, number], want)


def test_tables_say_the_same_as_arrays(out):
    arrays = np.load(out / "rollout_over_time.npz")
    for row in lines(out / "rollout_over_time.csv"):
        place = (STEPS.index(int(row["step"])), *(int(row[name]) - 1 for name in ("picture", "row", "column")))
        assert np.float32(row["rollout_share"]) == arrays["maps"][place]
        assert float(row["epoch"]) == pytest.approx(arrays["epochs"][place[0]])
    maps = np.load(out / "attention_over_time.npz")["maps"]
    for row in lines(out / "attention_over_time.csv"):
        one = maps[STEPS.index(int(row["step"])), int(row["layer"]) - 1, int(row["picture"]) - 1]
        assert np.float32(row["peak_share"]) == one.max() == one[int(row["peak_row"]) - 1, int(row["peak_column"]) - 1]


def test_training_is_metrics_jsonl(run, out):
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = lines(out / "training.csv")
    assert len(rows) == len(log)
    for row, line in zip(rows, log, strict=True):
        assert {name: float(text) for name, text in row.items() if text} == pytest.approx(line)


def test_answers_in_words(run):
    answers = look_over_time(run).results["answers_over_time"]
    for picture, first in enumerate(answers.settled.tolist()):
        right = answers.right[:, picture].tolist()
        assert first == next((n for n in range(len(right)) if all(right[n:])), -1)
    assert np.array_equal(
        answers.of_label[2], [answers.probability[2, n, label] for n, label in enumerate(answers.labels)]
    )


def test_page_needs_nothing_and_escapes_names(out):
    page = (out / "report.html").read_text()
    assert "default-src 'none'" in page and "<b>bar" not in page and "&lt;b&gt;bar" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    for name in ("training", "answers", "looking", "distance", "filters", "position"):
        assert f'<section id="{name}">' in page


def test_command_line(run, tmp_path):
    answer = call("inspect", run, "--over-time", "--out", tmp_path / "out")
    assert answer.code == 0 and "report.html" in answer.out and "The loss went from" in answer.out
    told = call("inspect", run, "--over-time", "--out", tmp_path / "out", "--json").json()
    assert told["looks"] == STEPS and not told["hint"] and len(told["exhibits"]) == 6


def test_unwatched_run_says_how_and_draws_its_curves(run, tmp_path):
    shutil.rmtree(copied(run, tmp_path / "run") / FOLDER)
    answer = call("inspect", tmp_path / "run", "--over-time", "--out", tmp_path / "out")
    assert answer.code == 0 and "--train.watch_epochs" in answer.out
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"training.png"}
    assert "--train.watch_epochs" in (tmp_path / "out" / "report.html").read_text()


def test_what_is_no_run_or_cannot_be_asked(run, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    assert_one_line(call("inspect", tmp_path / "other", "--over-time"), 2, "no run folder", "patchwords train")
    assert_one_line(call("inspect", tmp_path / "none", "--over-time"), 66, "no such folder")
    assert_one_line(call("inspect", run, "--over-time", "--out", tmp_path / "other"), 73, "inspect did not write")
    for option in ("--only=lens", "--pictures=3", "--image-size=16", "--live"):
        assert_one_line(call("inspect", run, "--over-time", option), 2, "has no effect")


def test_damaged_look_is_named_and_left_out(run, tmp_path):
    work = copied(run, tmp_path / "run")
    (work / FOLDER / "step-000000006.npz").write_bytes((work / FOLDER / "step-000000006.npz").read_bytes()[:900])
    shutil.copy(work / FOLDER / "step-000000003.npz", work / FOLDER / "step-000000004.npz")
    answer = call("inspect", work, "--over-time", "--out", tmp_path / "out")
    assert answer.code == 65 and len(answer.errors) == 2
    assert "step-000000004.npz" in answer.errors[0] and "step-000000006.npz" in answer.errors[1]
    assert np.load(tmp_path / "out" / "rollout_over_time.npz")["steps"].tolist() == [0, 3, 8, 10]


def test_any_flipped_byte_is_found_or_harmless(run, tmp_path):
    work, draws = copied(run, tmp_path / "run"), random.Random(0)
    for name in ("step-000000006.npz", PROBES):
        path = work / FOLDER / name
        whole = path.read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
            path.write_bytes(data[: draws.randrange(len(data))] if draws.random() < 0.2 else data)
            try:
                found = read_watched(work)
            except CheckpointError as fault:
                assert name == PROBES and PROBES in fault.line()
                continue
            assert len(found.looks) + len(found.faults) == len(STEPS)
        path.write_bytes(whole)


def test_log_that_is_being_written_and_log_that_is_damaged(run, tmp_path):
    log = copied(run, tmp_path / "run") / "metrics.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"step": 11, "epo')
    assert len(look_over_time(tmp_path / "run").log) == len(whole.splitlines())
    log.write_bytes(whole + b"[]\n")
    with pytest.raises(CheckpointError, match=rf"line {len(whole.splitlines()) + 1} is damaged"):
        look_over_time(tmp_path / "run")
