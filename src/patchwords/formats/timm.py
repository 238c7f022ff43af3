"""timm: folders of `save_for_hf` (config.json and safetensors), bare state dicts; DeiT's, BEiT's and MAE's own files.

Our parameter names are timm's, so that most arrays are taken as they are. timm has four classes for what is one here:
VisionTransformer, its distilled form, Eva (DINOv3: rotary positions, k without bias) and Beit (relative positions).

Sources: timm 1.0.31, models/vision_transformer.py, deit.py, eva.py, beit.py, vision_transformer_hybrid.py; DeiT III's
models_v2.py (2204.07118); MAE's models_mae.py (2111.06377).
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..architecture import ViTConfig
from ..checkpoint import LoadedModel
from ..models import build_empty
from .format import Format, Source
from .layout import SAME, Layout, Pair, joined, pair, simple
from .timm_config import HYBRIDS, epsilon, family, unplaced, written_config
from .timm_describe import describe
from .timm_shapes import prefix_of, without_prefix

_IDLE = {
    "decoder_*": "decoder of the pre-training (MAE)",
    "mask_token": "stands for hidden patches in pre-training",
    "lm_head.*": "head of the pre-training (BEiT)",
    "*relative_position_index": "computed from the grid",
    "text.*": "the text tower of a pair (CLIP, SigLIP)",
    "logit_scale": "of the comparison with texts (CLIP, SigLIP)",
    "logit_bias": "of the comparison with texts (SigLIP)",
}


def recognises(source: Source) -> bool:
    """Return whether the names are timm's, with any prefix."""
    return prefix_of(source.tensors) is not None


def canonical(source: Source) -> Source:
    """Return the source without a prefix such as `module.` or `visual.trunk.`."""
    return Source(without_prefix(source.tensors, {}), source.config, source.preprocess)


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies: nearly all under our own name, in the same order."""
    names = list(build_empty(config).state_dict())
    return [_pair(name, source, config) for name in names]


def _pair(name: str, source: Source | None, config: ViTConfig) -> Pair:
    if name == "pos_embed":
        return pair(name, name, _table(source, config))
    if name == "reg_token" and source is not None and _placed_registers(source, config):
        return pair(name, (name, "pos_embed"), _register_rows(source, config))
    block, _, rest = name.removeprefix("blocks.").partition(".")
    if not name.startswith("blocks."):
        return pair(name, name)
    if rest in ("ls1.gamma", "ls2.gamma") and _has(source, "gamma_1", family(config) in ("eva", "beit")):
        return pair(name, f"blocks.{block}.gamma_{rest[2]}")
    gated = config.activation == "swiglu" and family(config) in ("eva", "beit")
    if rest in ("mlp.fc1.weight", "mlp.fc1.bias") and _has(source, "mlp.fc1_g.weight", gated):
        kind = rest.rpartition(".")[2]
        return pair(name, [f"blocks.{block}.mlp.fc1_{half}.{kind}" for half in "gx"], joined(("gate", "value")))
    return pair(name, name)


def _has(source: Source | None, name: str, written: bool) -> bool:
    """Return whether blocks have the array `name`: in the file that is read, or in the one that is `written`."""
    return written if source is None else f"blocks.0.{name}" in source.tensors


def _table(source: Source | None, config: ViTConfig) -> Layout:
    """Return the layout of `pos_embed`, which timm gives rows for the registers when the class token has one."""
    placed, registers = config.num_placed_prefix_tokens, config.num_registers
    rows = 0 if source is None else source.tensors.shapes.get("pos_embed", (0, 0))[1]
    gap = rows == placed + registers + math.prod(config.grid) if source else not unplaced(config)
    if not (gap and registers):
        return SAME

    def to_theirs(ours: Tensor) -> Tensor:
        return torch.cat([ours[:, :placed], ours.new_zeros(1, registers, ours.shape[2]), ours[:, placed:]], dim=1)

    def to_ours(theirs: Tensor) -> Tensor:
        return torch.cat([theirs[:, :placed], theirs[:, placed + registers :]], dim=1)

    return simple("rows of the registers taken out", to_ours, to_theirs)


def _placed_registers(source: Source, config: ViTConfig) -> bool:
    """Return whether a table that is read has rows for the registers, and not only zeros."""
    if config.position != "learned" or _table(source, config) is SAME:
        return False
    placed = config.num_placed_prefix_tokens
    return bool(source.tensors.read("pos_embed")[:, placed : placed + config.num_registers].any())


def _register_rows(source: Source, config: ViTConfig) -> Layout:
    """Return the layout of registers whose positions are added to them: only the sum is ever used."""
    placed, shape = config.num_placed_prefix_tokens, source.tensors.shapes["pos_embed"]

    def to_ours(arrays: Any) -> Tensor:
        return arrays[0].float() + arrays[1][:, placed : placed + config.num_registers].float()

    return Layout("their rows of pos_embed added", to_ours, lambda ours: [ours, ours.new_zeros(shape)])


def idle(name: str, config: ViTConfig) -> str:
    """Return why an array is not needed."""
    return next((why for pattern, why in _IDLE.items() if fnmatch.fnmatchcase(name, pattern)), "")


def refuses(config: ViTConfig) -> list[str]:
    """Return what no class of timm can be told."""
    found = [f"position={config.position}"] if config.position in ("learned_2d", "sincos_2d") else []
    found += [f"pool={config.pool}"] if config.pool == "cls+mean" else []
    found += [f"pre_logits={config.pre_logits}"] if config.pre_logits else []
    found += ["a head without bias"] if config.num_classes and not config.head_bias else []
    found += ["the conv stem"] if config.stem.startswith("conv") else []
    found += ["swiglu with attention pooling"] if config.pool == "map" and config.activation == "swiglu" else []
    if config.pre_norm == config.patch_bias:
        found.append(f"pre_norm={config.pre_norm} with patch_bias={config.patch_bias}")
    return found + {"eva": _eva_refuses, "beit": _beit_refuses}.get(family(config), _vit_refuses)(config)


def _vit_refuses(config: ViTConfig) -> list[str]:
    kind, found = family(config), []
    if config.proj_bias != config.mlp_bias:
        found.append(f"proj_bias={config.proj_bias} with mlp_bias={config.mlp_bias}")
    if not config.mlp_bias and config.pool == "map":
        found.append("attention pooling without biases")
    if config.final_norm and config.fc_norm:
        found.append("final_norm and fc_norm in one model")
    if config.activation == "swiglu" and kind != "vit":
        found.append(f"swiglu in a {kind} model")
    if kind == "hybrid" and (config.resnet_depths not in HYBRIDS or config.resnet_width != 1.0):
        found.append(f"a resnet stem of {config.resnet_depths} units, width {config.resnet_width}")
    if kind == "distilled":
        found += [] if config.num_classes else ["features of two tokens without a head"]
        odd = {"num_registers": 0, "position": "learned", "position_prefix": True, "fc_norm": False, "stem": "patch"}
        found += [
            f"{name}={getattr(config, name)} with distillation" for name in odd if getattr(config, name) != odd[name]
        ]
    return found


def _eva_refuses(config: ViTConfig) -> list[str]:
    found = _unlike(
        config, {"proj_bias": True, "mlp_bias": True, "distillation_token": False, "stem": "patch"}, "DINOv3"
    )
    if config.activation not in ("gelu", "swiglu"):
        found.append(f"activation={config.activation} in its Eva class")
    if config.pool == "map" and config.num_prefix_tokens:
        found.append("attention pooling of the patches alone in its Eva class")
    return found


def _beit_refuses(config: ViTConfig) -> list[str]:
    usual = {"proj_bias": True, "mlp_bias": True, "distillation_token": False, "stem": "patch", "pre_norm": False}
    usual |= {"class_token": True, "num_registers": 0, "qk_norm": False, "final_norm": not config.fc_norm}
    found = _unlike(config, usual, "BEiT")
    found += ["pool=map in its Beit class"] if config.pool == "map" else []
    found += ["qkv_bias=qkv in its Beit class"] if config.qkv_bias == "qkv" else []
    if config.activation not in ("gelu", "swiglu"):
        found.append(f"activation={config.activation} in its Beit class")
    return found


def _unlike(config: ViTConfig, usual: Mapping[str, Any], kind: str) -> list[str]:
    return [f"{n}={getattr(config, n)} in its {kind} class" for n in usual if getattr(config, n) != usual[n]]


def constants(config: ViTConfig) -> dict[str, Any]:
    """Return the epsilons that the written architecture has."""
    return {"norm_eps": epsilon(config), "resnet_rule": "timm" if config.stem == "resnet" else config.resnet_rule}


def files(loaded: LoadedModel, out: Path) -> dict[str, Any]:
    """Return config.json; timm has no other file beside the arrays."""
    return {"config.json": written_config(loaded)}


FORMAT = Format(
    name="timm",
    about="timm's Vision Transformers, a folder or a state_dict; DeiT's, BEiT's and MAE's own files",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
    refuses=refuses,
    constants=constants,
    files=files,
)
