"""Others with the same weights and pictures: timm, transformers, ONNX Runtime and OpenVINO on timm's model."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import LoadedModel
from ..errors import PatchwordsError
from ..export.engine import package
from .peers import timm_twin

Sides = dict[tuple[str, str], Callable[[], Tensor]]


def peers_of(loaded: LoadedModel, pixels: Tensor, device: str = "cpu") -> Sides:
    """Return (side, precision) -> what answers `pixels`; what is not installed is left out, with a line that says so.

    Each gets what it takes, normalised already: that is work of ours which they are spared.

    Args:
        pixels: uint8 (B, C, H, W).
        device: where they answer; away from the processor those that can.
    """
    images, sides = loaded.preprocess.normalize(pixels).to(device), {}
    for make in (_timm, _transformers, _onnxruntime, _openvino)[: 4 if device == "cpu" else 2]:
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                sides |= make(loaded, images)
        except (ImportError, PatchwordsError, RuntimeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"warning: without{make.__name__.replace('_', ' ')}: {reason}", file=sys.stderr)
    return sides


def _timm(loaded: LoadedModel, images: Tensor) -> Sides:
    plain, half = (timm_twin(loaded.model).to(images.device, dtype) for dtype in (torch.float32, torch.bfloat16))
    small, compiled = images.bfloat16(), torch.compile(copy.deepcopy(half))
    compiled(small)
    return {
        ("timm eager", "fp32"): lambda: plain(images),
        ("timm eager", "bf16"): lambda: half(small),
        ("timm compiled", "bf16"): lambda: compiled(small),
    }


def _transformers(loaded: LoadedModel, images: Tensor) -> Sides:
    from transformers import AutoModelForImageClassification

    from ..formats import all_formats
    from ..formats.write import write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write(loaded, path, "transformers", all_formats())
        model = AutoModelForImageClassification.from_pretrained(path).eval().to(images.device, torch.bfloat16)
    small = images.bfloat16()
    return {("transformers eager", "bf16"): lambda: model(small).logits}


def _onnxruntime(loaded: LoadedModel, images: Tensor) -> Sides:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path, batch = Path(folder) / "model.onnx", torch.export.Dim("batch", min=1, max=4096)
        example = torch.zeros(2, *images.shape[1:])
        torch.onnx.export(
            timm_twin(loaded.model), (example,), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False
        )
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return {
        ("ONNX Runtime, timm's model", "fp32"): lambda: torch.from_numpy(
            session.run(None, {entry.name: images.numpy()})[0]
        )
    }


def _openvino(loaded: LoadedModel, images: Tensor) -> Sides:
    openvino = package("openvino")
    model = openvino.convert_model(timm_twin(loaded.model), example_input=images[:1])
    model.reshape([-1, *images.shape[1:]])

    def side(precision: str) -> Callable[[], Tensor]:
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        hints["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        request: Any = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
        return lambda: torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0].copy())

    return {("OpenVINO, timm's model", "fp32"): side("f32"), ("OpenVINO, timm's model", "bf16"): side("bf16")}
