"""Folders of Hugging Face transformers: config.json with a model_type, weights, preprocessor_config.json.

Read: ViT, ViT-MSN, MAE (its encoder), DeiT, BEiT, DINOv2 with and without registers, DINOv3, and the vision towers of
SigLIP and CLIP; with the head for image classification that the library has for them, or without. What is ours there:

| theirs                                  | ours                                                                  |
|-----------------------------------------|-----------------------------------------------------------------------|
| pooler of ViTModel, DeiTModel           | `pre_logits` without a head: the answer is the pooler's               |
| DINOv2's head on class token and mean   | `pool=cls+mean`; with a half of zeros `pool=cls` or `pool=mean`       |
| DeiT with one head                      | its distillation token is a register, its position added to it        |
| SigLIP's pooling head                   | `pool=map`; its classifier reads the mean instead (`pool=mean`)       |
| CLIP's projection                       | a head without bias; its classifier reads the mean before the norm    |
| table of positions with a zero first row| `position_prefix=False`: what timm and DeiT III have                  |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..architecture import ViTConfig
from . import transformers_pairs
from .format import Format, Source
from .layout import Pair
from .transformers_describe import describe
from .transformers_families import CLIP, DINOV2, DINOV3, REGISTERS, SIGLIP, TYPES, VIT, family_of
from .transformers_files import family_for, files, refuses, written_names
from .transformers_pairs import POSITIONS, joined_parts, split

_PATCHES = tuple(f"{family.patch}.weight" for family in (VIT, DINOV3, SIGLIP))
_NESTED = ("siglip", "clip")
"""model types whose config.json holds that of the vision tower under vision_config"""
_IDLE = {
    r"embeddings\.mask_token": "stands for hidden patches in pre-training",
    r"(decoder|lm_head|bert_head)\..*": "decoder of the pre-training",
    r"(text_model|text_projection)\..*|logit_scale|logit_bias": "text tower of the pair",
    r".*\.(position_ids|relative_position_index)": "numbers that are computed here",
    r"rope_embeddings\..*": "angles that are computed here",
}
"""pattern of a name -> why no model needs it"""


def recognises(source: Source) -> bool:
    """Return whether the names are those of a patch matrix in transformers, or the config names one of its models."""
    return source.config.get("model_type") in TYPES or any(name.endswith(_PATCHES) for name in source.tensors)


def canonical(source: Source) -> Source:
    """Return the source with the names of version 4 without prefixes, and the config of the vision tower alone."""
    family, tensors = family_of(source), source.tensors
    while len(shared := {name.partition(".")[0] for name in tensors if "." in name}) == 1:  # module., model., net.
        tensors = tensors.stripped(f"{shared.pop()}.")
    found = [name for name in tensors if f".{name}".endswith(f".{family.patch}.weight")]
    if len(found) != 1:
        raise tensors.fault(f"has {len(found)} patch matrices, {family.patch}.weight")
    prefix, names = found[0].removesuffix(f"{family.patch}.weight"), {}
    for name in tensors:
        short = name.removeprefix(prefix)
        for pattern, spelling in family.spellings:
            short = re.sub(pattern, spelling, short)
        if short in names:
            raise tensors.fault(f"has both {names[short]} and {name}, which are one")
        names[short] = name
    config = dict(source.config)
    if config.get("model_type") in _NESTED:
        config = {**dict(config.get("vision_config") or {}), **{k: v for k, v in config.items() if "config" not in k}}
    if config:
        config["model_type"] = family.name
    return Source(split(tensors.renamed(names), family), config, source.preprocess)


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies: under canonical names when reading, under those of the file when writing."""
    if source is not None:
        return transformers_pairs.pairs(family_of(source), config, source.tensors)
    return written_names(transformers_pairs.pairs(family_for(config), config, None), config)


def assemble(arrays: Mapping[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """Return the arrays as they lie in the file: parts joined, and those that the library wants though idle."""
    found, family, width = joined_parts(arrays), family_for(config), config.dim
    token = next(name for name in found if name.endswith(family.cls)).removesuffix(family.cls) if family.scales else ""
    like = next(iter(found.values()))
    if family in (DINOV2, REGISTERS, DINOV3):
        found[f"{token}embeddings.mask_token"] = like.new_zeros((1, 1, width) if family is DINOV3 else (1, width))
    if family is DINOV3 and not config.num_registers:
        found[f"{token}embeddings.register_tokens"] = like.new_zeros(1, 0, width)
    if family is CLIP and not config.final_norm:
        norm = f"{family.prefix}{family.norm}"
        found |= {f"{norm}.weight": like.new_ones(width), f"{norm}.bias": like.new_zeros(width)}
    return found


def idle(name: str, config: ViTConfig) -> str:
    """Return why the model needs no array of this canonical name."""
    why = next((why for pattern, why in _IDLE.items() if re.fullmatch(pattern, name)), "")
    if not why and re.fullmatch(r"pooler\.dense\.(weight|bias)", name) and config.num_classes:
        return "pooler; the classifier reads the class token"
    if not why and config.pool == "mean" and config.num_classes and _is_pooling(name):
        return "pooling head; the classifier reads the mean of the patches"
    if not why and re.fullmatch(r"post_layernorm\.(weight|bias)", name) and not config.final_norm:
        return "the classifier reads tokens before the last norm"
    if name == "embeddings.register_tokens" and not config.num_registers:
        return "holds no register"
    zero = name == f"{POSITIONS}#0" and not config.position_prefix
    return "zero, as is the position of tokens without one" if zero else why


def _is_pooling(name: str) -> bool:
    parts = ("probe", "attention.in_proj_(weight|bias)#[01]", "(attention.out_proj|layernorm|mlp.fc[12]).(weight|bias)")
    return any(re.fullmatch(rf"head\.{part}", name) for part in parts)


FORMAT = Format(
    name="transformers",
    about="Hugging Face transformers: ViT, DeiT, BEiT, DINOv2, DINOv3, SigLIP, CLIP, MAE folders",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
    refuses=refuses,
    files=files,
    assemble=assemble,
)
