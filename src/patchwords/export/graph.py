"""The graph that is exported: uint8 pictures in, normalised inside, float32 logits out, any number of pictures."""

from __future__ import annotations

import copy
import re
import warnings
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..checkpoint import LoadedModel
from ..errors import ConfigError
from ..preprocess import Preprocess

INPUT, OUTPUT = "pixels", "logits"
LARGEST_BATCH = 65536


class Graph(nn.Module):
    """A model with its normalisation before it.

    Args:
        model: from images (B, C, H, W) to logits (B, K), in evaluation mode.
        preprocess: whose mean and std it was trained with.

    The model computes in `dtype`; logits are float32 whatever it is.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.model, self.dtype = model, torch.float32
        mean, std = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (preprocess.mean, preprocess.std))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K), float32, of uint8 pixels (B, C, H, W)."""
        images = (pixels.to(torch.float32) / 255 - self.mean) / self.std
        return self.model(images.to(self.dtype)).to(torch.float32)

    def computing_in(self, dtype: torch.dtype) -> Graph:
        """Let the model compute in `dtype`; return this graph."""
        self.model, self.dtype = self.model.to(dtype), dtype
        return self


def graph_of(loaded: LoadedModel, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Graph:
    """Return the graph of `loaded`, computing in `dtype` on `device`; the model itself is left as it is."""
    model = loaded.model if (dtype, device) == (torch.float32, "cpu") else copy.deepcopy(loaded.model)
    return Graph(model, loaded.preprocess).computing_in(dtype).eval().to(device)


def input_shape(preprocess: Preprocess) -> tuple[int, int, int]:
    """Return (channels, rows, columns) of the pictures that the graph takes."""
    return preprocess.channels, *preprocess.image_size


def one_layout() -> AbstractContextManager[None]:
    """A context in which attention is laid out in memory as its plain products are.

    What is traced with the fused kernel's layout and taken apart into products later has views that do not fit.
    """
    return sdpa_kernel(SDPBackend.MATH)


def trace(graph: Graph, preprocess: Preprocess) -> ExportedProgram:
    """Return `graph` as one program that takes any number of pictures.

    Raises:
        ConfigError: the model cannot be written down as a graph; says why.
    """
    pixels = torch.zeros(2, *input_shape(preprocess), dtype=torch.uint8)
    batch = Dim("batch", min=1, max=LARGEST_BATCH)
    try:
        with torch.no_grad(), one_layout(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, (pixels,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:
        raise refused("program", error) from error


def refused(to: str, error: Exception) -> ConfigError:
    """Return the fault of a model that `to` has no words for."""
    said = re.sub(r"\x1b\[[\d;]*m", "", " ".join(f"{type(error).__name__}: {error}".split()))
    what = f"this model cannot be written as {to} ({said[:300]})"
    return ConfigError(what, where="--to", fix="Choose another of onnx, openvino, program")
