"""From a model to a folder that transformers loads: its family and class there, config.json, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..architecture import ViTConfig
from ..checkpoint import LoadedModel
from .format import beyond, numbers
from .layout import Pair
from .transformers_families import BEIT, CLIP, DEIT, DINOV2, DINOV3, REGISTERS, SIGLIP, VIT, Family

MARKS = "patchwords"
"""entry of config.json with what the arrays alone leave open"""
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
}
"""hidden_act -> ours"""
_HIDDEN_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "swiglu": "silu"}
_HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection.")
_SAYABLE = {
    "vit": ("norm_eps", "activation", "qkv_bias", "position_prefix", "pre_logits"),
    "deit": (
        "norm_eps", "activation", "qkv_bias", "position_prefix", "pre_logits", "distillation_token", "num_registers"
    ),
    "beit": (
        "norm_eps", "activation", "qkv_bias", "position_prefix", "position", "layer_scale", "pool", "fc_norm",
        "final_norm",
    ),
    "dinov2": ("norm_eps", "activation", "qkv_bias", "position_prefix", "layer_scale", "pool"),
    "dinov2_with_registers": (
        "norm_eps", "activation", "qkv_bias", "position_prefix", "layer_scale", "pool", "num_registers"
    ),
    "dinov3_vit": (
        "norm_eps", "activation", "qkv_bias", "layer_scale", "num_registers", "position", "position_prefix",
        "rope_base", "proj_bias", "mlp_bias",
    ),
    "siglip_vision_model": ("norm_eps", "activation", "class_token", "position_prefix", "pool"),
    "clip_vision_model": (
        "norm_eps", "activation", "position_prefix", "pre_norm", "patch_bias", "head_bias", "pool", "final_norm"
    ),
}  # fmt: skip
"""family -> settings besides the sizes that its config.json or its arrays can say, within the limits of `_limits`"""


def family_for(config: ViTConfig) -> Family:
    """Return the family that a model of `config` is written as, the one that is nearest to it."""
    if config.position == "rope":
        return DINOV3
    if config.pre_norm:
        return CLIP
    if not config.class_token:
        return SIGLIP
    if config.position == "relative" or config.qkv_bias == "qv":
        return BEIT
    if config.distillation_token:
        return DEIT
    if config.layer_scale or config.num_registers > 1:
        return REGISTERS if config.num_registers else DINOV2
    return DEIT if config.num_registers else VIT


def class_for(config: ViTConfig) -> str:
    """Return the class of transformers that answers as the model does."""
    family = family_for(config)
    bare = {SIGLIP.name: "VisionModel", CLIP.name: "VisionModel"}.get(family.name, "Model")
    if family is DEIT and config.distillation_token and config.num_classes:
        return "DeiTForImageClassificationWithTeacher"
    if family is CLIP and config.num_classes and not config.head_bias:
        return "CLIPVisionModelWithProjection"
    by_identity = not config.pre_logits and (family in (VIT, DEIT) or config.pool == "cls+mean")
    head = config.num_classes or by_identity  # a classifier for 0 labels returns what it would read, without a pooler
    return family.class_name + ("ForImageClassification" if head else bare)


def written_names(pairs: list[Pair], config: ViTConfig) -> list[Pair]:
    """Return `pairs` with the prefix that the backbone has in a class with a head."""
    if class_for(config).endswith("Model"):
        return pairs
    prefix = family_for(config).prefix
    named = []
    for pair in pairs:
        theirs = tuple(name if name.startswith(_HEADS) else prefix + name for name in pair.theirs)
        named.append(dataclasses.replace(pair, theirs=theirs))
    return named


def refuses(config: ViTConfig) -> list[str]:
    """Return what no class of transformers can be told, measured at the nearest one."""
    family = family_for(config)
    found = beyond(config, _SAYABLE[family.name]) + _limits(config, family)
    return [*found[:-1], f"{found[-1]} (as {class_for(config)}, the nearest)"] if found else []


def _limits(config: ViTConfig, family: Family) -> list[str]:
    """Return what of sayable settings does not go together in `family`."""
    pool, classes, rows, columns = config.pool, config.num_classes, *config.image_size
    square = rows == columns and config.patch_size[0] == config.patch_size[1]
    whole = rows == columns or config.grid[0] == config.grid[1]
    wrong = {
        "a gated MLP": config.activation == "swiglu" and not family.gated,
        f"qkv_bias={config.qkv_bias}": config.qkv_bias not in _qkv_biases(family),
        "a hidden layer before the head": bool(config.pre_logits and classes),
    }
    if family is DEIT:
        one = config.num_registers == (0 if config.distillation_token else 1) and (
            config.distillation_token or (bool(classes) and config.position_prefix)
        )
        wrong[f"num_registers={config.num_registers}"] = not one
    if family in (DINOV2, REGISTERS):
        wrong[f"pool={pool}"] = pool not in (("cls", "mean", "cls+mean") if classes else ("cls", "cls+mean"))
        wrong[f"mlp_dim={config.mlp_dim}"] = _mlp_ratio(config) is None
        wrong[f"a picture of {rows}x{columns}"] = not whole
    if family in (DINOV2, REGISTERS, DINOV3):
        wrong["no LayerScale"] = not config.layer_scale
    if family is DINOV3:
        wrong["a head"] = bool(classes)
    if family in (SIGLIP, CLIP, BEIT):
        wrong[f"a picture of {rows}x{columns}"] = not square
    if family is SIGLIP:
        wrong[f"pool={pool}{' with a head' if classes else ''}"] = not (
            pool == "mean" or (pool == "map" and not classes)
        )
        wrong["registers"] = bool(config.num_registers)
    if family is CLIP:
        wrong["a bias of the patch matrix"] = config.patch_bias
        plain = pool == "cls" and config.final_norm and not (classes and config.head_bias)
        averaged = pool == "mean" and not config.final_norm and bool(classes) and config.head_bias
        wrong[f"pool={pool}, final_norm={config.final_norm}, head_bias={config.head_bias}"] = not (plain or averaged)
    if family is BEIT:
        pooled = (pool, config.fc_norm, config.final_norm)
        wrong[f"pool={pool}"] = pooled not in (("mean", True, False), ("cls", False, True))
        wrong[f"position={config.position}"] = config.position not in ("relative", "learned", "none")
    return [what for what, is_wrong in wrong.items() if is_wrong]


def _qkv_biases(family: Family) -> tuple[str, ...]:
    limited = {BEIT.name: ("qv",), SIGLIP.name: ("qkv",), CLIP.name: ("qkv",), DINOV3.name: ("qkv", "qv", "none")}
    return limited.get(family.name, ("qkv", "none"))


def _mlp_ratio(config: ViTConfig) -> int | None:
    """Return the whole mlp_ratio that gives DINOv2 this `mlp_dim`; None: there is none."""
    for ratio in range(1, 2 * config.mlp_dim // config.dim + 2):
        width = config.dim * ratio
        if config.activation == "swiglu":
            width = (int(width * 2 / 3) + 7) // 8 * 8
        if width == config.mlp_dim:
            return ratio
    return None


# Files -----------------------------------------------------------------------------------------------


def files(loaded: LoadedModel, out: Path) -> Mapping[str, Any]:
    """Return config.json and preprocessor_config.json."""
    if loaded.preprocess.channels not in (1, 3):  # no picture file has so many, and no image processor
        return {"config.json": described(loaded)}
    pixels = loaded.preprocess.to_json()
    if loaded.preprocess.resize == "crop":
        pixels["image_processor_type"] = "BitImageProcessor"  # that of ViT only squashes
    return {"config.json": described(loaded), "preprocessor_config.json": pixels}


def described(loaded: LoadedModel) -> dict[str, Any]:
    """Return the content of config.json, in transformers' names."""
    config: ViTConfig = loaded.model.config
    family, values = family_for(config), _sizes(config)
    values |= _of_family(config, family)
    name = class_for(config)
    if family in (SIGLIP, CLIP) and name.endswith("ForImageClassification"):
        kind = family.name.partition("_")[0]
        values = {"model_type": kind, "vision_config": values, "text_config": {"model_type": f"{kind}_text_model"}}
    values["architectures"], values["dtype"] = [name], "float32"
    if config.num_classes or name.endswith("ForImageClassification"):
        classes = loaded.classes or numbers(config.num_classes)
        values["id2label"] = {str(index): name for index, name in enumerate(classes)}
        values["label2id"] = {name: index for index, name in enumerate(classes)}
    if marks := _marks(loaded):
        values[MARKS] = marks
    return values


def _sizes(config: ViTConfig) -> dict[str, Any]:
    rows, columns = config.image_size
    return {
        "model_type": family_for(config).name,
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "hidden_act": _HIDDEN_ACTS[config.activation],
        "layer_norm_eps": config.norm_eps,
        "image_size": rows if rows == columns else [rows, columns],
        "patch_size": config.patch_size[0] if config.patch_size[0] == config.patch_size[1] else list(config.patch_size),
        "num_channels": config.in_channels,
        "initializer_range": 0.02,
    }


def _of_family(config: ViTConfig, family: Family) -> dict[str, Any]:
    """Return what only this family's config.json says."""
    values: dict[str, Any] = {"intermediate_size": config.mlp_dim, "qkv_bias": config.qkv_bias == "qkv"}
    if family in (VIT, DEIT):
        values |= {"pooler_output_size": config.pre_logits or config.dim, "pooler_act": "tanh"}
    if family in (DINOV2, REGISTERS):
        del values["intermediate_size"]
        gated = config.activation == "swiglu"
        values |= {"mlp_ratio": _mlp_ratio(config), "use_swiglu_ffn": gated, "layerscale_value": config.layer_scale}
        values |= {"hidden_act": "gelu"} if gated else {}
        values |= {"num_register_tokens": config.num_registers} if family is REGISTERS else {"use_mask_token": True}
    if family is DINOV3:
        del values["qkv_bias"]
        values |= {
            "num_register_tokens": config.num_registers,
            "rope_theta": config.rope_base,
            "query_bias": config.qkv_bias != "none",
            "key_bias": config.qkv_bias == "qkv",
            "value_bias": config.qkv_bias != "none",
            "proj_bias": config.proj_bias,
            "mlp_bias": config.mlp_bias,
            "layerscale_value": config.layer_scale,
            "use_gated_mlp": config.activation == "swiglu",
        }
    if family is BEIT:
        kinds = {"relative": "use_relative_position_bias", "learned": "use_absolute_position_embeddings"}
        values |= {name: config.position == kind for kind, name in kinds.items()}
        values |= {"layer_scale_init_value": config.layer_scale, "use_mean_pooling": config.pool == "mean"}
    if family is SIGLIP:
        values["vision_use_head"] = config.pool == "map"
    if family is CLIP and config.num_classes and not config.head_bias:
        values["projection_dim"] = config.num_classes
    if family in (BEIT, SIGLIP, CLIP):
        del values["qkv_bias"]
    return values


def _marks(loaded: LoadedModel) -> dict[str, Any]:
    """Return the settings that a reader would take the other way from zeros that happen to be in the arrays."""
    config, weights = loaded.model.config, loaded.model.state_dict()
    marks: dict[str, Any] = {}
    placed = config.num_placed_prefix_tokens
    if placed and not weights["pos_embed"][:, :placed].any():
        marks["position_prefix"] = True
    if family_for(config) in (DINOV2, REGISTERS) and config.num_classes:
        parts = weights["head.weight"].chunk(2, dim=-1) if config.pool == "cls+mean" else [weights["head.weight"]]
        filled = {bool(part.any()) for part in parts}
        if len(filled) == 2 or (config.pool != "cls+mean" and filled == {False}):
            marks["pool"] = config.pool
    return marks
