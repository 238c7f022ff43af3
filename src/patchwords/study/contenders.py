"""The models of a study by name, at the size of its pictures, with what each costs."""

from __future__ import annotations

import time
from typing import Any

import torch

from ..architecture import ARCHITECTURES, Architecture
from ..config import RunConfig
from ..cost import cost_of
from ..errors import ConfigError, suggestion
from ..models import build
from ..models.zoo import PRESETS, model_config
from .plan import Contender

KINDS = ("vit", "cnn", "hybrid", "mlp", "mixer", "local", "axial", "lstm", "bilstm", "bag", "nopos")
"""names of --models that stand for a preset at the size of the pictures"""
SMALL = 16
"""pixels of the longer side up to which pictures are cut into patches of 2"""
MEDIUM = 48
"""pixels up to which the presets for 32 pixels are taken, with patches of 4"""

TINY_PICTURES: dict[str, dict[str, Any]] = {
    "cnn": {"kind": "cnn", "depths": (1, 1), "width": 42, "groups": 7},
    "mlp": {"kind": "mlp", "dim": 240, "depth": 3},
    "mixer": {"kind": "mixer", "patch_size": (2, 2), "dim": 88, "depth": 4, "tokens_dim": 44, "mlp_dim": 176},
    "lstm": {"kind": "lstm", "patch_size": (2, 2), "dim": 64, "hidden_dim": 96, "depth": 2, "pool": "mean"},
    "bilstm": {"kind": "lstm", "patch_size": (2, 2), "dim": 64, "hidden_dim": 56, "depth": 2, "pool": "mean",
               "bidirectional": True},
    "bag": {"kind": "bag", "patch_size": (2, 2), "dim": 90, "depth": 4, "mlp_dim": 180},
}  # fmt: skip
"""kind -> settings for pictures of about 8 pixels; vit is vit_digits, and these are of about its size"""
OF_VIT: dict[str, dict[str, Any]] = {
    "vit": {},
    "local": {"attention": "local"},
    "axial": {"attention": "axial"},
    "nopos": {"position": "none"},
}
"""name -> changes to a ViT"""


def configure(name: str, run: RunConfig, classes: int, scale: str, match: str) -> Architecture:
    """Return the model that `name` stands for.

    Args:
        name: one of KINDS, or a name of `patchwords models`.
        run: its data says the size and the channels of pictures.
        scale: tiny, micro, nano; only for pictures of about 32 pixels.
        match: flops and time take presets matched in FLOPs, the others those matched in parameters.

    Raises:
        ConfigError: no such name, or the model cannot read pictures of that size.
    """
    shared = {"image_size": run.data.image_size, "in_channels": run.data.channels, "num_classes": classes}
    if name not in KINDS:
        if name not in PRESETS:
            fix = (
                f"{suggestion(name, (*KINDS, *PRESETS))}Allowed: {', '.join(KINDS)}, and what `patchwords models` lists"
            )
            raise ConfigError(f"no model named {name!r}", where="--models", fix=fix)
        return model_config(name, **shared)
    longest = max(run.data.image_size)
    if longest <= SMALL:
        return _for_tiny_pictures(name, shared)
    if longest > MEDIUM:
        return _for_photographs(name, shared, longest)
    like = "flops" if match in ("flops", "time") else "params"
    return model_config(f"vit_{scale}_patch4_32" if name == "vit" else f"{name}_{scale}_{like}_32", **shared)


def _for_tiny_pictures(name: str, shared: dict[str, Any]) -> Architecture:
    if name in OF_VIT:
        return model_config("vit_digits", **shared, **OF_VIT[name])
    if name not in TINY_PICTURES:
        fix = f"Allowed: {', '.join(sorted({*OF_VIT, *TINY_PICTURES}))}"
        raise ConfigError(f"there is no {name} for pictures this small", where="--models", fix=fix)
    changes = {n: value for n, value in TINY_PICTURES[name].items() if n != "kind"}
    return ARCHITECTURES[TINY_PICTURES[name]["kind"]](**shared, **changes)


def _for_photographs(name: str, shared: dict[str, Any], longest: int) -> Architecture:
    if name not in OF_VIT:
        fix = "Name one of `patchwords models`, or give --data.image_size 32"
        raise ConfigError(f"no {name} stands for pictures of {longest} pixels", where="--models", fix=fix)
    preset = "vit_tiny_patch8_64" if longest <= 96 else "vit_tiny_patch16_224"
    return model_config(preset, **shared, **OF_VIT[name])


def measured_seconds(model: Architecture, run: RunConfig) -> float:
    """Return the seconds that a training step takes for each picture, on one core: the best of several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = build(model).train()
        images = torch.zeros(run.train.batch_size, model.in_channels, *model.image_size)
        return float(f"{min(_step_seconds(network, images) for _ in range(5)) / len(images):.4g}")
    finally:
        torch.set_num_threads(threads)


def _step_seconds(network: torch.nn.Module, images: torch.Tensor) -> float:
    began = time.perf_counter()
    network(images).sum().backward()
    return time.perf_counter() - began


def scratch(name: str, model: Architecture, run: RunConfig, match: str) -> Contender:
    """Return a model that starts from random weights."""
    cost, seconds = cost_of(model), measured_seconds(model, run) if match == "time" else 0.0
    return Contender(name, "scratch", model, cost.parameters, cost.step_flops, seconds)
