"""timm's config.json, both ways: pixels, class names, and the arguments its model is built with.

Sources: timm 1.0.31, models/_hub.py (save_config_for_hf, _parse_model_cfg), models/_pretrained.py, data/config.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..architecture import Size, ViTConfig
from ..checkpoint import LoadedModel
from ..overrides import to_dict
from ..preprocess import Preprocess
from .format import numbers

OURS = "patchwords"
"""entry of config.json that timm does not look at: settings it has no word for, so that reading back is exact"""
POOLS = {"token": "cls", "avg": "mean", "map": "map", "": "none"}
HYBRIDS = {(2, 2, 2, 2): "small_r26_s32", (3, 4, 9): "base_r50_s16", (3, 4, 6, 3): "large_r50_s32"}
"""units per stage -> timm's models with that stem"""
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large"}
_USUAL_CROP = 0.875
"""of timm's PretrainedCfg"""


class Convention(NamedTuple):
    """How pictures are prepared for files that do not say it."""

    values: Mapping[str, Any]
    """fields of Preprocess"""
    ground: str


def pretrained(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries on weights and pixels; older files have them at the top."""
    found = config.get("pretrained_cfg", config)
    return found if isinstance(found, Mapping) else {}


def input_size(config: Mapping[str, Any]) -> Size | None:
    """Return pixels (rows, columns) that config.json gives, None when it gives none."""
    side = config.get("model_args", {}).get("img_size")
    if side is None:
        side = (pretrained(config).get("input_size") or (None, None))[1:]
        side = None if None in side else side
    if side is None:
        return None
    rows, columns = (side, side) if isinstance(side, int) else side
    return int(rows), int(columns)


def preprocess_of(
    config: Mapping[str, Any], size: Size, channels: int, convention: Convention
) -> tuple[Preprocess, dict[str, str]]:
    """Return what config.json says of pixels, and what it leaves open or asks for that is not done here.

    Args:
        convention: taken when config.json says nothing.
    """
    said, assumed = pretrained(config), {}
    if not said.get("mean"):
        chosen, assumed["preprocessing"] = dict(convention.values), convention.ground
        chosen |= {name: per_channel(chosen[name], channels, name, assumed) for name in ("mean", "std")}
        return Preprocess(image_size=size, channels=channels, **chosen), assumed
    chosen = {name: per_channel(said[name], channels, name, assumed) for name in ("mean", "std")}
    kernel, mode = said.get("interpolation", "bicubic"), said.get("crop_mode", "center")
    fraction = float(said.get("crop_pct") or _USUAL_CROP)
    if kernel not in ("bicubic", "bilinear"):
        assumed["interpolation"] = f"bicubic (the file says {kernel}, which is not done here)"
        kernel = "bicubic"
    if mode not in ("center", "squash") or (mode == "squash" and fraction != 1.0):
        assumed["resize"] = f"{'squash' if mode == 'squash' else 'crop'} (near to the file's {mode} at {fraction})"
    resize = {"resize": "squash"} if mode == "squash" else {"resize": "crop", "crop_fraction": fraction}
    return Preprocess(image_size=size, channels=channels, interpolation=kernel, **resize, **chosen), assumed


def per_channel(values: Any, channels: int, name: str, assumed: dict[str, str]) -> tuple[float, ...]:
    """Return one of `values` for each channel; the mean of all when they are for another number of channels."""
    values = tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values]))
    if len(values) == channels:
        return values
    middle = sum(values) / len(values)
    if len(set(values)) > 1:
        assumed[name] = f"{middle:.4g} for each of {channels} channels (the file has {len(values)} values)"
    return (middle,) * channels


def classes_of(config: Mapping[str, Any], count: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return class names in the order of the logits, numbers where there are none, and a word when they do not fit."""
    names = config.get("label_names") or pretrained(config).get("label_names") or {}
    if not isinstance(names, Mapping):
        names = dict(enumerate(names))
    names = {int(number): str(name) for number, name in names.items()}
    if names and count and (min(names) < 0 or max(names) >= count):
        what = f"numbers (the file names classes up to {max(names)}, the head has {count})"
        return numbers(count), {"classes": what}
    return tuple(names.get(number, str(number)) for number in range(count)), {}


def written_config(loaded: LoadedModel) -> dict[str, Any]:
    """Return config.json as timm writes it, from which `timm.create_model("local-dir:FOLDER")` builds the model."""
    config, preprocess = loaded.model.config, loaded.preprocess
    name, arguments = model_arguments(config)
    pool = {ours: theirs for theirs, ours in POOLS.items()}[config.pool]
    written: dict[str, Any] = {"architecture": name, "num_classes": config.num_classes, "num_features": config.dim}
    written |= {"global_pool": pool} if pool else {}
    if loaded.classes and loaded.classes != numbers(len(loaded.classes)):
        written["label_names"] = list(loaded.classes)
    squash = preprocess.resize == "squash"
    hybrid, heads = config.stem == "resnet", ["head", "head_dist"] if config.distillation_token else "head"
    written["model_args"] = arguments
    written["pretrained_cfg"] = {
        "custom_load": False,
        "input_size": [config.in_channels, *preprocess.image_size],
        "fixed_input_size": True,
        "interpolation": preprocess.interpolation,
        "crop_pct": 1.0 if squash else preprocess.crop_fraction,
        "crop_mode": "squash" if squash else "center",
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "num_classes": config.num_classes,
        "pool_size": None,
        "first_conv": "patch_embed.backbone.stem.conv" if hybrid else "patch_embed.proj",
        "classifier": heads,
    }
    return written | {OURS: {"model": to_dict(config)}}


def family(config: ViTConfig) -> str:
    """Return which of timm's classes has a model of `config`: beit, eva, distilled, hybrid or vit."""
    if config.position == "relative":
        return "beit"
    if config.position == "rope" or config.qkv_bias == "qv":
        return "eva"
    if config.distillation_token:
        return "distilled"
    return "hybrid" if config.stem == "resnet" else "vit"


def epsilon(config: ViTConfig) -> float:
    """Return the epsilon of the architecture that is written: 1e-5 where timm has one like this model, else 1e-6."""
    kind = family(config)
    near = abs(config.norm_eps - 1e-5) < abs(config.norm_eps - 1e-6)
    able = (kind == "vit" and config.activation != "swiglu") or (kind == "eva" and config.layer_scale)
    return 1e-5 if near and able else 1e-6


def model_arguments(config: ViTConfig) -> tuple[str, dict[str, Any]]:
    """Return the architecture's name and what to say beside it; everything but epsilon and stem is said."""
    kind, size = family(config), _SIZES.get(config.dim, "base")
    arguments = _sizes(config) | {"eva": _eva, "beit": _beit}.get(kind, _vit)(config)
    if kind == "beit":
        return "beit_base_patch16_224", arguments
    if kind == "distilled":
        return f"deit_{size if size != 'large' else 'base'}_distilled_patch16_224", arguments
    if kind == "hybrid":
        return f"vit_{HYBRIDS[config.resnet_depths]}_224", arguments
    if kind == "eva":
        third = f"vit_{size if size != 'tiny' else 'base'}_patch16_dinov3"
        return third if epsilon(config) == 1e-5 else "eva_giant_patch14_224", arguments
    if config.activation == "swiglu":
        return "vit_giant_patch14_dinov2", arguments
    return "vit_base_patch16_clip_224" if epsilon(config) == 1e-5 else f"vit_{size}_patch16_224", arguments


def _sizes(config: ViTConfig) -> dict[str, Any]:
    rows, columns = config.patch_size
    halves = 2 if config.activation == "swiglu" and family(config) == "vit" else 1
    said = {
        "img_size": list(config.image_size),
        "patch_size": rows if rows == columns else [rows, columns],
        "in_chans": config.in_channels,
        "num_classes": config.num_classes,
        "global_pool": {ours: theirs for theirs, ours in POOLS.items()}[config.pool],
        "embed_dim": config.dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": _ratio(halves * config.mlp_dim, config.dim),
        "qkv_bias": config.qkv_bias != "none",
    }
    eva = family(config) == "eva"  # there 0 is a value, elsewhere it is none
    return said if eva and not config.layer_scale else said | {"init_values": config.layer_scale}


def _ratio(hidden: int, dim: int) -> float:
    """Return the ratio that timm turns back into `hidden` by int(dim * ratio)."""
    exact = hidden / dim
    return exact if int(dim * exact) == hidden else (hidden + 0.5) / dim


def _vit(config: ViTConfig) -> dict[str, Any]:
    said = {
        "class_token": config.class_token,
        "reg_tokens": config.num_registers,
        "no_embed_class": unplaced(config),
        "pos_embed": "learn" if config.position == "learned" else "none",
        "qk_norm": config.qk_norm,
        "proj_bias": config.proj_bias,
        "pre_norm": config.pre_norm,
        "final_norm": config.final_norm or config.fc_norm,
        "fc_norm": config.fc_norm,
    }
    return said | ({} if config.activation == "swiglu" else {"act_layer": config.activation})


def _eva(config: ViTConfig) -> dict[str, Any]:
    return {
        "class_token": config.class_token,
        "num_reg_tokens": config.num_registers,
        "no_embed_class": unplaced(config),
        "use_abs_pos_emb": config.position == "learned",
        "use_rot_pos_emb": config.position == "rope",
        "rope_type": "dinov3",
        "rope_temperature": config.rope_base,
        "rope_rotate_half": True,
        "attn_type": "rope" if config.qkv_bias == "qkv" else "eva",
        "qk_norm": config.qk_norm,
        "swiglu_mlp": config.activation == "swiglu",
        "swiglu_align_to": 1,
        "use_pre_transformer_norm": config.pre_norm,
        "use_post_transformer_norm": config.final_norm,
        "use_fc_norm": config.fc_norm,
    }


def _beit(config: ViTConfig) -> dict[str, Any]:
    return {
        "use_abs_pos_emb": False,
        "use_rel_pos_bias": True,
        "use_fc_norm": config.fc_norm,
        "swiglu_mlp": config.activation == "swiglu",
    }


def unplaced(config: ViTConfig) -> bool:
    """Return whether the tokens before the patches get no rows in the table that is written."""
    named = config.class_token or config.num_registers
    return bool(named and not config.position_prefix)
