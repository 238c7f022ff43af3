"""`patchwords tune`: each way end to end, what rests rests, kills change nothing, wrong questions get an answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import patchwords as pw
from patchwords import checkpoint
from patchwords.errors import ConfigError, DataError
from patchwords.models import create_model
from patchwords.preprocess import Preprocess
from patchwords.training.folder import START
from patchwords.transfer.ladder import Rung, best_of, falls, held_back
from tests.command_line import assert_one_line, call
from tests.conftest import draw_folder

WAYS = ("probe", "head", "lora", "last-1", "all")
TINY = {
    "model__dim": 16, "model__depth": 2, "model__num_heads": 2, "model__mlp_dim": 16, "train__steps": 30,
    "train__batch_size": 16, "train__tensorboard": False, "train__compile": "off", "train__threads": 1,
    "data__workers": 0,
}  # fmt: skip
QUICK = {
    "train__steps": 6, "train__tensorboard": False, "train__compile": "off", "train__threads": 1, "data__workers": 0,
    "transfer__range_check": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained model of three classes, `source`, and pictures of three others, `new`."""
    root = tmp_path_factory.mktemp("transfer")
    draw_folder(root / "old", ("a", "b", "c"))
    draw_folder(root / "new", ("dot", "line", "ring"))
    pw.train(str(root / "old"), root / "source", **TINY)
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))


def tuned(place: Path, out: Path, tune: str, **settings):
    return pw.tune(place / "source", str(place / "new"), out, tune=tune, **QUICK | settings)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(folder).model.state_dict()


def results(out: Path) -> dict[str, str]:
    names = ("metrics.jsonl", "eval.json", "config.yaml", "data.json", "model/manifest.json", "start/manifest.json")
    hashes = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    state = checkpoint.load_state(out)
    return hashes | ({"state": checkpoint.tensors_hash(state.tensors)} if state else {})


MOVES = {
    "probe": ("head.",),
    "head": ("head.",),
    "lora": ("head.", "attn.qkv.weight", "attn.proj.weight"),
    "last-1": ("head.", "blocks.1.", "norm."),
    "all": ("",),
}


@pytest.mark.parametrize(("way", "precision"), [*((way, "fp32") for way in WAYS), ("lora", "bf16"), ("last-1", "bf16")])
def test_each_way_moves_what_it_says(place: Path, tmp_path: Path, way: str, precision: str) -> None:
    result = tuned(place, tmp_path / "run", way, train__precision=precision)
    assert result.tune == way and result.steps == (0 if way == "probe" else 6)
    source, before, after = (weights_of(p) for p in (place / "source", tmp_path / "run" / START, tmp_path / "run"))
    assert before.keys() == after.keys() == set(create_model("vit_digits", depth=2).state_dict())
    for name, weight in after.items():
        moved = any(part in name if part.startswith("attn") else name.startswith(part) for part in MOVES[way])
        origin = source[name] if name.split(".")[0] != "head" else None
        assert origin is None or torch.equal(origin, before[name]), name
        if origin is not None:
            assert torch.equal(weight, origin) is not moved, name
    assert way == "probe" or not before["head.weight"].any()  # zero head (2010.11929, sec. 3.2)
    assert after["head.weight"].any()
    loaded = pw.load(tmp_path / "run")
    assert loaded.classes == ("dot", "line", "ring") and loaded.predict(place / "new" / "dot" / "00.png")
    assert loaded.preprocess == pw.load(place / "source").preprocess
    state = checkpoint.load_state(tmp_path / "run")
    if way != "probe":
        moving = {name.removeprefix("weights/") for name in state.tensors if name.startswith("weights/")}
        assert len(moving) < len(after) or way == "all"
        held = {name.split("/")[1] for name in state.tensors if name.startswith("optimizer/")}
        assert held == moving


def test_first_answer_of_a_zero_head_is_all_zeros(place: Path, tmp_path: Path) -> None:
    tuned(place, tmp_path / "run", "all", train__steps=1, train__log_steps=1, train__label_smoothing=0.0)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(1.0986123, abs=1e-6)  # ln 3
    model = checkpoint.load_model(tmp_path / "run" / START).model
    assert not model(torch.randn(2, 3, 8, 8)).any()


def test_probe_learns_and_the_same_classes_keep_their_head(place: Path, tmp_path: Path) -> None:
    assert tuned(place, tmp_path / "probe", "probe").evaluations["test"].top1 >= 0.5
    same = pw.tune(place / "source", str(place / "old"), tmp_path / "same", tune="head", **QUICK)
    kept = weights_of(tmp_path / "same" / START)
    assert torch.equal(kept["head.weight"], weights_of(place / "source")["head.weight"])
    pw.tune(place / "source", str(place / "old"), tmp_path / "new", tune="head", transfer__new_head=True, **QUICK)
    assert not weights_of(tmp_path / "new" / START)["head.weight"].any() and same.steps == 6


def test_layer_decay(place: Path, tmp_path: Path) -> None:
    """Plain SGD without momentum: each weight's first step is its gradient times lr decay^(L + 1 - layer)."""
    moves = {}
    plain = {"optimizer__name": "sgd", "optimizer__lr": 0.01, "optimizer__momentum": 0.0, "optimizer__clip_norm": 0.0,
             "optimizer__weight_decay": 0.0, "train__steps": 1, "schedule__warmup_epochs": 0,
             "train__precision": "fp32", "train__batch_size": 16}  # fmt: skip
    for decay in (1.0, 0.5):
        pw.tune(place / "source", str(place / "old"), tmp_path / str(decay), tune="all", transfer__layer_decay=decay,
                **QUICK | plain)  # fmt: skip
        before, after = weights_of(tmp_path / str(decay) / START), weights_of(tmp_path / str(decay))
        moves[decay] = {name: (after[name] - before[name]).double() for name in after}
    model = checkpoint.load_model(place / "source").model
    seen = set()
    for name, move in moves[1.0].items():
        layer = 3 if name.startswith(("head", "norm.")) else int(name.split(".")[1]) + 1 if "blocks" in name else 0
        assert layer == model.layer_of(name)
        seen.add(layer)
        scaled = move * 0.5 ** (3 - layer)
        torch.testing.assert_close(moves[0.5][name], scaled, rtol=2e-2, atol=2e-7)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("way", ["lora", "last-1", pytest.param("auto", marks=pytest.mark.slow)])
def test_kills_change_nothing(place: Path, tmp_path: Path, way: str) -> None:
    settings = QUICK | {"train__steps": 25, "train__ema_decay": 0.9, "augment__mixup": 0.2, "train__save_seconds": 0.01,
                        "train__log_steps": 1, "transfer__range_check": True, "train__shards": 2,
                        "train__batch_size": 8}  # fmt: skip
    if way == "auto":
        settings |= {"transfer__range_check": False, "train__steps": 6}
    pw.tune(place / "source", str(place / "new"), tmp_path / "straight", tune=way, **settings)
    shutil.copytree(place / "source", tmp_path / "copy")
    call_of = [str(tmp_path / "copy"), str(place / "new"), str(tmp_path / "killed"), way, json.dumps(settings)]
    script = Path(__file__).with_name("tune_once.py")
    done = subprocess.run([sys.executable, str(script), "3", "0.7", *call_of], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 3
    found, expected = results(tmp_path / "killed"), results(tmp_path / "straight")
    for name in ("metrics.jsonl", "eval.json", "state", "data.json"):
        assert found.get(name) == expected.get(name), name
    if way == "auto":
        assert (tmp_path / "killed/ladder.json").read_bytes() == (tmp_path / "straight/ladder.json").read_bytes()
    shutil.rmtree(tmp_path / "copy")  # going on needs neither the source nor the network
    pw.tune(tmp_path / "copy", str(place / "new"), tmp_path / "killed", tune=way, **settings)
    assert results(tmp_path / "killed") == found


def test_range_check_is_not_repeated(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned(place, tmp_path / "run", "all", transfer__range_check=True)
    first = results(tmp_path / "run")
    assert "the loss falls fastest" in capsys.readouterr().err
    kept = json.loads((tmp_path / "run" / "range_check.json").read_text())
    assert pw.training.folder.read_config(tmp_path / "run").optimizer.lr == kept["lr"]
    tuned(place, tmp_path / "run", "all", transfer__range_check=True)
    assert "the loss falls fastest" not in capsys.readouterr().err and results(tmp_path / "run") == first
    tuned(place, tmp_path / "given", "all", transfer__range_check=True, optimizer__lr=1e-3)
    assert not (tmp_path / "given" / "range_check.json").exists()


def test_auto_keeps_the_best_and_is_the_same_as_that_way(place: Path, tmp_path: Path) -> None:
    result = tuned(place, tmp_path / "auto", "auto")
    ladder = [Rung(**rung) for rung in result.ladder]
    assert [rung.tune for rung in ladder] == ["probe", "lora", "all"][: len(ladder)]
    assert result.tune == best_of(tuple(ladder)).tune and min(rung.total for rung in ladder) >= 100
    assert not (tmp_path / "auto" / "stages").exists()
    tuned(place, tmp_path / "fixed", result.tune)
    fixed, auto = results(tmp_path / "fixed"), results(tmp_path / "auto")
    assert {n: fixed[n] for n in fixed if n != "config.yaml"} == {n: auto[n] for n in auto if n != "config.yaml"}
    assert tuned(place, tmp_path / "auto", "auto").ladder == result.ladder
    assert results(tmp_path / "auto") == auto
    with pytest.raises(ConfigError, match="is a run of --tune auto"):
        tuned(place, tmp_path / "auto", "lora")
    with pytest.raises(ConfigError, match="settings was"):
        tuned(place, tmp_path / "auto", "auto", train__seed=3)
    with pytest.raises(ConfigError, match="is not a run of --tune auto"):
        tuned(place, tmp_path / "fixed", "auto")


def test_auto_takes_over_a_run_whose_validation_says_enough(place: Path, tmp_path: Path) -> None:
    data = tmp_path / "given"
    for split in ("train", "val", "test"):
        shutil.copytree(place / "new", data / split)
    result = pw.tune(place / "source", str(data), tmp_path / "auto", **QUICK)
    assert all(rung["total"] == 60 for rung in result.ladder)
    pw.tune(place / "source", str(data), tmp_path / "fixed", tune=result.tune, **QUICK)
    assert results(tmp_path / "auto")["model/manifest.json"] == results(tmp_path / "fixed")["model/manifest.json"]
    assert results(tmp_path / "auto")["eval.json"] == results(tmp_path / "fixed")["eval.json"]


def test_the_choice() -> None:
    probe, lora, every = Rung("probe", 80, 100, 0.5), Rung("lora", 90, 100, 0.4), Rung("all", 90, 100, 0.3)
    assert best_of((dataclasses.replace(probe, correct=94, loss=0.1), lora, every)).tune == "lora"  # in doubt
    assert best_of((dataclasses.replace(probe, correct=99), lora)).tune == "probe"  # clearly more are right
    assert best_of((probe, dataclasses.replace(lora, correct=70), every)).tune == "all"
    assert not falls((probe, lora)) and not falls((lora, dataclasses.replace(probe, correct=85)))
    assert falls((lora, dataclasses.replace(probe, correct=60)))


def test_pictures_held_back_leave_the_test_split_out(place: Path, tmp_path: Path) -> None:
    tuned(place, tmp_path / "run", "probe")
    manifest = checkpoint.files.read_json(tmp_path / "run" / "data.json")
    manifest = pw.training.setup.Manifest.from_json(manifest)
    test = {manifest.pictures[i].sha256 for i in manifest.split("test")}
    drawn = [held_back(manifest, draw) for draw in range(4)]
    for each in drawn:
        assert not test & {picture.sha256 for picture in each.pictures}
        assert len(each.split("train")) + len(each.split("val")) == len(manifest) - len(test)
        assert len(each.split("val")) == pytest.approx(0.25 * (len(manifest) - len(test)), abs=2)
    assert len({tuple(each.split("val")) for each in drawn}) == 4


def test_a_probe_of_the_same_classes_has_a_plain_head(place: Path, tmp_path: Path) -> None:
    model = create_model("vit_digits", depth=1, dim=16, num_heads=2, in_channels=3, num_classes=3, pre_logits=8,
                         head_bias=False)  # fmt: skip
    classes, preprocess = ("a", "b", "c"), Preprocess(image_size=(8, 8), resize="squash")
    checkpoint.save_model(tmp_path / "model", model.config, model.state_dict(), classes, preprocess, {})
    pw.tune(tmp_path / "model", str(place / "old"), tmp_path / "run", tune="probe", **QUICK)
    made = pw.load(tmp_path / "run")
    assert made.classes == classes and made.model.config.pre_logits == 0 and made.model.head.bias is not None
    assert pw.evaluate(tmp_path / "run", split="train").top1 > 0.5


def test_other_sizes_and_channels(place: Path, tmp_path: Path) -> None:
    result = tuned(place, tmp_path / "larger", "all", data__channels=1, data__image_size=12)
    loaded = pw.load(tmp_path / "larger")
    assert loaded.preprocess.image_size == (12, 12) and loaded.preprocess.channels == 1
    assert loaded.model.config.grid == (6, 6) and result.evaluations["test"].total
    pw.tune(place / "source", str(place / "new"), tmp_path / "larger", tune="all", image_size=12, data__channels=1,
            **QUICK)  # fmt: skip


def test_paper_preset(place: Path, tmp_path: Path) -> None:
    small = {**QUICK, "train__batch_size": 16, "train__steps": 3}
    pw.tune(place / "source", str(place / "new"), tmp_path / "run", tune="all", preset="paper_finetune_pets", **small)
    run = pw.training.folder.read_config(tmp_path / "run")
    found = run.optimizer
    assert (found.name, found.lr, found.momentum, found.clip_norm, found.weight_decay) == ("sgd", 0.01, 0.9, 1.0, 0.0)
    assert run.transfer.layer_decay == 1.0 and run.schedule.name == "cosine" and run.data.image_size == (8, 8)
    large = dataclasses.replace(pw.RunConfig())
    assert pw.presets.apply_preset(large, "paper_finetune_pets").model.image_size == (384, 384)


def test_faults_are_one_line(place: Path, tmp_path: Path) -> None:
    source, new = place / "source", place / "new"
    out = ("--out", tmp_path / "run", "--train.steps", "2", "--train.tensorboard", "false")
    for words, arguments in {
        ("2 blocks, not 9", "at most last-2"): (source, new, *out, "--tune", "last-9"),
        ("'lore'", "Did you mean lora"): (source, new, *out, "--tune", "lore"),
        ("9x9", "nearest that can is 8"): (source, new, *out, "--image-size", "9"),
        ("belongs to the checkpoint",): (source, new, *out, "--model.dim", "32"),
        ("no such file",): (tmp_path / "none", new, *out),
        ("no data set",): (source, *out),
    }.items():
        answer = call("tune", *arguments)
        assert_one_line(answer, answer.code, *words)
        assert answer.code in (2, 66), answer.err
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    one = draw_folder(tmp_path / "one", ("dot",))
    with pytest.raises(DataError, match="one class only"):
        pw.tune(source, str(one), tmp_path / "y", tune="head", **QUICK)


def test_another_checkpoint_or_command_is_refused(place: Path, tmp_path: Path) -> None:
    tuned(place, tmp_path / "run", "head")
    shutil.copytree(place / "source", tmp_path / "moved")
    pw.tune(tmp_path / "moved", str(place / "new"), tmp_path / "run", tune="head", **QUICK)  # the same weights
    with pytest.raises(ConfigError, match="other weights"):
        pw.tune(tmp_path / "run", str(place / "new"), tmp_path / "run", tune="head", **QUICK)
    with pytest.raises(ConfigError, match=r"transfer.tune was 'head', now 'all'"):
        tuned(place, tmp_path / "run", "all")
    with pytest.raises(ConfigError, match="is a run of `patchwords tune`. Go on with it: patchwords tune"):
        pw.train(str(place / "new"), tmp_path / "run")
    with pytest.raises(ConfigError, match="is a run of `patchwords train`"):
        pw.tune(place / "source", str(place / "new"), place / "source", tune="head", **QUICK)
    with pytest.raises(ConfigError, match="no effect on training from scratch"):
        pw.train(str(place / "new"), tmp_path / "z", transfer__lora_rank=4)
    manifest = tmp_path / "run" / START / "manifest.json"
    manifest.write_text(manifest.read_text().replace("version", "Version"))
    with pytest.raises(pw.PatchwordsError, match="was changed since the run began"):
        tuned(place, tmp_path / "run", "head")


def test_bare_backbone_and_few_pictures(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("vit_digits", depth=2, dim=16, num_heads=2, mlp_dim=16, in_channels=3, num_classes=0)
    preprocess = Preprocess(image_size=(8, 8), resize="squash")
    checkpoint.save_model(tmp_path / "bare", model.config, model.state_dict(), (), preprocess, {})
    few = draw_folder(tmp_path / "few", ("dot", "ring"), per_class=3)
    settings = {name: value for name, value in QUICK.items() if name != "train__steps"}
    for way in ("probe", "head", "lora"):
        result = pw.tune(tmp_path / "bare", str(few), tmp_path / way, tune=way, **settings, train__epochs=2)
        assert result.evaluations["test"].total == 2
    assert pw.training.folder.read_config(tmp_path / "head").train.batch_size == 4
    with pytest.raises(ConfigError, match="no blocks"):
        model = create_model("vit_digits", depth=0, dim=16, num_heads=2, in_channels=3, num_classes=0)
        checkpoint.save_model(tmp_path / "flat", model.config, model.state_dict(), (), preprocess, {})
        pw.tune(tmp_path / "flat", str(few), tmp_path / "flatrun", tune="lora", **settings)
