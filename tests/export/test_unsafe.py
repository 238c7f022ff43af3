"""Promises about files from strangers: nothing outside the folder is opened, no code is run, damage is one line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import onnx
import pytest

from ..command_line import assert_one_line, call
from .test_export import Files


@pytest.fixture
def copy(exported: Files, tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return Path(shutil.copy(exported["onnx", "fp32"].out, folder / "model.onnx"))


def outside(model: onnx.ModelProto, location: str, length: int) -> None:
    """Say that the first weights of `model` lie in the file `location`."""
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize("location", ["../secret", "{folder}/../secret", "link", "sub/../../secret", "", "no\0name"])
def test_external_data_outside_the_folder_is_refused(location: str, copy: Path) -> None:
    secret = copy.parent.parent / "secret"
    secret.write_bytes(bytes(1 << 20))
    os.symlink(secret, copy.parent / "link")
    model = onnx.load(copy)
    outside(model, location.format(folder=copy.parent), 64)
    copy.write_bytes(model.SerializeToString())
    assert_one_line(call("eval", copy, "digits"), 65, "asks for weights in")


def test_external_data_in_an_attribute_is_refused(copy: Path) -> None:
    model = onnx.load(copy)
    tensor = onnx.TensorProto(name="hidden", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=tensor))
    copy.write_bytes(model.SerializeToString())
    assert_one_line(call("eval", copy, "digits"), 65, "outside its folder")


def test_external_data_beside_the_file_must_be_long_enough(copy: Path) -> None:
    (copy.parent / "short").write_bytes(bytes(8))
    model = onnx.load(copy)
    outside(model, "short", 1 << 30)
    copy.write_bytes(model.SerializeToString())
    assert_one_line(call("eval", copy, "digits"), 65, "beyond the end")


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "bit"])
def test_a_damaged_onnx_file_is_one_line(damage: str, copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    if damage == "bit":
        weights = max(onnx.load(copy).graph.initializer, key=lambda each: len(each.raw_data)).raw_data
        data[bytes(data).index(weights) + len(weights) // 2] ^= 64
    copy.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\xff" * 500, "bit": data}[damage])
    assert_one_line(call("eval", copy, "digits"), 65)


@pytest.mark.parametrize("damage", ["graph cut", "weights cut", "weights gone", "bit"])
def test_a_damaged_openvino_file_is_one_line(damage: str, exported: Files, tmp_path: Path) -> None:
    source, graph = exported["openvino", "bf16"].out, tmp_path / "model.xml"
    weights = graph.with_suffix(".bin")
    text, numbers = source.read_bytes(), bytearray(source.with_suffix(".bin").read_bytes())
    numbers[1000] ^= 64 if damage == "bit" else 0
    graph.write_bytes(text[: len(text) // 2] if damage == "graph cut" else text)
    weights.write_bytes(numbers[:1000] if damage == "weights cut" else numbers)
    if damage == "weights gone":
        weights.unlink()
    assert_one_line(call("eval", graph, "digits"), 65)


def test_a_file_of_somebody_else_is_one_line(copy: Path) -> None:
    model = onnx.load(copy)
    del model.metadata_props[:]
    copy.write_bytes(model.SerializeToString())
    assert_one_line(call("eval", copy, "digits"), 65, "does not say its classes")


def test_a_program_is_read_only_when_it_is_trusted(exported: Files, tmp_path: Path) -> None:
    program = exported["program", "fp32"].out
    assert_one_line(call("eval", program, "digits"), 2, "--trust")
    assert call("eval", program, "digits", "--trust").code == 0
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(program.read_bytes()[:5000])
    assert_one_line(call("eval", cut, "digits", "--trust"), 65)
