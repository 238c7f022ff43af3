"""Every ViT architecture of the zoo once, small: what the tests of this folder run over."""

from __future__ import annotations

import dataclasses

import torch

from patchwords.architecture import (
    Architecture,
    BagConfig,
    CNNConfig,
    LSTMConfig,
    MixerConfig,
    MLPConfig,
    ViTConfig,
)
from patchwords.models import build, list_models, model_config


def shrink(config: ViTConfig) -> ViTConfig:
    """Return `config` with small sizes (a rectangle of 2x3 patches) and everything that is architecture kept."""
    sizes = {"dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 24, "num_registers": min(config.num_registers, 2)}
    sizes |= {"num_classes": 5 if config.num_classes else 0, "pre_logits": 12 if config.pre_logits else 0}
    sizes |= {"layer_scale": 0.1 if config.layer_scale else 0.0, "in_channels": min(config.in_channels, 2)}
    patch = 1 if config.stem == "resnet" else 4
    if config.stem == "resnet":
        sizes |= {"resnet_depths": (1,) * (len(config.resnet_depths) - 2) + (2,), "resnet_width": 0.5}
    sizes |= {"stem_widths": (6, 10) if config.stem_widths else ()}
    cell = patch * (2 ** (len(sizes["resnet_depths"]) + 1) if config.stem == "resnet" else 1)
    sizes |= {"patch_size": (patch, patch), "image_size": (2 * cell, 3 * cell)}
    return dataclasses.replace(config, **sizes)


def families() -> dict[str, ViTConfig]:
    """Return {first preset with this architecture: its small configuration} of every ViT."""
    seen: dict[ViTConfig, str] = {}
    for name in list_models():
        if model_config(name).kind == "vit":
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


def others() -> dict[str, Architecture]:
    """Return {name: small configuration} of every other kind."""
    sizes = {"in_channels": 3, "num_classes": 5}
    pixels = sizes | {"image_size": (8, 12)}
    patches = pixels | {"patch_size": (4, 4), "dim": 16, "depth": 2}
    large = {"image_size": (16, 24), "root": "large", "unit": "bottleneck", "depths": (1, 2)}
    return {
        "cnn": CNNConfig(**pixels, depths=(2, 1, 1), width=8, groups=4),
        "cnn_large": CNNConfig(**sizes, **large, width=8, groups=2),
        "mlp": MLPConfig(**pixels, dim=16, depth=2),
        "mixer": MixerConfig(**patches, tokens_dim=10, mlp_dim=24),
        "lstm": LSTMConfig(**patches, hidden_dim=12),
        "lstm_both_ways": LSTMConfig(**patches, hidden_dim=8, bidirectional=True),
        "lstm_mean": LSTMConfig(**patches, hidden_dim=8, bidirectional=True, pool="mean"),
        "bag": BagConfig(**patches, mlp_dim=24),
    }


FAMILIES = families()
OTHERS = others()
EVERY = FAMILIES | OTHERS


def alive(config: Architecture, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.nn.Module:
    """Return a model in eval mode whose parameters all differ from their initial value, so that none is idle."""
    torch.manual_seed(seed)
    model = build(config).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def pictures(config: Architecture, count: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return (count, C, H, W) of random pictures that `config` reads."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, config.in_channels, *config.image_size, generator=generator).to(dtype)
