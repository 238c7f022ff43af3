"""From a configuration to a model of its kind, with initial values or without any."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from ..config import Architecture

if TYPE_CHECKING:
    from .contract import Classifier

CLASSES = {"vit": "ViT", "cnn": "CNN", "mlp": "MLP", "mixer": "MLPMixer", "lstm": "PatchLSTM", "bag": "BagOfPatches"}
"""kind, and the module of this folder -> its class"""


def build(config: Architecture) -> Classifier:
    """Return a new model; initial values are drawn from torch's global generator (see layers.py for the table)."""
    module = importlib.import_module(f".{config.kind}", __package__)
    return getattr(module, CLASSES[config.kind])(config)


class _Unfilled(TorchFunctionMode):
    """Leaves initial values out: nobody sees them on the meta device, where drawing them imports torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").endswith("_") and func.__name__ in _FILLING:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


_FILLING = ("normal_", "trunc_normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_", "zeros_", "ones_", "fill_")


def build_empty(config: Architecture) -> Classifier:
    """Return a model whose parameters have shapes and no values (meta device), to be filled from a file."""
    with torch.device("meta"), _Unfilled():
        return build(config)
