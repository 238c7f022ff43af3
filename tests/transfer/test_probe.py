"""`patchwords probe` from end to end: on real digits, on odd data sets, twice, and every way to fail."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

import patchwords as pw
from patchwords import checkpoint
from patchwords.errors import ConfigError, DataError, NonFiniteError
from patchwords.transfer.examples import open_examples
from patchwords.transfer.few_shot import fit_ridge
from patchwords.use import probe
from tests.command_line import TINY, assert_one_line, call
from tests.conftest import draw_folder

QUICK = {"shots": (1, 3), "repeats": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on bars, dots and rings that has learned something."""
    work = tmp_path_factory.mktemp("probed")
    draw_folder(work / "pictures")
    answer = call("train", work / "pictures", "--out", work / "run", *TINY, "--train.steps=60")
    assert answer.code == 0, answer.err
    return work / "run"


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def changed_model(run: Path, to: Path, change) -> Path:
    """Copy the model folder with `change` done to its tensors, hashes and all."""
    shutil.copytree(run / "model", to)
    contents = {path.name: path.read_bytes() for path in to.iterdir() if path.name != "manifest.json"}
    tensors = safetensors.torch.load(contents[checkpoint.WEIGHTS])
    change(tensors)
    contents[checkpoint.WEIGHTS] = safetensors.torch.save(tensors)
    checkpoint.files.write_folder(to, contents)
    return to


def test_table_and_json(run, kept):
    command = ("probe", run, run.parent / "pictures", "--shots", "5,1,all", "--repeats", 4)
    answer = call(*command)
    assert answer.code == 0, answer.err
    table = [line.split() for line in answer.out.splitlines()]
    assert table[0] == ["shots", "pictures", "ridge", "kNN", "weighted", "kNN", "majority", "logistic"]
    assert [row[:2] for row in table[1:4]] == [["1", "3"], ["5", "15"], ["all", "42"]]
    assert [row.count("+-") for row in table[1:4]] == [4, 4, 0]
    assert "of 12 test pictures in 3 classes" in answer.out and "over 4 draws" in answer.out
    assert "fp32 on " in answer.err and len(list(kept.iterdir())) == 2
    told = call(*command, "--json").json()
    assert told["cached"] and told["classes"] == ["bar", "dot", "ring"] and told["num_features"] == 16
    for row, line in zip(told["rows"], table[1:4], strict=True):
        assert len(row["ridge"]["repeats"]) == len(row["ridge_l2"]) == (1 if row["shots"] == "all" else 4)
        assert f"{100 * row['ridge']['mean']:.2f}" == line[2]
    assert told["rows"][2]["ridge"]["half_interval"] is None and told["seen_in_training"] == 0


def test_result_written_out(run):
    """Features by hand from the loaded model, the splits of the run, and the ridge on all of them."""
    pictures = run.parent / "pictures"
    result = probe(run, pictures, shots=("all",), l2=4.0)
    from patchwords.data.evaluation import labelled_of_run
    from patchwords.transfer.axes import find_axes

    loaded, values, labels = pw.load(run), {}, {}
    for split in ("train", "test"):
        chosen = labelled_of_run(run, loaded.preprocess, loaded.classes, split)
        record = {}
        loaded.model(loaded.preprocess.normalize(next(chosen.batches(100))), record)
        values[split], labels[split] = record["features"].detach().numpy(), chosen.labels
    fitted = fit_ridge(find_axes(values["train"]), labels["train"], 3, 4.0)
    right = (fitted.scores(values["test"]).argmax(axis=1) == labels["test"]).mean()
    assert result.rows[0].ridge.repeats == (right,) and result.rows[0].ridge_l2 == (4.0,)
    assert (result.num_train, result.num_measured) == (len(labels["train"]), len(labels["test"]))


def test_same_seed_same_answer_and_more_shots_do_not_move_fewer(run):
    pictures = run.parent / "pictures"
    few, more = probe(run, pictures, **QUICK), probe(pw.load(run), pictures, shots=(1, 2, 3), repeats=3, cache=False)
    assert few.rows == (more.rows[0], more.rows[2])
    assert probe(run, pictures, **QUICK, seed=1).rows != few.rows
    assert probe(run, pictures, **QUICK).cached


def test_other_classes_splits_and_names(run, tmp_path):
    """Names and order of files do not matter; val can be measured on; fractions and seed are those of `train`."""
    strange = draw_folder(tmp_path / "strange", ("elk", "yak"), per_class=15)
    first = probe(run, strange, **QUICK)
    assert first.classes == ("elk", "yak") and first.num_measured == 6 and first.num_train == 22
    for number, path in enumerate(sorted(strange.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"x{number}.png"))
    assert [row.ridge.repeats for row in probe(run, strange, **QUICK).rows] == [row.ridge.repeats for row in first.rows]
    on_val = probe(run, strange, **QUICK, split="val", data__val_fraction=0.4)
    assert on_val.split == "val" and on_val.num_measured == 10
    with pytest.raises(ConfigError, match="cannot measure on 'train'"):
        probe(run, strange, split="train")


def test_few_pictures(run, tmp_path, capsys):
    """Fewer pictures than shots are told; fewer pictures in all than classes is no trouble."""
    small = draw_folder(tmp_path / "small", ("a", "b", "c"), per_class=4)
    for path in sorted((small / "b").iterdir())[2:]:
        path.unlink()
    answer = call("probe", run, small, "--shots", "1,2,50", "--repeats", 2)
    assert answer.code == 0, answer.err
    assert "2 shots: 1 classes have fewer, all of theirs are used: b" in answer.out
    assert "50 shots: 3 classes have fewer" in answer.out and "\n1 shots" not in answer.out
    many = draw_folder(tmp_path / "many", tuple("abcdefghijklmnopqrst"), per_class=2)
    result = probe(run, many, shots=(1,), repeats=2, data__val_fraction=0.0)
    assert result.num_train == result.rows[0].num_pictures == 20 and len(result.classes) == 20


def test_measured_pictures_that_the_model_was_trained_on_are_told(run):
    pictures = run.parent / "pictures"
    answer = call("probe", run, pictures, "--shots", 1, "--repeats", 2, "--data.split_seed", 5, "--json")
    learned = {row[2] for row in json.loads((run / "data.json").read_text())["pictures"] if row[4] == "train"}
    examples = open_examples(str(pictures), "test", {"data.split_seed": "5"})
    seen = len(learned & set(examples.hashes(examples.measured)))
    assert 0 < seen < 12 and answer.json()["seen_in_training"] == seen
    assert f"warning: the checkpoint was trained on {seen} of the 12 pictures" in answer.err
    assert probe(run / "model", pictures, shots=(1,), data__split_seed=5).seen_in_training == 0  # nobody knows


def test_splits_are_those_of_the_run_on_its_own_data(run, tmp_path):
    pictures = run.parent / "pictures"
    chosen = ("--data.split_seed=7", "--data.test_fraction=0.3", "--train.steps=2")
    assert call("train", pictures, "--out", tmp_path / "other", *TINY, *chosen).code == 0
    result = probe(tmp_path / "other", pictures, **QUICK)
    assert (result.num_measured, result.seen_in_training) == (18, 0)
    assert probe(tmp_path / "other", pictures, **QUICK, data__test_fraction=0.2).num_measured == 12


def test_a_changed_picture_weight_or_size_is_computed_again(run, tmp_path, kept):
    pictures = shutil.copytree(run.parent / "pictures", tmp_path / "pictures")
    assert not probe(run, pictures, **QUICK).cached and probe(run, pictures, **QUICK).cached
    data = (pictures / "bar/00.png").read_bytes()
    (pictures / "bar/00.png").write_bytes(data + b"x")
    assert not probe(run, pictures, **QUICK).cached and probe(run, pictures, **QUICK).cached

    def nudge(tensors):
        tensors["blocks.0.mlp.fc1.weight"][0, 0] += 1

    other = changed_model(run, tmp_path / "other", nudge)
    assert not probe(other, pictures, **QUICK).cached
    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    answer = call("probe", run, pictures, "--shots", "1,3", "--repeats", 3, "--json")
    assert answer.err.count("is damaged; its features are computed again") == 2 and not answer.json()["cached"]


def test_no_cache_and_a_cache_that_cannot_be(run, tmp_path, kept, monkeypatch):
    pictures = run.parent / "pictures"
    assert call("probe", run, pictures, "--shots", 1, "--no-cache").code == 0 and not kept.exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "file"))
    answer = call("probe", run, pictures, "--shots", 1)
    assert answer.code == 0 and answer.err.count("features are not kept") == 1


def test_faults_are_one_line(run, tmp_path):
    pictures = run.parent / "pictures"
    one = draw_folder(tmp_path / "one", ("only",), per_class=4)
    single = draw_folder(tmp_path / "single", ("a", "b"), per_class=1)
    (tmp_path / "empty").mkdir()

    def blow_up(tensors):
        tensors["norm.weight"][:] = float("inf")

    broken = changed_model(run, tmp_path / "broken", blow_up)
    for code, words, arguments in [
        (2, ("--shots", "'x'"), (run, pictures, "--shots", "1,x")),
        (2, ("--shots",), (run, pictures, "--shots", "0")),
        (2, ("--shots",), (run, pictures, "--shots", "")),
        (2, ("--repeats",), (run, pictures, "--repeats", 0)),
        (2, ("--neighbours",), (run, pictures, "--neighbours", 0)),
        (2, ("--temperature",), (run, pictures, "--temperature", "nan")),
        (2, ("--l2",), (run, pictures, "--l2", -1)),
        (2, ("--split", "val"), (run, pictures, "--split", "vall")),
        (2, ("--precision", "bf16"), (run, pictures, "--precision", "bf61")),
        (2, ("data.image_size", "data.split_seed"), (run, pictures, "--data.image_size", "64,64")),
        (2, ("train.epochs",), (run, pictures, "--train.epochs", "3")),
        (65, ("one class only",), (run, one)),
        (65, ("no pictures to measure on",), (run, single)),
        (65, ("no pictures in it",), (run, tmp_path / "empty")),
        (65, ("are not finite numbers",), (broken, pictures)),
        (66, ("no such file",), (run, tmp_path / "nowhere")),
        (66, ("no such file",), (tmp_path / "nowhere", pictures)),
    ]:
        assert_one_line(call("probe", *arguments), code, *words)
    with pytest.raises(ConfigError, match="shotz.*Did you mean shots"):
        probe(run, pictures, shotz=3)
    with pytest.raises(DataError, match="one class only"):
        probe(run, one)
    with pytest.raises(NonFiniteError):
        probe(broken, pictures)


@pytest.mark.slow
def test_real_digits(tmp_path):
    """Digits, by what a model learned of digits: ten pictures of each are nearly enough."""
    assert call("train", "digits", "--out", tmp_path / "run", "--train.steps", 300).code == 0
    result = probe(tmp_path / "run", "digits", shots=(1, 10, "all"), repeats=5)
    one, ten, every = (row.ridge.mean for row in result.rows)
    assert one > 0.8 and ten > 0.9 and every > 0.94 and np.isfinite(result.rows[0].ridge.half)
