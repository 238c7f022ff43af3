"""A small trained model and its exported files, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import patchwords as pw
from patchwords.export import Exported

from ..command_line import call

pytest.importorskip("onnxruntime", reason="needs patchwords[export]")
pytest.importorskip("onnxscript", reason="needs patchwords[export]")

SMALL = ("--model.dim=48", "--model.depth=2", "--model.num_heads=2", "--model.mlp_dim=96", "--train.steps=600",
         "--train.tensorboard=false", "--train.compile=off", "--data.workers=0")  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, of some seconds: good enough that its answers are not ties."""
    out = tmp_path_factory.mktemp("export") / "run"
    answer = call("train", "digits", "--out", out, *SMALL)
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Exported]:
    """(format, precision) -> what was exported of `run`, checked on the digits."""
    folder = tmp_path_factory.mktemp("files")
    kinds = [("onnx", "fp32"), ("openvino", "bf16"), ("program", "fp32"), ("onnx", "int8")]
    endings = {"onnx": ".onnx", "openvino": ".xml", "program": ".pt2"}
    return {
        (to, precision): pw.export(
            run, folder / f"{precision}{endings[to]}", to=to, precision=precision, check="digits"
        )
        for to, precision in kinds
    }
