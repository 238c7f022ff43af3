"""Every model by name, as changes to the defaults of its kind; no torch is imported here.

Names are timm's where timm has the model, so that a name says the same in both; what follows says where each is from.
"""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any

from ..architecture import Architecture, Size, architecture_of
from ..errors import ConfigError
from ..overrides import with_fields
from .predecessors import PREDECESSORS

Changes = dict[str, Any]


def _shape(dim: int, depth: int, num_heads: int, mlp_dim: int) -> Changes:
    return {"dim": dim, "depth": depth, "num_heads": num_heads, "mlp_dim": mlp_dim}


def _sized(image_size: int, patch_size: int) -> Changes:
    return {"image_size": (image_size, image_size), "patch_size": (patch_size, patch_size)}


SHAPES: dict[str, Changes] = {
    "micro": _shape(128, 6, 4, 512),
    "nano": _shape(64, 4, 2, 256),
    "tiny": _shape(192, 12, 3, 768),
    "small": _shape(384, 12, 6, 1536),
    "base": _shape(768, 12, 12, 3072),
    "large": _shape(1024, 24, 16, 4096),
    "huge": _shape(1280, 32, 16, 5120),
    "so400m": _shape(1152, 27, 16, 4304),
    "giant": _shape(1408, 40, 16, 6144),
    "gigantic": _shape(1664, 48, 16, 8192),
}
"""B, L, H: the paper, table 1. Ti, S: DeiT, 2012.12877. so400m: 2305.13035. g, G: 2106.04560. micro, nano: ours."""

_GAP = {"pool": "mean", "class_token": False}
_NO_HEAD = {"num_classes": 0}
_LOCAL = _GAP | {"position": "relative", "relative_slope": 1.0, "residual_gain": 0.1}
"""what learns soonest from some ten thousand small pictures: heads that begin by looking at one neighbour each"""


def _paper() -> dict[str, Changes]:
    """The paper's models (2010.11929): pure, with the hidden layer of pre-training, hybrid."""
    patches = {"tiny": (16,), "small": (32, 16), "base": (32, 16, 8), "large": (32, 16, 14), "huge": (14,)}
    pixels = {32: (224, 384), 16: (224, 384), 8: (224,), 14: (224, 336)}
    presets = {
        f"vit_{size}_patch{patch}_{image}": SHAPES[size] | _sized(image, patch)
        for size in patches
        for patch in patches[size]
        for image in pixels[patch]
    }
    for size, patch in (("base", 32), ("base", 16), ("large", 32), ("large", 16), ("huge", 14)):
        hidden = {"num_classes": 21843, "pre_logits": SHAPES[size]["dim"]}
        presets[f"vit_{size}_patch{patch}_224_in21k"] = presets[f"vit_{size}_patch{patch}_224"] | hidden
    for name, size, depths in (
        ("small_r26_s32", "small", (2, 2, 2, 2)),
        ("base_r26_s32", "base", (2, 2, 2, 2)),
        ("base_r50_s16", "base", (3, 4, 9)),
        ("large_r50_s32", "large", (3, 4, 6, 3)),
    ):
        for image in (224, 384):
            presets[f"vit_{name}_{image}"] = (
                SHAPES[size] | _sized(image, 1) | {"stem": "resnet", "resnet_depths": depths}
            )
    return presets


def _small_pictures() -> dict[str, Changes]:
    """For pictures of 32 pixels (CIFAR), of 64, and of 8 (digits)."""
    ten = {"num_classes": 10}
    presets = {
        f"vit_{size}_patch{patch}_32": SHAPES[size] | _sized(32, patch) | ten
        for size in ("nano", "micro", "tiny", "small", "base")
        for patch in (2, 4, 8)
    }
    for size in ("tiny", "small"):
        presets[f"vit_{size}_patch8_64"] = SHAPES[size] | _sized(64, 8)
    for size in ("micro", "tiny", "small"):
        presets[f"vit_{size}_conv_patch4_32"] = presets[f"vit_{size}_patch4_32"] | {"stem": "conv"}
        presets[f"vit_{size}_convpool_patch4_32"] = presets[f"vit_{size}_patch4_32"] | {"stem": "conv_pool"}
    presets["vit_micro_local_patch4_32"] = presets["vit_micro_patch4_32"] | _LOCAL
    presets["vit_local_convpool_patch8_32"] = (
        _shape(256, 4, 4, 512)
        | _sized(32, 8)
        | ten
        | _LOCAL
        | {"stem": "conv_pool", "stem_widths": (64, 256, 256), "stem_first_units": 1}
    )
    set_up = {"in_channels": 1, "pool": "mean", "class_token": False, "position": "sincos_2d"}
    presets["vit_digits"] = _shape(64, 4, 4, 128) | _sized(8, 2) | ten | set_up
    return presets


def _later() -> dict[str, Changes]:
    """Plain ViTs of the years after, each with its paper."""
    presets: dict[str, Changes] = {}
    for size in ("tiny", "small", "base"):
        plain = SHAPES[size] | _sized(224, 16)
        presets[f"vit_{size}_patch16_gap_sincos_224"] = plain | _GAP | {"position": "sincos_2d"}  # 2205.01580
        presets[f"vit_{size}_conv_patch16_224"] = plain | {"stem": "conv", "depth": 11}  # 2106.14881
        presets[f"deit_{size}_patch16_224"] = plain  # 2012.12877
        presets[f"deit_{size}_distilled_patch16_224"] = plain | {"distillation_token": True}
    for size, patch in (("small", 16), ("base", 16), ("large", 16), ("huge", 14)):  # DeiT III, 2204.07118
        scaled = {"layer_scale": 1e-6, "position_prefix": False}
        presets[f"deit3_{size}_patch{patch}_224"] = SHAPES[size] | _sized(224, patch) | scaled
    for size, value in (("base", 0.1), ("large", 1e-5)):  # BEiT, 2106.08254
        bias = {"position": "relative", "qkv_bias": "qv", "layer_scale": value}
        pooled = {"pool": "mean", "final_norm": False, "fc_norm": True}
        presets[f"beit_{size}_patch16_224"] = SHAPES[size] | _sized(224, 16) | bias | pooled
    for size, patch, image in (("base", 32, 224), ("base", 16, 224), ("large", 14, 224), ("large", 14, 336)):
        clip = {"pre_norm": True, "patch_bias": False, "norm_eps": 1e-5}  # CLIP, 2103.00020
        presets[f"vit_{size}_patch{patch}_clip_{image}"] = SHAPES[size] | _sized(image, patch) | clip
        presets[f"vit_{size}_patch{patch}_clip_quickgelu_{image}"] = (
            SHAPES[size] | _sized(image, patch) | clip | {"activation": "quick_gelu"}
        )
    for size, patch, image in (("base", 16, 224), ("large", 16, 256), ("so400m", 14, 378)):  # SigLIP, 2303.15343
        head = {"pool": "map", "class_token": False, "activation": "gelu_tanh"}
        presets[f"vit_{size}_patch{patch}_siglip_{image}"] = SHAPES[size] | _sized(image, patch) | head | _NO_HEAD
    for size in ("giant", "gigantic"):  # 2106.04560
        presets[f"vit_{size}_patch14_224"] = SHAPES[size] | _sized(224, 14)
    return presets


def _dino() -> dict[str, Changes]:
    """DINOv2 (2304.07193), its registers (2309.16588) and DINOv3 (2508.10104): backbones without a head."""
    presets: dict[str, Changes] = {}
    giant = _shape(1536, 40, 24, 4096) | {"activation": "swiglu"}
    for size, shape in {**{name: SHAPES[name] for name in ("small", "base", "large")}, "giant": giant}.items():
        second = shape | _sized(518, 14) | _NO_HEAD | {"layer_scale": 1e-5}
        presets[f"vit_{size}_patch14_dinov2"] = second
        presets[f"vit_{size}_patch14_reg4_dinov2"] = second | {"num_registers": 4, "position_prefix": False}
    third = _sized(256, 16) | _NO_HEAD
    third |= {"position": "rope", "num_registers": 4, "layer_scale": 1e-5, "norm_eps": 1e-5, "qkv_bias": "none"}
    gated = {"activation": "swiglu"}
    shapes = {name: SHAPES[name] for name in ("small", "base", "large")} | {
        "small_plus": SHAPES["small"] | gated,
        "huge_plus": _shape(1280, 32, 20, 5120) | gated,
        "7b": _shape(4096, 40, 32, 8192) | gated,
    }
    for size, shape in shapes.items():
        presets[f"vit_{size}_patch16_dinov3"] = third | shape
        presets[f"vit_{size}_patch16_dinov3_qkvb"] = third | shape | {"qkv_bias": "qv"}
    return presets


PRESETS: dict[str, Changes] = _paper() | _small_pictures() | _later() | _dino() | PREDECESSORS
"""name -> kind (vit when it says none) and changes to its defaults"""


def list_models(filter: str = "*") -> list[str]:
    """Return the names that match `filter` (shell wildcards), sorted."""
    return sorted(fnmatch.filter(PRESETS, filter))


def model_config(
    name: str,
    *,
    image_size: int | Size | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> Architecture:
    """Return the configuration of the model `name` with changes; None keeps the preset's value.

    Args:
        name: one of `list_models()`.
        image_size: pixels, one number for a square or (rows, columns).
        in_channels: channels of a picture.
        num_classes: 0 for a model without head.
        options: fields of the kind of model, such as `ViTConfig`.

    Raises:
        ConfigError: unknown name or option (names the nearest), or an impossible combination.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(f"no model named {name!r}", where="model", fix=f"{hint}All are listed by `patchwords models`")
    facts = {"image_size": image_size, "in_channels": in_channels, "num_classes": num_classes}
    changes = PRESETS[name] | {key: value for key, value in facts.items() if value is not None} | options
    return with_fields(architecture_of(changes.get("kind", "vit")), changes, "model")
