"""Time to accuracy: whole trainings are counted, kept, and told of also where the target was missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import patchwords
from patchwords.bench.time_to import LEVERS
from patchwords.cli import main
from patchwords.overrides import parse_settings

SHORT = ["--seeds", "2", "--train.steps", "2", "--train.eval_epochs", "0", "--model.depth", "1"]


def measured(capsys: pytest.CaptureFixture[str], out: Path, target: str) -> tuple[int, dict]:
    code = main(["bench", "time-to", "--data", "digits", "--target", target, "--out", str(out), "--json", "-", *SHORT])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    return code, row


def test_every_seed_is_trained_counted_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, row = measured(capsys, tmp_path, "1")
    assert code == 0 and row["passed"]
    assert len(row["seconds"]) == len(row["top1"]) == 2 and min(row["seconds"]) > 0.5
    seeds = [json.loads((tmp_path / f"seed-{seed}" / "eval.json").read_text())["test"]["top1"] for seed in range(2)]
    assert row["top1"] == seeds
    code, again = measured(capsys, tmp_path, "100")
    assert again["seconds"] == row["seconds"]  # kept, not trained again
    assert code == 3 and not again["passed"] and again["top1"] == seeds


def test_several_views_are_measured_and_their_time_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "time-to", "--data", "digits", "--target", "1", "--out", str(tmp_path), "--json", "-", *SHORT]
    assert main([*asked, "--views", "2", "--model", "vit_nano_patch8_32", "--data.image_size", "32"]) == 0
    averaged, single = json.loads(capsys.readouterr().out)["rows"]
    assert averaged["side"] == "patchwords, 2 views" and single["side"] == "patchwords"
    assert all(more > less + 0.5 for more, less in zip(averaged["seconds"], single["seconds"], strict=True))
    run = str(tmp_path / "seed-0")
    assert patchwords.load(run).model.config.patch_size == (8, 8)
    assert main(["eval", run, "--split", "test", "--views", "2", "--precision", "bf16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == averaged["top1"][0]


def test_a_training_that_fails_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "time-to", "--data", str(tmp_path / "none"), "--out", str(tmp_path), "--seeds", "1"]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "did not end well" in line and "none" in line


def test_a_setting_is_refused_where_nothing_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--train.steps", "2"]) == 2
    assert "--train.steps: is a setting of trainings" in capsys.readouterr().err


def test_levers_are_settings() -> None:
    for settings in LEVERS.values():
        parse_settings(settings)
