"""ONNX files: written with everything inside, read without following anything that leads out of their folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from .. import files
from ..errors import CheckpointError
from .description import PREFIX, Description
from .engine import Engine, package
from .graph import INPUT, OUTPUT, one_layout, refused

OPSET = 18
"""the newest whose operators ONNX Runtime fuses: it has no fast kernel for the Attention of opset 23"""
LARGEST = 2**31 - 2**20
"""bytes of one protobuf message; weights of a larger model lie beside the file"""
BESIDE = ".data"


class OnnxEngine(Engine):
    """A graph in ONNX Runtime on the CPU, with as many threads as torch has."""

    def __init__(self, path: Path, description: Description) -> None:
        super().__init__(description, "onnx")
        runtime = package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 4
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.names = [OUTPUT], INPUT
            self(torch.zeros(1, description.preprocess.channels, *description.preprocess.image_size, dtype=torch.uint8))
        except Exception as error:
            raise unusable(path, error) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels."""
        outputs, name = self.names
        return torch.from_numpy(self.session.run(outputs, {name: pixels.contiguous().numpy()})[0])


def unusable(path: Path, error: Exception) -> CheckpointError:
    """Return the fault of a file that its runtime does not take."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return CheckpointError(f"cannot be used ({said})", where=str(path), fix="The file is damaged; use a copy")


def write_onnx(program: ExportedProgram, description: Description, path: Path) -> None:
    """Write `program` to `path`; weights beyond 2 GB go into a file beside it.

    Raises:
        ConfigError: ONNX has no words for the model.
    """
    package("onnxscript")
    silent = contextlib.redirect_stdout(io.StringIO())
    try:
        with silent, one_layout(), _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
            )
    except Exception as error:
        raise refused("onnx", error) from error
    save_onnx(made.model_proto, description, path)


def save_onnx(model: Any, description: Description, path: Path) -> None:
    """Write the ONNX `model` with its description to `path`."""
    onnx = package("onnx")
    del model.metadata_props[:]
    for node in model.graph.node:  # where in our source it came from: as long as the graph, and of no use to others
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    model.graph.name = "patchwords"
    described = replace(description, weights=weights_hash(model))
    model.producer_name, model.producer_version = "patchwords", description.patchwords
    for name, text in described.entries().items():
        model.metadata_props.add(key=PREFIX + name, value=text)
    if model.ByteSize() < LARGEST:
        files.write_atomic(path, model.SerializeToString())
        return
    with files.faults_named(path, "write"):
        onnx.save_model(model, path, save_as_external_data=True, location=path.name + BESIDE)


def read_onnx(path: Path) -> OnnxEngine:
    """Return the engine of the file at `path`; nothing outside its folder is opened.

    Raises:
        CheckpointError: damaged, not ours, or it asks for a file that is not its own.
    """
    package("onnx")
    model = load_onnx(path)
    where = str(path)
    entries = {p.key.removeprefix(PREFIX): p.value for p in model.metadata_props if p.key.startswith(PREFIX)}
    description = Description.from_entries(entries, where)
    if description.weights != weights_hash(model, path.parent):
        raise CheckpointError("does not match its sha256", where=where, fix="The file is damaged; use a copy")
    return OnnxEngine(path, description)


def load_onnx(path: Path) -> Any:
    """Return the ONNX model at `path`, its external data checked and not yet read."""
    onnx = package("onnx")
    data = files.read_bytes(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise unusable(path, error) from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            require_inside(path, _location(tensor))
    return model


def require_inside(path: Path, location: dict[str, str]) -> None:
    """Raise CheckpointError unless what `location` names is a plain file in the folder of `path`, as long as needed."""
    name = location.get("location", "")
    fix = "Give a file whose weights lie inside it or beside it"
    plain = name not in ("", ".", "..") and not set("/\\\0") & set(name)
    if not plain:
        raise CheckpointError(f"asks for weights in {name!r}, outside its folder", where=str(path), fix=fix)
    try:
        found = os.lstat(path.parent / name)
    except OSError:
        raise CheckpointError(f"asks for weights in {name!r}, which is not there", where=str(path), fix=fix) from None
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"asks for weights in {name!r}, which is no plain file", where=str(path), fix=fix)
    try:
        start, length = int(location.get("offset", "0")), int(location.get("length", "0"))
    except ValueError:
        start = length = -1
    if min(start, length) < 0 or start + length > found.st_size:
        raise CheckpointError(f"asks for weights beyond the end of {name!r}", where=str(path), fix=fix)


def weights_hash(model: Any, folder: Path | None = None) -> str:
    """Return the sha256 of names, types, shapes and bytes of the initial values of a model, and of its nodes."""
    digest = hashlib.sha256()
    for node in model.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    for tensor in model.graph.initializer:
        digest.update(f"{tensor.name} {tensor.data_type} {list(tensor.dims)}\n".encode())
        place = _location(tensor)
        if place and folder is not None:
            with files.faults_named(folder / place["location"], "read"), open(folder / place["location"], "rb") as file:
                file.seek(int(place.get("offset", "0")))
                digest.update(file.read(int(place["length"])) if "length" in place else file.read())
            continue
        digest.update(tensor.raw_data)
        if not tensor.raw_data:
            digest.update(_numbers(tensor))
    return digest.hexdigest()


def _numbers(tensor: Any) -> bytes:
    return package("onnx").numpy_helper.to_array(tensor).tobytes() if tensor.dims or tensor.ByteSize() else b""


def _location(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every TensorProto inside a protobuf message, however deep."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated else (value,):
            yield from _tensors(each)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from writing about packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
