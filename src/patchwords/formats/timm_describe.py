"""What a timm checkpoint says of its model: arrays, config.json, the architecture's name, custom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..architecture import ViTConfig
from ..errors import CheckpointError
from ..models.zoo import SHAPES
from .format import IMAGENET, OPENAI, Description, Facts, Source
from .tensors import Tensors
from .timm_architectures import Architecture, architecture
from .timm_config import OURS, POOLS, Convention, classes_of, family, input_size, preprocess_of
from .timm_shapes import (
    Changes,
    computed_positions,
    learned_positions,
    relative_positions,
    told_by_shapes,
    told_heads,
)

_AUGREG = Convention({"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_fraction": 0.9}, "that of timm's first ViTs")
_IMAGENET = Convention(IMAGENET | {"crop_fraction": 0.9}, "that of DeiT, DINO and MAE in timm")
_CLIP = Convention(OPENAI | {"crop_fraction": 1.0}, "that of CLIP")
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu"}
_NORMS = ("layernorm", "layernormfp32")
"""norm_layer by name: its epsilon is that of timm's class, whatever the architecture"""
_KEPT = (
    "norm_eps", "activation", "position", "position_resize", "rope_base", "dropout", "attention_dropout", "drop_path",
    "patch_dropout", "relative_slope", "residual_gain",
)  # fmt: skip
"""settings that are taken from our own entry of config.json"""
_USUAL_SIZE = (224, 224)
_UNUSUAL = {"patch_bias": False, "qkv_bias": "none", "proj_bias": False, "mlp_bias": False, "head_bias": False}
"""what a file without config.json is read as when it consistently lacks such arrays"""


def describe(source: Source, facts: Facts) -> Description:
    """Return the model: sizes and switches from the arrays, the rest from config.json or by convention.

    Raises:
        CheckpointError: the architecture computes something else; or nobody says how many heads or which grid.
    """
    tensors, config = source.tensors, source.config
    arguments = {name: value for name, value in mapping(config, "model_args").items() if value is not None}
    named = architecture(str(config.get("architecture", "")))
    _require_ours(named, arguments, facts.where)
    ours = mapping(mapping(config, OURS), "model")
    said = told_by_shapes(tensors)
    gated = said.get("activation") == "swiglu" and said["qkv_bias"] == "qv" and "pos_embed" in tensors
    if gated and not (named.name or "position" in facts):
        fix = "Give --model.position learned if its positions are the table's alone"
        raise CheckpointError("could be EVA-02, with rotary positions in pixels", where=facts.where, fix=fix)
    if named.name:
        said |= _expected(said, config, arguments, named)
    else:
        facts.assumed |= {name: f"{value} (no such arrays)" for name, value in _UNUSUAL.items() if said[name] == value}
    said = {name: ours[name] for name in _KEPT if name in ours} | said
    said |= _layers(tensors, said, named, arguments, ours, facts)
    said |= _positions(tensors, said, config, arguments, named, facts)
    said["pool"] = _pool(tensors, said, config, arguments, named, facts)
    made = ViTConfig(**said)
    if family(made) == "eva" and made.pool == "map" and made.num_prefix_tokens:
        what = "is a model of another kind: attention pooling over the class token too"
        raise CheckpointError(what, where=facts.where, fix="Its tokens can be had from a copy without attn_pool")
    facts.assumed |= _remarks(made)
    convention = _convention(made, "decoder_embed.weight" in tensors)
    preprocess, assumed = preprocess_of(config, made.image_size, made.in_channels, convention)
    classes, more = classes_of(config, made.num_classes)
    return Description(made, preprocess, classes, assumed | more)


def _convention(config: ViTConfig, mae: bool) -> Convention:
    """Return how pictures are prepared for models of this kind."""
    if config.pre_norm:
        return _CLIP
    later = config.layer_scale and config.position != "relative"
    return _IMAGENET if config.distillation_token or later or mae else _AUGREG


def _remarks(config: ViTConfig) -> dict[str, str]:
    """Return where our answers differ from timm's although every array is the same."""
    found = {}
    if config.distillation_token and not config.num_classes:
        found["features"] = "the class token (without a head timm answers its mean with the distillation token)"
    return found


def mapping(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an entry of a JSON object that is one itself; an empty one when it is not there."""
    found = config.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is not an object")
    return found


def _require_ours(named: Architecture, arguments: Mapping[str, Any], where: str) -> None:
    """Raise CheckpointError when the architecture or its arguments ask for what our model does not do."""
    reasons = [f"{named.name} has {named.refused}"] if named.refused else []
    for name in ("pool_include_prefix", "use_post_norm", "scale_attn_norm", "rope_mrope_section", "swiglu_gate_last"):
        reasons += [f"{name}={arguments[name]}"] if arguments.get(name) else []
    if arguments.get("norm_layer", "layernorm") not in _NORMS:
        reasons.append(f"norm_layer={arguments['norm_layer']}")
    if not named.rope and arguments.get("use_rot_pos_emb") and arguments.get("rope_type") != "dinov3":
        reasons.append("rotary positions in pixels")
    if arguments.get("global_pool", "") not in POOLS:
        reasons.append(f"global_pool={arguments['global_pool']}")
    if reasons:
        what = f"is a model of another kind: {'; '.join(reasons)}"
        raise CheckpointError(what, where=where, fix="Plain, distilled, DINOv3 and BEiT models can be read")


def _expected(said: Changes, config: Mapping[str, Any], arguments: Mapping[str, Any], named: Architecture) -> Changes:
    """Return the switches of a model whose architecture is named, so that a lost array is missed, not taken as off."""
    found: Changes = {"patch_bias": not said["pre_norm"], "head_bias": True}
    found["proj_bias"] = found["mlp_bias"] = arguments.get("proj_bias", True)
    if said["qkv_bias"] == "none" and arguments.get("qkv_bias", named.qkv_bias):
        found["qkv_bias"] = "qkv"
    if not (said["final_norm"] or said["fc_norm"]) and arguments.get("final_norm", named.final_norm):
        found["final_norm"] = True
    registers = arguments.get("reg_tokens", arguments.get("num_reg_tokens", named.num_registers))
    found["num_registers"] = int(registers)
    if named.rope or "class_token" in arguments:
        found["class_token"] = bool(arguments.get("class_token", True))
    classes = config.get("num_classes", arguments.get("num_classes"))
    if classes is not None:
        found["num_classes"] = int(classes)
    if arguments.get("init_values"):
        found["layer_scale"] = float(arguments["init_values"])
    return found


def _layers(
    tensors: Tensors,
    said: Changes,
    named: Architecture,
    arguments: Mapping[str, Any],
    ours: Mapping[str, Any],
    facts: Facts,
) -> Changes:
    """Return heads, epsilon, activation and the start of LayerScale, which shapes do not tell."""
    found: Changes = {"num_heads": heads_of(tensors, said, facts, arguments.get("num_heads"), named.num_heads)}
    eps = 1e-6 if "norm_layer" in arguments else named.norm_eps
    third = bool(said["num_registers"]) and "pos_embed" not in tensors
    ground = "DINOv3's" if third else "that of timm's LayerNorm"
    found["norm_eps"] = facts.take("norm_eps", said.get("norm_eps", eps), 1e-5 if third else 1e-6, ground)
    word = arguments.get("act_layer")
    if word not in (None, "silu", *_ACTIVATIONS):
        fix = f"Known are {', '.join(_ACTIVATIONS)}"
        raise CheckpointError(f"has the activation {word!r}", where=facts.where, fix=fix)
    kind = said.get("activation") or _ACTIVATIONS.get(word or "") or named.activation
    found["activation"] = facts.take("activation", kind, "gelu", "timm's default")
    if "layer_scale" in said and ours.get("layer_scale"):
        found["layer_scale"] = float(ours["layer_scale"])
    return found


def heads_of(tensors: Tensors, said: Changes, facts: Facts, told: int | None, usual: int | None = None) -> int:
    """Return the number of heads: as `told`, as shapes tell, as `usual`, as in the papers' model of these sizes.

    Raises:
        CheckpointError: none of them says, and the width is no multiple of 64.
    """
    heads = told or told_heads(tensors) or usual
    same = [s for s in SHAPES.values() if all(said[name] == s[name] for name in ("dim", "depth", "mlp_dim"))]
    if heads is None and same:
        heads = facts.take("num_heads", None, same[0]["num_heads"], "the published model of these sizes")
    return facts.num_heads(said["dim"], heads)


def _positions(
    tensors: Tensors,
    said: Changes,
    config: Mapping[str, Any],
    arguments: Mapping[str, Any],
    named: Architecture,
    facts: Facts,
) -> Changes:
    """Return the kind of positions and the picture they belong to."""
    size = input_size(config)
    if "blocks.0.attn.relative_position_bias_table" in tensors:
        return relative_positions(tensors, said, facts, size)
    if "pos_embed" in tensors:
        return learned_positions(tensors, said, facts, size, "img_size" in arguments, arguments.get("no_embed_class"))
    third = said["class_token"] and said["num_registers"] and "layer_scale" in said and said["qkv_bias"] != "qkv"
    third = third and not named.name
    off = arguments.get("pos_embed") in ("", "none") or not arguments.get("use_rot_pos_emb", True)
    kind = said.get("position") or facts.get("position") or ("none" if off else None)
    if kind is None and (named.rope or arguments.get("rope_type") == "dinov3" or third):
        kind = "rope"
        facts.assumed |= {"position": "rope (DINOv3's: registers, no table)"} if third else {}
    if kind is None and named.name:
        kind = "learned"  # and the table is missed
    if kind is None:
        fix = "Give --model.position none, rope or sincos_2d (in Python: position=...)"
        raise CheckpointError("has no pos_embed and does not say why", where=facts.where, fix=fix)
    found = computed_positions(kind, said, facts, size, _USUAL_SIZE)
    base = said.get("rope_base", arguments.get("rope_temperature", 100.0))
    return found | ({"rope_base": float(base)} if kind == "rope" else {})


def _pool(
    tensors: Tensors,
    said: Changes,
    config: Mapping[str, Any],
    arguments: Mapping[str, Any],
    named: Architecture,
    facts: Facts,
) -> str:
    """Return how tokens become one vector: by attention where its arrays are, else as config.json says."""
    if "attn_pool.latent" in tensors:
        return "map"
    word = arguments.get("global_pool", config.get("global_pool"))
    if word is not None:
        if word not in POOLS:
            raise CheckpointError(f"pools by {word!r}", where=facts.where, fix=f"Known are {', '.join(POOLS)}")
        return POOLS[word]
    patches = said["fc_norm"] or not said["class_token"]
    third = said.get("position") == "rope" or ("pos_embed" not in tensors and said["num_registers"])
    usual = "mean" if patches or third else "cls"
    ground = "timm's default for these arrays"
    return facts.take("pool", named.pool if not patches else None, usual, ground)
