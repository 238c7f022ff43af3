"""What a folder of transformers says of its model: shapes first, then config.json, then the library's defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..architecture import Size, ViTConfig
from ..errors import CheckpointError
from ..preprocess import Preprocess
from .format import MOST_BLOCKS, Description, Facts, Source, numbered, numbers
from .transformers_families import BEIT, CLIP, DEIT, DINOV2, DINOV3, MAE, REGISTERS, SIGLIP, VIT, Family, family_of
from .transformers_files import ACTIVATIONS, MARKS
from .transformers_pairs import POSITIONS, WEIGHTS_IN

_HEADS = ("cls_classifier.weight", "classifier.weight", "visual_projection.weight")
_TABLE = "relative_position_bias_table"


def describe(source: Source, facts: Facts) -> Description:
    """Return the model: sizes from shapes, what shapes do not say from the config or the library's defaults."""
    family, shapes, said = family_of(source), source.tensors.shapes, source.config
    dim, channels, *patch = source.tensors.shape_of(f"{family.patch}.weight", 4)
    rows, columns = patch
    if min(dim, channels, rows, columns) < 1:
        raise source.tensors.fault(f"has patches of shape {shapes[f'{family.patch}.weight']}")
    classes = _classes(source)
    depth = _depth(source, family)
    settings = {
        "patch_size": (rows, columns),
        "in_channels": channels,
        "num_classes": len(classes),
        "dim": dim,
        "depth": depth,
        "num_heads": _num_heads(said, facts, family, dim),
        "norm_eps": facts.take("norm_eps", _number(source, "layer_norm_eps", 1.0), family.norm_eps, _ground(said)),
        "position_resize": family.resize,
        **_mlp(source, facts, family),
        **_biases(source, family),
        **_tokens(source, facts, family, len(classes)),
    }
    config = ViTConfig(**settings, image_size=_image_size(source, facts, family, settings))
    checked = {"hidden_size": dim, "num_channels": channels, "patch_size": (rows, columns)}
    if family not in (DINOV2, REGISTERS):
        checked["intermediate_size"] = config.mlp_dim
    for name, found in checked.items():
        _require_agreement(source, name, found)
    preprocess, assumed = _preprocess(source, family, config)
    return Description(config, preprocess, classes, assumed)


def _ground(said: Mapping[str, Any]) -> str:
    return "the default of transformers" if said else "there is no config.json; the default of transformers"


def _require_agreement(source: Source, name: str, found: Any) -> None:
    """Raise CheckpointError when the config says something else of a size than the shapes."""
    said = source.config.get(name)
    if said is not None and (_pair(said) if isinstance(found, tuple) else said) != found:
        what = f"has {name} {found}, its config.json says {said}"
        raise CheckpointError(what, where=source.tensors.where, fix="Weights and config.json belong to two models")


def _number(source: Source, name: str, most: float) -> float | None:
    """Return a number of the config, None when it is not said; refuse what is none from 0 to below `most`."""
    said = source.config.get(name)
    if said is not None and not 0 <= float(said) < most:  # neither is NaN
        raise CheckpointError(f"has {name} {said} in config.json", where=source.tensors.where, fix="Mend it")
    return said if said is None else float(said)


def _pair(size: Any) -> Size:
    if isinstance(size, Mapping):
        size = size["height"], size["width"]
    rows, columns = (size, size) if isinstance(size, int) else size
    return int(rows), int(columns)


def _depth(source: Source, family: Family) -> int:
    found, said = numbered(source.tensors, family.blocks), source.config.get("num_hidden_layers")
    if said is not None and not (isinstance(said, int) and found <= said < MOST_BLOCKS):
        _require_agreement(source, "num_hidden_layers", found)
    return found if said is None else said


def _num_heads(said: Mapping[str, Any], facts: Facts, family: Family, dim: int) -> int:
    heads = said.get("num_attention_heads")
    if heads is None and said:
        return facts.take("num_heads", None, family.num_heads, _ground(said))
    if heads is not None and type(heads) is not int:
        raise CheckpointError(f"has num_attention_heads {heads!r} in config.json", where=facts.where, fix="Mend it")
    width = said.get("head_dim")
    if heads and width and width * heads != dim:
        raise CheckpointError(f"has {heads} heads {width} wide in a width of {dim}", where=facts.where)
    return facts.num_heads(dim, heads)


def _mlp(source: Source, facts: Facts, family: Family) -> dict[str, Any]:
    said, shapes, first = source.config, source.tensors.shapes, f"{family.blocks}0."
    signs = (f"{first}{WEIGHTS_IN}.weight", *(f"{first}{name}.weight" for name in family.gated[:1]))
    gated = said.get("use_swiglu_ffn" if family is not DINOV3 else "use_gated_mlp")
    if family.gated and (gated or (gated is None and any(name in shapes for name in signs))):
        if family is DINOV3 and said.get("hidden_act", "silu") not in ("silu", "swish"):
            raise CheckpointError(f"gates its MLP with {said['hidden_act']}, not silu", where=facts.where)
        stacked = shapes.get(signs[0])
        hidden = stacked[0] // 2 if stacked else source.tensors.shape_of(signs[1], 2)[0]
        return {"activation": "swiglu", "mlp_dim": hidden}
    name = facts.get("activation") or ACTIVATIONS.get(said.get("hidden_act", family.activation))
    if name is None:
        allowed = ", ".join(sorted(set(ACTIVATIONS)))
        raise CheckpointError(f"has hidden_act {said['hidden_act']!r}", where=facts.where, fix=f"Allowed: {allowed}")
    if "hidden_act" not in said:
        facts.take("activation", None, name, _ground(said))
    return {"activation": name, "mlp_dim": source.tensors.shape_of(f"{first}{family.block['mlp.fc1']}.weight", 2)[0]}


def _biases(source: Source, family: Family) -> dict[str, Any]:
    """Return which biases there are; only those that the library can leave out may be absent."""
    said, names = source.config, list(source.tensors)
    q, k, v = (any(name.endswith(f".{module}.bias") for name in names) for module in family.qkv)
    found = {"qkv_bias": "qkv" if q or k or v or said.get("qkv_bias") else "none"}
    if family in (DINOV3, BEIT) and not k and (not said or not said.get("key_bias")):
        found["qkv_bias"] = "qv" if q or v or said.get("query_bias") else "none"
    if family is DINOV3:
        ends = {"proj_bias": ".attention.o_proj.bias", "mlp_bias": ".mlp.down_proj.bias"}
        for setting, end in ends.items():
            there = any(name.endswith(end) for name in names)
            found[setting] = there if said.get(setting) is None else bool(said[setting]) or there
    if family is CLIP:
        found |= {"patch_bias": False, "head_bias": "visual_projection.weight" not in source.tensors}
    return found


def _classes(source: Source) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the head's rows; empty without a head."""
    said, shapes = source.config, source.tensors.shapes
    head = next((name for name in _HEADS if name in shapes), None)
    labels = said.get("id2label")
    if head is None and not _is_classifier(said):
        return ()
    if head == "visual_projection.weight":
        return numbers(shapes[head][0])
    count = shapes[head][0] if head else 2 if labels is None else len(labels)
    if labels is None:
        return tuple(f"LABEL_{i}" for i in range(count)) if said else numbers(count)
    named = {int(key): str(name) for key, name in labels.items()}
    if sorted(named) != list(range(count)):
        what = f"has a head for {count} classes, its config.json names {len(named)}"
        raise CheckpointError(what, where=source.tensors.where, fix="Weights and config.json belong to two models")
    return tuple(named[i] for i in range(count))


def _is_classifier(said: Mapping[str, Any]) -> bool:
    return any("ForImageClassification" in str(name) for name in said.get("architectures") or ())


def _tokens(source: Source, facts: Facts, family: Family, num_classes: int) -> dict[str, Any]:
    """Return tokens, positions and how tokens become one vector."""
    said, tensors = source.config, source.tensors
    classifier = _is_classifier(said) or "classifier.weight" in tensors
    found: dict[str, Any] = {"pool": "cls", "position_prefix": not _zero_rows(source, family)}
    if family in (VIT, DEIT, MAE) and not num_classes and "pooler.dense.weight" in tensors:
        if said.get("pooler_act", "tanh") != "tanh":
            raise CheckpointError(f"has pooler_act {said['pooler_act']!r}, not tanh", where=facts.where)
        found["pre_logits"] = tensors.shapes["pooler.dense.weight"][0]
    if family is DEIT:
        distilled = "classifier.weight" not in tensors
        found |= {"distillation_token": distilled, "num_registers": 0 if distilled else 1}
        if distilled and not num_classes and "Teacher" in str(said.get("architectures")):
            about = "the class token (without classes transformers answers its mean with the distillation token)"
            facts.assumed["features"] = about
    if family in (DINOV2, REGISTERS, DINOV3):
        found["layer_scale"] = float(said.get("layerscale_value") or 1.0)
        found["pool"] = _dinov2_pool(source) if classifier and family is not DINOV3 else "cls"
    if family in (REGISTERS, DINOV3):
        found["num_registers"] = tensors.shape_of("embeddings.register_tokens", 3)[1]
        _require_agreement(source, "num_register_tokens", found["num_registers"])
    if family is DINOV3:
        base = facts.take("rope_base", _number(source, "rope_theta", 1e9), 100.0, _ground(said))
        found |= {"position": "rope", "rope_base": base, "position_prefix": True}
    if family is SIGLIP:
        found |= {"class_token": False, "position_prefix": True, "pool": _siglip_pool(source, facts, classifier)}
    if family is CLIP:
        found |= {"pre_norm": True} | ({"pool": "mean", "final_norm": False} if classifier else {})
    return found | (_beit(source) if family is BEIT else {})


def _beit(source: Source) -> dict[str, Any]:
    said, tensors = source.config, source.tensors
    said_relative = said.get("use_relative_position_bias") or said.get("use_shared_relative_position_bias")
    relative = any(name.endswith(_TABLE) for name in tensors)
    none = said and not (relative or said_relative or said.get("use_absolute_position_embeddings"))
    if relative and POSITIONS in tensors:
        raise tensors.fault("has both relative and absolute positions")
    mean = "pooler.layernorm.weight" in tensors
    mean = mean or ("layernorm.weight" not in tensors and bool(said.get("use_mean_pooling", True)))
    scaled = any(name.endswith(".lambda_1") for name in tensors)
    found = {
        "position": "relative" if relative or said_relative else "learned",
        "layer_scale": (float(said.get("layer_scale_init_value") or 0.1)) if scaled else 0.0,
    }
    if none and POSITIONS not in tensors:
        found["position"] = "none"
    return found | ({"pool": "mean", "fc_norm": True, "final_norm": False} if mean else {})


def _siglip_pool(source: Source, facts: Facts, classifier: bool) -> str:
    said = source.config
    if classifier:
        return "mean"
    there = any(name.startswith("head.") for name in source.tensors)
    if there or (said and said.get("vision_use_head", True)):
        return "map"
    return facts.take("pool", None, "mean", "there is no pooling head; what SiglipForImageClassification reads")


def _dinov2_pool(source: Source) -> str:
    """Return what the head of DINOv2 reads: half of it zero means that only one of class token and mean counts."""
    mark = _mark(source, "pool")
    if mark is not None or "classifier.weight" not in source.tensors:
        return mark or "cls+mean"
    weight = source.tensors.read("classifier.weight")
    of_cls, of_mean = (not bool((half == 0).all()) for half in weight.tensor_split(2, dim=-1))
    return "cls+mean" if of_cls == of_mean else "cls" if of_cls else "mean"


def _zero_rows(source: Source, family: Family) -> bool:
    """Return whether the positions of class and distillation token are zero, as where they do not exist."""
    mark = _mark(source, "position_prefix")
    if mark is not None:
        return not mark
    name = next((name for name in (f"{POSITIONS}#0", family.positions) if name in source.tensors), None)
    if name is None:
        return False
    table: Tensor = source.tensors.read(name)
    prefixes = 2 if family is DEIT and not name.endswith("#0") else 1
    return bool((table.reshape(-1, table.shape[-1])[:prefixes] == 0).all())


def _mark(source: Source, name: str) -> Any:
    """Return a setting that was written into config.json because the arrays alone can be read in two ways."""
    value = (source.config.get(MARKS) or {}).get(name)
    allowed = {"pool": ("cls", "mean", "cls+mean"), "position_prefix": (True, False)}[name]
    if value is not None and value not in allowed:
        raise CheckpointError(f"says {name} {value!r} in config.json", where=source.tensors.where)
    return value


def _image_size(source: Source, facts: Facts, family: Family, settings: Mapping[str, Any]) -> Size:
    """Return the picture the table of positions belongs to; patches that do not fill it leave its end out."""
    shapes, cell = source.tensors.shapes, settings["patch_size"]
    said = None if source.config.get("image_size") is None else _pair(source.config["image_size"])
    if said is not None:
        said = facts.whole(said, cell)
    if settings.get("position", "learned") == "learned":
        parts = [shapes[name][-2] for name in (family.positions, f"{POSITIONS}#0", f"{POSITIONS}#2") if name in shapes]
        prefixes = settings.get("class_token", True) + settings.get("distillation_token", False)
        return facts.image_size(sum(parts) - prefixes, cell, said)
    if said is None and settings["position"] == "relative":
        rows = next(shape[0] for name, shape in shapes.items() if name.endswith(_TABLE))
        return facts.image_size(((math.isqrt(max(rows - 3, 0)) + 1) // 2) ** 2, cell)
    side = (family.image_size // cell[0] * cell[0], family.image_size // cell[1] * cell[1])
    ground = f"{_ground(source.config)}; positions are computed for any size"
    if said is None:
        facts.assumed["image_size"] = f"{side[0]}x{side[1]} ({ground})"
    return said or side


def _preprocess(source: Source, family: Family, config: ViTConfig) -> tuple[Preprocess, dict[str, str]]:
    """Return the preprocessing of the file, or else that of the family's own weights, which is then stated."""
    channels, reason = config.in_channels, "there is no preprocessor_config.json"
    if source.preprocess:
        found = Preprocess.from_json(dict(source.preprocess))
        cell = config.patch_size
        size = tuple(max(side // part, 1) * part for side, part in zip(found.image_size, cell, strict=True))
        if found.channels == channels and size == found.image_size:
            return found, {}
        if found.channels == channels:
            about = f"pictures of {size[0]}x{size[1]}, as patches of {cell[0]}x{cell[1]} do not fill the size it says"
            return dataclasses.replace(found, image_size=size), {"preprocessing": about}
        reason = f"its preprocessor_config.json is for {found.channels} channels, not {channels}"
    pixels = dict(family.pixels)
    if channels != 3 or not isinstance(pixels["mean"], tuple):
        pixels |= {"mean": (0.5,) * channels, "std": (0.5,) * channels}
    about = f"that of the first {family.class_name} weights: {pixels['resize']}, {pixels['interpolation']}, "
    about += f"mean {', '.join(f'{value:.3g}' for value in pixels['mean'])} ({reason})"
    return Preprocess(image_size=config.image_size, channels=channels, **pixels), {"preprocessing": about}
