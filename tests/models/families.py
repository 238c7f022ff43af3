"""Every architecture of the zoo once, small: what the tests of this folder run over."""

from __future__ import annotations

import dataclasses

import torch

from patchwords.config import ViTConfig
from patchwords.models import build, list_models, model_config


def shrink(config: ViTConfig) -> ViTConfig:
    """Return `config` with small sizes (a rectangle of 2x3 patches) and everything that is architecture kept."""
    sizes = {"dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "num_registers": min(config.num_registers, 2)}
    sizes |= {"num_classes": 5 if config.num_classes else 0, "pre_logits": 12 if config.pre_logits else 0}
    sizes |= {"layer_scale": 0.1 if config.layer_scale else 0.0, "in_channels": min(config.in_channels, 2)}
    patch = 1 if config.stem == "resnet" else 4
    if config.stem == "resnet":
        sizes |= {"resnet_depths": (1,) * (len(config.resnet_depths) - 2) + (2,), "resnet_width": 0.5}
    cell = patch * (2 ** (len(config.resnet_depths)) if config.stem == "resnet" else 1)
    sizes |= {"patch_size": (patch, patch), "image_size": (2 * cell, 3 * cell)}
    return dataclasses.replace(config, **sizes)


def families() -> dict[str, ViTConfig]:
    """Return {first preset with this architecture: its small configuration}."""
    seen: dict[ViTConfig, str] = {}
    for name in list_models():
        seen.setdefault(shrink(model_config(name)), name)
    options = {  # what the presets leave out
        "learned_2d": {"position": "learned_2d", "pool": "cls+mean", "fc_norm": True},
        "none": {"position": "none", "pool": "none", "class_token": False},
        "everything": {
            "position": "relative",
            "num_registers": 2,
            "activation": "swiglu",
            "qk_norm": True,
            "layer_scale": 0.1,
            "pre_norm": True,
            "pre_logits": 12,
            "proj_bias": False,
            "mlp_bias": False,
            "pool": "map",
            "stem": "conv",
        },
    }
    for name, changes in options.items():
        seen[shrink(dataclasses.replace(ViTConfig(), **changes))] = name
    return {name: config for config, name in seen.items()}


FAMILIES = families()


def alive(config: ViTConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.nn.Module:
    """Return a model in eval mode whose parameters all differ from their initial value, so that none is idle."""
    torch.manual_seed(seed)
    model = build(config).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def pictures(config: ViTConfig, count: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return (count, C, H, W) of random pictures that `config` reads."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, config.in_channels, *config.image_size, generator=generator).to(dtype)
