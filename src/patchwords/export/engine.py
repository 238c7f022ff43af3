"""What answers: a module from uint8 pictures to logits, whichever runtime is inside it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import LoadedModel
from ..device import DTYPES
from ..errors import ConfigError
from ..preprocess import Preprocess
from .description import Description
from .graph import graph_of

EXTRAS = {"onnx": "export", "onnxruntime": "export", "onnxscript": "export", "openvino": "openvino", "nncf": "openvino"}
"""package -> the extra that brings it"""
ENGINES = ("auto", "torch", "onnx", "openvino")


class Engine(nn.Module):
    """From uint8 pixels (B, C, H, W) to float32 logits (B, K).

    Args:
        description: what it was exported from.
        name: torch, onnx, openvino or program.
    """

    def __init__(self, description: Description, name: str) -> None:
        super().__init__()
        self.description, self.name = description, name

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels."""
        raise NotImplementedError


class TorchEngine(Engine):
    """torch itself, in float32 or bfloat16, on any device; pictures come from the processor, answers go there."""

    def __init__(self, loaded: LoadedModel, description: Description, device: str = "cpu") -> None:
        super().__init__(description, "torch")
        self.graph, self.device = graph_of(loaded, DTYPES[description.precision], device), device

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels; float32 is that on a GPU too, where convolutions would take TF32."""
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            return self.graph(pixels.to(self.device)).cpu()


class Unchanged(Preprocess):
    """Preprocessing whose normalisation is part of the graph."""

    def normalize(self, pixels: Tensor) -> Tensor:
        """Return the pixels as they are, uint8."""
        return pixels


def answering(engine: Engine) -> LoadedModel:
    """Return `engine` as a model that `predict` and `evaluate` take."""
    said = engine.description
    fields = {name: getattr(said.preprocess, name) for name in Preprocess.__dataclass_fields__}
    return LoadedModel(engine.eval(), said.classes, Unchanged(**fields), said.provenance)


def package(name: str) -> Any:
    """Return an optional package.

    Nothing is told to anybody: openvino and nncf would report their use over the network when `openvino_telemetry`
    is there, and go without when it is not.

    Raises:
        ConfigError: it is not installed; names the extra.
    """
    if name in ("openvino", "nncf"):
        sys.modules.setdefault("openvino_telemetry", None)  # importing it now fails, which both are ready for
    try:
        return importlib.import_module(name)
    except ImportError:
        fix = f"pip install patchwords[{EXTRAS[name]}]"
        raise ConfigError(f"needs {name}, which is not installed", where=EXTRAS[name], fix=fix) from None


def installed(name: str) -> bool:
    """Return whether the engine `name` can be used here."""
    needed = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torch": ()}
    return all(importlib.util.find_spec(each) is not None for each in needed[name])
