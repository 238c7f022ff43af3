"""Predict and evaluate: every kind of input, in order; classes matched by name; three lines of Python."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import patchwords as pw
from patchwords.errors import ConfigError, DataError, MissingError
from patchwords.use import evaluate, predict
from tests.command_line import TINY, call
from tests.conftest import draw_folder

CLASSES = ("bar", "dot", "ring")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("made")
    draw_folder(work / "pictures", CLASSES, per_class=20)
    answer = call("train", work / "pictures", "--out", work / "run", *TINY, "--train.steps=60")
    assert answer.code == 0, answer.err
    with zipfile.ZipFile(work / "some.zip", "w") as archive, tarfile.open(work / "some.tar", "w") as tape:
        for number in range(3):
            name = f"bar/{number:02d}.png"
            archive.write(work / "pictures" / name, name)
            tape.add(work / "pictures" / name, name)
    return work / "run"


def names(answer) -> list[str]:
    return [row["path"] for row in answer.json()]


def test_three_lines(run):
    model, classes, preprocess = pw.load(run)
    pixels = preprocess.pixels((run.parent / "pictures/dot/01.png").read_bytes())
    probabilities = model(preprocess.normalize(pixels[None])).detach().softmax(-1)[0]
    assert classes == CLASSES and probabilities.shape == (3,) and not model.training
    label, share = pw.load(run).predict(run.parent / "pictures/dot/01.png")[0][0]
    assert (
        share == pytest.approx(float(probabilities.max()), abs=1e-6) and label == classes[int(probabilities.argmax())]
    )
    assert pw.load(run).predict([]) == []
    with pytest.raises(MissingError, match=r"no_such.png"):
        pw.load(run).predict(["no_such.png"])


def test_predict_files_folders_archives_and_a_list_in_order(run):
    root = run.parent
    one, two = root / "pictures/ring/05.png", root / "pictures/bar/00.png"
    answer = call("predict", run, one, root / "some.zip", "-", root / "some.tar", root / "pictures/dot", two, "--json",
                  stdin=f"{two}\n{one}\n".encode())  # fmt: skip
    assert answer.code == 0, answer.err
    found = names(answer)
    assert found[0] == str(one) and found[4:6] == [str(two), str(one)] and found[-1] == str(two)
    assert (
        [Path(name).name for name in found[1:4]] == [Path(n).name for n in found[6:9]] == ["00.png", "01.png", "02.png"]
    )
    assert found[9:29] == [str(root / f"pictures/dot/{number:02d}.png") for number in range(20)] and len(found) == 30
    rows = answer.json()
    assert rows[1]["labels"] == rows[4]["labels"] == rows[6]["labels"] == rows[-1]["labels"]  # the same picture
    for row in rows:
        shares = [entry["probability"] for entry in row["labels"]]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
        assert {entry["class"] for entry in row["labels"]} == set(CLASSES)


def test_top(run):
    picture = run.parent / "pictures/dot/01.png"
    for top, count in ((1, 1), (2, 2), (50, 3)):
        assert len(call("predict", run, picture, "--top", top, "--json").json()[0]["labels"]) == count
    line = call("predict", run, picture, "--top", 1).out
    assert line.startswith(f"{picture}: ") and line.endswith(" %\n") and line.count("%") == 1
    with pytest.raises(ConfigError, match="--top"):
        list(predict(run, [picture], top=0))


def test_batches_do_not_change_answers(run):
    paths = [run.parent / "pictures"]
    whole, single = (list(predict(run, paths, batch_size=size)) for size in (64, 1))
    assert [p.path for p in whole] == [p.path for p in single] and len(whole) == 60
    for a, b in zip(whole, single, strict=True):
        assert dict(a.labels) == pytest.approx(dict(b.labels), abs=1e-5)


def test_what_is_not_there_is_told_in_its_place(run, tmp_path):
    good = run.parent / "pictures/dot/01.png"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    shutil.copy(run.parent / "some.zip", tmp_path / "cut.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cut.zip").read_bytes()[:300])
    bad = [tmp_path / "nowhere.png", tmp_path / "text.txt", tmp_path / "cut.zip"]
    answer = call("predict", run, good, *bad, good, "--json")
    assert answer.code == 65 and names(answer)[0] == names(answer)[-1] == str(good)
    told = [row["error"] for row in answer.json() if "error" in row]
    assert len(told) == 3 and all(row["what"] and row["where"] for row in told)
    assert f"{len(told)} pictures could not be read" in answer.err


def test_eval_of_the_run_itself(run):
    answer = call("eval", run, "--json")
    told = answer.json()
    assert answer.code == 0 and type(told["correct"]) is type(told["total"]) is int
    assert {"correct", "total", "top1", "top5", "ece", "classes", "confusion", "per_class", "mistakes"} <= told.keys()
    assert told["total"] == 12 and told["classes"] == list(CLASSES) and told["top1"] == told["correct"] / 12
    assert sum(map(sum, told["confusion"])) == 12 and [row["support"] for row in told["per_class"]] == [4, 4, 4]
    recorded = json.loads((run / "eval.json").read_text())
    for split, total in (("test", 12), ("val", 6)):
        again = call("eval", run, "--split", split, "--json").json()
        assert again == recorded[split] and again["total"] == total
    assert call("eval", run, "--split", "all", "--json").json()["total"] == 60
    table = call("eval", run).out
    assert "top-1" in table and "confusion" in table and all(name in table for name in CLASSES)


def test_every_picture_counts_once_whatever_the_batch(run):
    results = [evaluate(run, split="all", batch_size=size) for size in (1, 7, 60, 256)]
    assert {(r.correct, r.total, r.correct_top5) for r in results} == {(results[0].correct, 60, 60)}
    for result in results:
        np.testing.assert_array_equal(result.confusion, results[0].confusion)


def test_other_data_is_matched_by_name(run, tmp_path):
    """Missing, reordered and unknown classes: labels go by name; pictures of unknown classes count as wrong."""
    pictures = run.parent / "pictures"
    whole = evaluate(run, str(pictures), split="all")
    assert whole.total == 60 and whole.classes == CLASSES
    shutil.copytree(pictures / "ring", tmp_path / "some/ring")
    shutil.copytree(pictures / "dot", tmp_path / "some/aaa")  # sorts first, and is not known
    some = call("eval", run, tmp_path / "some", "--json")
    told = some.json()
    assert some.code == 0 and told["total"] == 40 and told["classes"] == list(CLASSES)
    assert told["correct"] == int(whole.confusion[2, 2]) and told["confusion"][2] == whole.confusion[2].tolist()
    assert told["confusion"][0] == told["confusion"][1] == [0, 0, 0]
    assert "20 pictures are of classes that the model does not know and count as wrong: aaa" in some.err
    zipped = evaluate(run, shutil.make_archive(str(tmp_path / "packed"), "zip", pictures), split="all")
    assert (zipped.correct, zipped.total) == (whole.correct, 60)
    with pytest.raises(DataError, match="no class that the model knows"):
        evaluate(run, str(draw_folder(tmp_path / "strange", ("elk", "yak"), 2)))


def test_pictures_changed_since(run, tmp_path):
    """A run's own measurement is over the pictures it had, or none: a changed one is named."""
    work = tmp_path / "work"
    shutil.copytree(run.parent / "pictures", work / "pictures")
    assert call("train", work / "pictures", "--out", work / "run", *TINY).code == 0
    (work / "pictures/dot/03.png").write_bytes((work / "pictures/bar/03.png").read_bytes())
    answer = call("eval", work / "run", "--split", "all")
    assert answer.code == 65 and "dot/03.png: was changed since the run began" in answer.errors[0]
    (work / "pictures/dot/03.png").unlink()
    assert "dot/03.png" in call("eval", work / "run").errors[0]


def test_train_from_python(run, tmp_path):
    settings = {
        argument.removeprefix("--").split("=")[0].replace(".", "__"): argument.split("=")[1] for argument in TINY
    }
    result = pw.train(run.parent / "pictures", tmp_path / "run", **settings | {"model__patch_size": (4, 4)})
    assert result.steps == 2 and result.evaluations["test"].total == 12
    with pytest.raises(ConfigError, match="train.stepz"):
        pw.train(run.parent / "pictures", tmp_path / "other", train__stepz=3)
