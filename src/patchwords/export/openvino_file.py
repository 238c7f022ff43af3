"""OpenVINO files: NAME.xml with its NAME.bin, compiled for the CPU in the precision that the file names."""

from __future__ import annotations

import hashlib
import warnings
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
from .graph import INPUT, OUTPUT, input_shape, refused
from .onnx_file import unusable

SECTION = PREFIX.rstrip(".")


class OpenvinoEngine(Engine):
    """A graph in OpenVINO on the CPU, with as many threads as torch has.

    It is compiled once, for any number of pictures. Compiled for one number it is 2 % faster at most (S/16, batch 1
    and 32), and OpenVINO 2026.4 ends the process when it compiles GroupNorm for a fixed one.

    Args:
        path: for messages.
        model: what OpenVINO read.
        numbers: the bytes that `model` points into.
    """

    def __init__(self, path: Path, model: Any, description: Description, numbers: bytes = b"") -> None:
        super().__init__(description, "openvino")
        self.numbers = numbers  # OpenVINO does not keep them alive
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if description.precision == "fp32" else "bf16",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            compiled = package("openvino").Core().compile_model(model, "CPU", settings)
            self.request = compiled.create_infer_request()
            self(torch.zeros(1, *input_shape(description.preprocess), dtype=torch.uint8))
        except Exception as error:
            raise unusable(path, error) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels."""
        answer = self.request.infer([pixels.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(answer[0].copy())


def write_openvino(program: ExportedProgram, description: Description, path: Path) -> None:
    """Write `program` to `path` (.xml) and the .bin beside it.

    Raises:
        ConfigError: OpenVINO has no words for the model.
    """
    save_openvino(converted(program, description), description, path)


def converted(program: ExportedProgram, description: Description) -> Any:
    """Return `program` as a model of OpenVINO."""
    openvino = package("openvino")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = openvino.convert_model(program)
        model.reshape([-1, *input_shape(description.preprocess)])
    except Exception as error:
        raise refused("openvino", error) from error
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    return model


def save_openvino(model: Any, description: Description, path: Path) -> None:
    """Write the OpenVINO `model` with its description to `path` and the .bin beside it."""
    openvino = package("openvino")
    weights = path.with_suffix(".bin")
    with files.faults_named(path, "write"):
        openvino.save_model(model, path, compress_to_fp16=False)
    described = replace(description, weights=hashlib.sha256(files.read_bytes(weights)).hexdigest())
    for name, text in described.entries().items():
        model.set_rt_info(text, [SECTION, name])
    with files.faults_named(path, "write"):
        openvino.save_model(model, path, compress_to_fp16=False)


def read_openvino(path: Path) -> OpenvinoEngine:
    """Return the engine of the file at `path` (.xml), whose weights are in the .bin of the same name.

    Raises:
        CheckpointError: damaged, not ours, or without its .bin.
    """
    openvino = package("openvino")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        fix = "Copy both files together"
        raise CheckpointError(f"needs {weights.name} beside it, which is not there", where=str(path), fix=fix)
    graph, numbers = files.read_bytes(path), files.read_bytes(weights)
    try:
        model = openvino.Core().read_model(graph, numbers)
        section = model.get_rt_info([SECTION]) if model.has_rt_info([SECTION]) else {}
        names = [*(section.value if hasattr(section, "value") else section)]
        entries = {name: str(model.get_rt_info([SECTION, name]).value) for name in names}
    except Exception as error:
        raise unusable(path, error) from error
    description = Description.from_entries(entries, str(path))
    if description.weights != hashlib.sha256(numbers).hexdigest():
        raise CheckpointError("does not match its sha256", where=str(weights), fix="The file is damaged; use a copy")
    return OpenvinoEngine(path, model, description, numbers)
