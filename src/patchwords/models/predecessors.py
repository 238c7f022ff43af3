"""What the Vision Transformer replaced, by name: presets of the sizes of their papers, and of the sizes of a ViT.

For pictures of 32 pixels, `KIND_SIZE_params_32` has the parameters and `KIND_SIZE_flops_32` the operations of a
forward pass of `vit_SIZE_patch4_32`, both within 5 % for 10 classes. One shape may do both.
"""

from __future__ import annotations

from typing import Any

Changes = dict[str, Any]

_SMALL: Changes = {"image_size": (32, 32), "num_classes": 10}
_PATCHES: Changes = _SMALL | {"patch_size": (4, 4)}
_VIT: dict[str, Changes] = {
    "tiny": {"dim": 192, "depth": 12, "num_heads": 3, "mlp_dim": 768},
    "micro": {"dim": 128, "depth": 6, "num_heads": 4, "mlp_dim": 512},
    "nano": {"dim": 64, "depth": 4, "num_heads": 2, "mlp_dim": 256},
}


def _cnn(width: int, groups: int) -> Changes:
    return _SMALL | {"kind": "cnn", "depths": (2, 2, 2), "width": width, "groups": groups}


def _mlp(dim: int) -> Changes:
    return _SMALL | {"kind": "mlp", "dim": dim, "depth": 3}


def _mixer(dim: int) -> Changes:
    """As in the Mixer's paper, the hidden layers are half and four times as wide as a token."""
    return _PATCHES | {"kind": "mixer", "dim": dim, "depth": 8, "tokens_dim": dim // 2, "mlp_dim": 4 * dim}


def _lstm(dim: int) -> Changes:
    return _PATCHES | {"kind": "lstm", "dim": dim, "hidden_dim": dim}


def _bilstm(dim: int) -> Changes:
    """Both directions together are as wide as a token."""
    return _PATCHES | {"kind": "lstm", "dim": dim, "hidden_dim": dim // 2, "bidirectional": True}


def _bag(dim: int, depth: int) -> Changes:
    return _PATCHES | {"kind": "bag", "dim": dim, "depth": depth, "mlp_dim": 4 * dim}


def _matched() -> dict[str, Changes]:
    """Every predecessor at two sizes, by parameters and by operations."""
    sizes = {
        "cnn_tiny": (_cnn(88, 22), _cnn(60, 15)),
        "cnn_micro": (_cnn(42, 14), _cnn(28, 7)),
        "cnn_nano": (_cnn(17, 1), _cnn(12, 4)),
        "mlp_tiny": (_mlp(1040), _mlp(12768)),
        "mlp_micro": (_mlp(320), _mlp(5736)),
        "mlp_nano": (_mlp(65), _mlp(2087)),
        "mixer_tiny": (_mixer(284), _mixer(280)),
        "mixer_micro": (_mixer(132), _mixer(134)),
        "mixer_nano": (_mixer(52), _mixer(56)),
        "lstm_tiny": (_lstm(576), _lstm(596)),
        "lstm_micro": (_lstm(272), _lstm(284)),
        "lstm_nano": (_lstm(112), _lstm(120)),
        "bilstm_tiny": (_bilstm(664), _bilstm(688)),
        "bilstm_micro": (_bilstm(316), _bilstm(328)),
        "bilstm_nano": (_bilstm(128), _bilstm(138)),
        "bag_tiny": (_bag(236, 12), _bag(244, 12)),
        "bag_micro": (_bag(156, 6), _bag(164, 6)),
        "bag_nano": (_bag(79, 4), _bag(85, 4)),
    }
    # The hybrid has a stage of the paper's ResNet in the place of one block.
    for size, depth, units, width in (("tiny", 11, 3, 1.0), ("micro", 5, 2, 1.0), ("nano", 3, 2, 0.5)):
        stem = {"stem": "resnet", "resnet_depths": (units,), "patch_size": (1, 1), "depth": depth}
        stem |= {"resnet_width": width}
        sizes[f"hybrid_{size}"] = (_VIT[size] | _SMALL | stem,) * 2
    for size, shape in _VIT.items():
        plain = shape | _PATCHES
        sizes[f"local_{size}"] = (plain | {"attention": "local"},) * 2
        sizes[f"axial_{size}"] = (plain | {"attention": "axial"},) * 2
        sizes[f"nopos_{size}"] = (plain | {"position": "none"},) * 2
    pairs = {name: dict(zip(("params", "flops"), pair, strict=True)) for name, pair in sizes.items()}
    return {f"{name}_{match}_32": changes for name, pair in pairs.items() for match, changes in pair.items()}


def _resnets() -> dict[str, Changes]:
    """The ResNets of 2010.11929, table 6, and of BiT (1912.11370): depth, and width as a multiple."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    large: Changes = {"kind": "cnn", "image_size": (224, 224), "num_classes": 1000}
    large |= {"root": "large", "unit": "bottleneck"}
    presets = {}
    for depth, widths in ((50, (1, 2)), (101, (1,)), (152, (1, 2, 4)), (200, (3,))):
        for times in widths:
            name = f"cnn_resnet{depth}{f'x{times}' if times > 1 else ''}_224"
            presets[name] = large | {"depths": depths[depth], "width": 64 * times}
    return presets


def _mixers() -> dict[str, Changes]:
    """The Mixers of 2105.01601, table 1."""
    presets = {}
    for size, dim, depth, patches in (
        ("small", 512, 8, (32, 16)),
        ("base", 768, 12, (32, 16)),
        ("large", 1024, 24, (32, 16)),
        ("huge", 1280, 32, (14,)),
    ):
        for patch in patches:
            sizes = {"image_size": (224, 224), "patch_size": (patch, patch), "num_classes": 1000}
            presets[f"mixer_{size}_patch{patch}_224"] = _mixer(dim) | {"depth": depth} | sizes
    return presets


PREDECESSORS: dict[str, Changes] = _matched() | _resnets() | _mixers()
"""name -> kind (vit when it says none) and changes to its defaults"""
