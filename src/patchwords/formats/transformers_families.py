"""The families of Vision Transformers in transformers: their names for our parameters, and what they take for granted.

Sources: transformers 5.23, models/*/modeling_*.py, configuration_*.py and conversion_mapping.py. Files have one set of
names on disk (that of version 4, which version 5 still saves) and some another one in memory; `spellings` leads from
the second to the first. Defaults are those of the configuration classes: a config.json may leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import CheckpointError, nearest
from .format import IMAGENET, OPENAI, Source

HALF = {"mean": 0.5, "std": 0.5}
SQUASH = {"resize": "squash", "interpolation": "bilinear"}
CROP = {"resize": "crop", "crop_fraction": 224 / 256, "interpolation": "bicubic"}


@dataclass(frozen=True)
class Family:
    """Names of one family's modules, canonical: as on disk, without a prefix."""

    name: str
    """model_type of the model that is written"""
    prefix: str
    """of the backbone in a model that has a head"""
    class_name: str
    """how the names of its classes start"""
    patch: str
    blocks: str
    norm: str
    block: Mapping[str, str]
    """our module of a block -> theirs"""
    qkv: tuple[str, str, str]
    """modules of q, k and v in a block"""
    cls: str = "embeddings.cls_token"
    positions: str = "embeddings.position_embeddings"
    gated: tuple[str, ...] = ()
    """modules of the gated MLP: its gate, what it is multiplied with, and the way back"""
    scales: tuple[str, str] | None = None
    """vectors of LayerScale in a block"""
    spellings: tuple[tuple[str, str], ...] = ()
    """pattern of a name in memory -> canonical name"""
    activation: str = "gelu"
    """`hidden_act` by default"""
    norm_eps: float = 1e-12
    num_heads: int = 12
    image_size: int = 224
    resize: str = "transformers"
    """position_resize"""
    pixels: Mapping[str, Any] = field(default_factory=dict)
    """preprocessing by default"""


_LAYER = (r"^(encoder\.)?layers?\.(\d+)\.", r"encoder.layer.\2.")
_QKV = tuple((rf"\.attention\.{new[0]}_proj\.", rf".attention.attention.{new}.") for new in ("query", "key", "value"))
_OUT = (r"\.attention\.o_proj\.", ".attention.output.dense.")
_VIT = {
    "prefix": "vit.",
    "class_name": "ViT",
    "patch": "embeddings.patch_embeddings.projection",
    "blocks": "encoder.layer.",
    "norm": "layernorm",
    "block": {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
    "qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    "spellings": (
        _LAYER, *_QKV, _OUT, (r"\.mlp\.fc1\.", ".intermediate.dense."), (r"\.mlp\.fc2\.", ".output.dense.")
    ),
}  # fmt: skip
_DINOV2 = _VIT | {
    "prefix": "dinov2.",
    "class_name": "Dinov2",
    "block": {
        "norm1": "norm1",
        "norm2": "norm2",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    "gated": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    "scales": ("layer_scale1.lambda1", "layer_scale2.lambda1"),
    "spellings": (_LAYER, *_QKV, _OUT, (r"\.mlp\.weights_out\.", ".mlp.down_proj.")),
    "norm_eps": 1e-6,
    "pixels": IMAGENET | CROP,
}
_CLIP = {
    "prefix": "vision_model.",
    "patch": "embeddings.patch_embedding",
    "blocks": "encoder.layers.",
    "norm": "post_layernorm",
    "block": {
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.proj": "self_attn.out_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "cls": "embeddings.class_embedding",
    "positions": "embeddings.position_embedding.weight",
}

VIT = Family(name="vit", pixels=HALF | SQUASH, **_VIT)
MAE = Family(name="vit_mae", pixels=IMAGENET | SQUASH, **_VIT)
DEIT = Family(name="deit", pixels=IMAGENET | CROP, **_VIT | {"prefix": "deit.", "class_name": "DeiT"})
BEIT = Family(
    name="beit",
    scales=("lambda_1", "lambda_2"),
    pixels=HALF | SQUASH,
    **_VIT
    | {
        "prefix": "beit.",
        "class_name": "Beit",
        "spellings": (
            *_VIT["spellings"],
            (r"\.(\d+)\.relative_position_bias\.", r".\1.attention.attention.relative_position_bias."),
            (r"^shared_position_bias\.", "encoder.relative_position_bias."),
        ),
    },
)
DINOV2 = Family(name="dinov2", **_DINOV2)
REGISTERS = Family(
    name="dinov2_with_registers",
    resize="timm",  # it antialiases, as timm does
    **_DINOV2 | {"prefix": "dinov2_with_registers.", "class_name": "Dinov2WithRegisters"},
)
DINOV3 = Family(
    name="dinov3_vit",
    prefix="",
    class_name="DINOv3ViT",
    patch="embeddings.patch_embeddings",
    blocks="layer.",
    norm="norm",
    block={
        "norm1": "norm1",
        "norm2": "norm2",
        "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.up_proj",
        "mlp.fc2": "mlp.down_proj",
    },
    qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    positions="",
    gated=("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
    spellings=((r"^model\.layer\.", "layer."),),
    norm_eps=1e-5,
    num_heads=6,
    pixels=IMAGENET | SQUASH,
)
SIGLIP = Family(
    name="siglip_vision_model",
    class_name="Siglip",
    activation="gelu_pytorch_tanh",
    norm_eps=1e-6,
    pixels=HALF | SQUASH | {"interpolation": "bicubic"},
    **_CLIP,
)
CLIP = Family(
    name="clip_vision_model",
    class_name="CLIP",
    activation="quick_gelu",
    norm_eps=1e-5,
    pixels=OPENAI | CROP | {"crop_fraction": 1.0},
    **_CLIP,
)

FAMILIES = {family.name: family for family in (VIT, MAE, DEIT, BEIT, DINOV2, REGISTERS, DINOV3, SIGLIP, CLIP)}
TYPES = FAMILIES | {"vit_msn": VIT, "siglip": SIGLIP, "clip": CLIP}
"""model_type -> family"""


def family_of(source: Source) -> Family:
    """Return the family that the config names, or else the one that has these names.

    Raises:
        CheckpointError: the config names a model that is none of them.
    """
    kind = source.config.get("model_type")
    if kind is not None and kind not in TYPES:
        raise CheckpointError(f"has model_type {kind!r}", where=source.tensors.where, fix=nearest(str(kind), TYPES))
    if kind is not None:
        return TYPES[kind]
    names = "\n".join(source.tensors)
    signs = {
        r"embeddings\.class_embedding$": CLIP,
        r"embeddings\.patch_embedding\.": SIGLIP,
        r"embeddings\.patch_embeddings\.weight$": DINOV3,
        r"embeddings\.register_tokens$": REGISTERS,
        r"layer_scale1\.lambda1$": DINOV2,
        r"embeddings\.distillation_token$": DEIT,
        r"lambda_1$|relative_position_bias_table$|pooler\.layernorm\.": BEIT,
        r"^decoder\.decoder_embed\.": MAE,
    }
    return next((family for sign, family in signs.items() if re.search(sign, names, re.MULTILINE)), VIT)
