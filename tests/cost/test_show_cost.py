"""Promises of `patchwords show cost`: the table, its JSON, and what a wrong argument says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchwords.checkpoint import save_model
from patchwords.cost import cost_of
from patchwords.cost.table import amount, cost_table
from patchwords.models import build, model_config
from patchwords.preprocess import Preprocess

from ..command_line import assert_one_line, call
from .configs import EVERY


def told(*argv: object) -> str:
    """Return what `patchwords show cost ARGV...` prints."""
    answer = call("show", "cost", *argv)
    assert (answer.code, answer.err) == (0, "")
    return answer.out


def test_the_table_of_a_model() -> None:
    lines = told("vit_base_patch16_224", "--batch-size", "64", "--precision", "bf16").splitlines()
    assert lines[0] == "vit_base_patch16_224: one picture of 224x224"
    parts = {line[:17].strip(): line.split()[-3:] for line in lines[3:13]}
    assert parts["MLP"] == ["56,669,184", "22,309.50", "63.5%"]
    assert parts["scores"] == ["0", "715.33", "2.0%"]
    assert parts["total"] == ["86,567,656", "35,127.66", "100.0%"]
    text = "\n".join(lines)
    assert "105 GFLOP a picture: three times that by the rule; 98.6 GFLOP as it is computed here" in text
    assert (
        "4.1% compares tokens; as much as attention's own matrices at 1,536 tokens, as all of a block at 4,608" in text
    )
    assert "173 MB in bf16" in text and "of 64 pictures" in text


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_has_a_table(name: str) -> None:
    lines = cost_table(cost_of(EVERY[name]), name, batch_size=3)
    assert all(len(line) <= 120 for line in lines)
    assert any(line.startswith("total") for line in lines)


def test_as_json() -> None:
    found = json.loads(told("vit_tiny_patch4_32", "--json"))
    cost = cost_of(model_config("vit_tiny_patch4_32"))
    assert (found["flops"], found["parameters"], found["tokens"]) == (cost.flops, cost.parameters, 65)
    assert sum(part["macs"] for part in found["parts"]) == cost.macs == found["macs"]
    assert found["memory"]["bf16"]["weight_bytes"] == 2 * cost.parameters


def test_another_size_and_other_settings() -> None:
    assert "one picture of 64x32" in told("vit_tiny_patch4_32", "--image-size", "64,32")
    lines = told("vit_tiny_patch4_32", "--model.depth", 0)
    assert "qkv" not in lines


def test_a_checkpoint(tmp_path: Path) -> None:
    config = model_config("vit_digits", num_classes=3)
    classes = ("a", "b", "c")
    preprocess = Preprocess(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    save_model(tmp_path / "model", config, build(config).state_dict(), classes, preprocess, {})
    assert f"{cost_of(config).parameters:,}" in told(tmp_path / "model")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "which model is missing"),
        (["vit_tiny_patch4_3"], "Did you mean vit_tiny_patch4_32"),
        (["nowhere/model"], "no model and no file is named 'nowhere/model'"),
        (["vit_tiny_patch4_32", "--image-size", "33"], "cannot be cut into patches of 4"),
        (["vit_tiny_patch4_32", "--image-size", "wide"], "--image-size"),
        (["vit_tiny_patch4_32", "--batch-size", "0"], "--batch-size: 0 is too small"),
        (["vit_tiny_patch4_32", "--precision", "fp8"], "fp8"),
        (["vit_tiny_patch4_32", "--model.depht", "3"], "depht"),
        (["vit_tiny_patch4_32", "--model.num_heads", "5"], "5 heads do not divide"),
        (["nowhere/model", "--model.depth", "3"], "model.depth: settings can be changed"),
        (["vit_tiny_patch4_32", "--audit"], "has no effect with --audit"),
    ],
)
def test_what_a_wrong_argument_says(argv: list[str], says: str) -> None:
    assert_one_line(call("show", "cost", *argv), 2, says)


def test_the_audit() -> None:
    text = told("--audit")
    assert "P-07  ViT-L/16, 7 epochs: pre-training, exaFLOPs" in text and "27 of 32 met" in text
    assert len(json.loads(told("--audit", "--json"))) == 32


def test_amounts() -> None:
    figures = {
        0: "0 ",
        12: "12 ",
        999: "999 ",
        1000: "1 k",
        17_563_828_224: "17.6 G",
        999_600: "1 M",
        2.134e12: "2.13 T",
    }
    assert [amount(figure) for figure in figures] == list(figures.values())
