"""OpenVINO files: NAME.xml with its NAME.bin, compiled for the CPU in the precision that the file names."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import replace
from functools import cached_property
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
DYNAMIC_ONLY = ("GroupNormalization",)
"""operations whose compilation for a fixed number of pictures ends the process (OpenVINO 2026.4)"""
REQUEST = 2 * 3 * 224 * 224
"""values of pictures that a thread takes at a time: of 1 to 16 pictures of 224x224 two were the fastest, by a little"""


class OpenvinoEngine(Engine):
    """A graph in OpenVINO on the CPU, with as many threads as torch has.

    Few pictures are answered by all threads together. Of many, every thread takes a few at a time by itself: nobody
    waits after every product, and what is between the products stays in the cache of a core. S/16 on two cores of a
    Zen 5, batch 32: about 1.2 times as fast. Compiled for one picture alone, the graph in int8 answers it in about
    0.94 of the time. Each way is compiled when it is first needed.

    Args:
        path: for messages.
        model: what OpenVINO read.
        numbers: the bytes that `model` points into.
    """

    def __init__(self, path: Path, model: Any, description: Description, numbers: bytes = b"") -> None:
        super().__init__(description, "openvino")
        self.numbers = numbers  # OpenVINO does not keep them alive
        self.model, self.threads = model, torch.get_num_threads()
        try:
            self(torch.zeros(1, *input_shape(description.preprocess), dtype=torch.uint8))
        except Exception as error:
            raise unusable(path, error) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels."""
        if self.threads == 1 or len(pixels) < 2 * self.threads:
            request = self._one if len(pixels) == 1 else self._together
            answer = request.infer([pixels.contiguous().numpy()], share_inputs=True)
            return torch.from_numpy(answer[0].copy())
        turns = math.ceil(pixels.numel() / (self.threads * REQUEST))
        parts = pixels.contiguous().tensor_split(min(turns * self.threads, len(pixels)))
        answers: list[Tensor] = [pixels] * len(parts)
        for place, part in enumerate(parts):
            self._apart.start_async([part.numpy()], (answers, place), share_inputs=True)
        self._apart.wait_all()
        return torch.cat(answers)

    @cached_property
    def _one(self) -> Any:
        if any(part.get_type_name() in DYNAMIC_ONLY for part in self.model.get_ordered_ops()):
            return self._together
        model = self.model.clone()
        model.reshape([1, *input_shape(self.description.preprocess)])
        return self._compiled(model, {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()

    @cached_property
    def _together(self) -> Any:
        return self._compiled(self.model, {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()

    @cached_property
    def _apart(self) -> Any:
        compiled = self._compiled(self.model, {"NUM_STREAMS": self.threads})
        queue = package("openvino").AsyncInferQueue(compiled, self.threads)
        queue.set_callback(_put)
        return queue

    def _compiled(self, model: Any, settings: dict[str, Any]) -> Any:
        precision = "f32" if self.description.precision == "fp32" else "bf16"
        settings |= {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": self.threads}
        return package("openvino").Core().compile_model(model, "CPU", settings)


def _put(request: Any, where: tuple[list[Tensor], int]) -> None:
    answers, place = where
    answers[place] = torch.from_numpy(request.get_output_tensor(0).data.copy())


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
