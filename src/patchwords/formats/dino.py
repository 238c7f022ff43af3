"""The official files of DINO, DINOv2 and DINOv3: backbones, and whole training checkpoints; reading only.

Sources: facebookresearch/dino (2104.14294) vision_transformer.py; facebookresearch/dinov2 (2304.07193, registers
2309.16588) models/vision_transformer.py, layers/swiglu_ffn.py, hub/backbones.py and classifiers.py; facebookresearch/
dinov3 (2508.10104) models/vision_transformer.py, layers/attention.py (bias_mask), layers/rope_position_encoding.py.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import torch
from torch import Tensor

from ..architecture import ViTConfig
from ..errors import CheckpointError
from ..preprocess import Preprocess
from . import timm
from .format import IMAGENET, Description, Facts, Format, Source, numbers
from .layout import Layout, Pair, pair
from .tensors import Tensors
from .timm_config import per_channel
from .timm_describe import heads_of
from .timm_shapes import Changes, computed_positions, learned_positions, prefix_of, told_by_shapes, without_prefix

_SIGNS = (
    "storage_tokens",
    "register_tokens",
    "rope_embed.periods",
    "*.attn.qkv.bias_mask",
    "*.mlp.w12.weight",
    "*.mlp.w3.weight",
    "local_cls_norm.*",
    "*head.last_layer.*",
    "linear_head.weight",
)
"""names that only these files have"""
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+)\.(.+)")
"""FSDP training files of DINOv2: blocks.<chunk>.<number of the block>."""
_SPELLINGS = {
    "mlp.w12.": "mlp.fc1.",
    "mlp.w1.": "mlp.fc1_g.",
    "mlp.w2.": "mlp.fc1_x.",
    "mlp.w3.": "mlp.fc2.",
}
_TOKENS = {
    "storage_tokens": "reg_token",
    "register_tokens": "reg_token",
    "linear_head.weight": "head.weight",
    "linear_head.bias": "head.bias",
}
_HEADS = {1280: 20, 4096: 32}
"""width of DINOv3's H+ and 7B -> heads; the others' are 64 wide"""
_SIZE = (256, 256)
"""of DINOv3's training"""
_IDLE = {
    "mask_token": "stands for hidden patches in pre-training",
    "rope_embed.periods": "computed from rope_base",
    "*.attn.qkv.bias_mask": "only says that k has no bias",
    "local_cls_norm.*": "for small crops in pre-training",
    "*head.mlp.*": "projection head of the pre-training",
    "*head.last_layer.*": "projection head of the pre-training",
    "*student.*": "the student of the pair: the teacher is read",
    "*_loss.*": "state of the pre-training's loss",
}


def recognises(source: Source) -> bool:
    """Return whether the names are DINO's; a bare DINO v1 backbone has timm's and is known by the file's name."""
    prefix = prefix_of(source.tensors)
    if prefix is None or "architecture" in source.config:
        return False
    names = {name.removeprefix(prefix): name for name in source.tensors}
    if any(fnmatch.fnmatchcase(name, sign) for name in names for sign in _SIGNS):
        return True
    if any(_CHUNKED.fullmatch(name) for name in names):
        return True
    if "mask_token" in names and len(source.tensors.shapes[names["mask_token"]]) == 2:
        return True
    later = ("head.weight", "blocks.0.ls1.gamma", "blocks.0.gamma_1", "reg_token", "mask_token")
    return Path(source.tensors.where).name.startswith("dino") and not any(name in names for name in later)


def canonical(source: Source) -> Source:
    """Return the source under timm's names: without prefix and chunks, SwiGLU's and the registers' names changed."""
    prefix = prefix_of(source.tensors) or ""
    short = [name.removeprefix(prefix) for name in source.tensors]
    renamed = {name: _timm_name(name) for name in short}
    return Source(without_prefix(source.tensors, renamed), source.config, source.preprocess)


def _timm_name(name: str) -> str:
    if found := _CHUNKED.fullmatch(name):
        name = f"blocks.{found[1]}.{found[2]}"
    for theirs, ours in _SPELLINGS.items():
        if name.startswith("blocks."):
            name = name.replace(theirs, ours)
    return _TOKENS.get(name, name)


def describe(source: Source, facts: Facts) -> Description:
    """Return the backbone, or with DINOv2's linear head on class token and mean patch the classifier."""
    tensors = source.tensors
    said = told_by_shapes(tensors) | {
        "patch_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "class_token": True,
        "final_norm": True,
    }
    version = _version(tensors)
    said["qkv_bias"] = _qkv_bias(tensors, said)
    if version == 1 and not any("head." in name for name in tensors):
        facts.assumed["format"] = "DINO's (the file's name; the arrays could be timm's)"
    if version == 3 and not said["num_registers"]:
        facts.assumed["num_registers"] = "0 (no storage_tokens; the published models have 4)"
    heads = _HEADS.get(said["dim"]) if version == 3 else None
    said["num_heads"] = heads_of(tensors, said, facts, None, heads)
    said["norm_eps"] = facts.take("norm_eps", None, 1e-5 if version == 3 else 1e-6, f"DINO v{version}'s")
    said.setdefault("activation", "gelu")
    said |= _positions(tensors, said, version, facts)
    said["pool"] = _pool(tensors, said, facts)
    config = ViTConfig(**said)
    preprocess, assumed = _preprocess(config, version)
    return Description(config, preprocess, numbers(config.num_classes), assumed)


def _version(tensors: Tensors) -> int:
    """Return 1, 2 or 3: by names that only the third has, then by LayerScale, which the first has not."""
    third = ("rope_embed.periods", "blocks.0.attn.qkv.bias_mask", "blocks.0.mlp.fc1_g.weight", "local_cls_norm.weight")
    if any(name in tensors for name in third) or tensors.origin.get("reg_token", "").endswith("storage_tokens"):
        return 3
    return 2 if "blocks.0.ls1.gamma" in tensors else 1


def _qkv_bias(tensors: Tensors, said: Changes) -> str:
    """Return which of q, k, v have a bias: those that DINOv3's mask leaves.

    Raises:
        CheckpointError: the mask is another than one for q, zero for k, one for v.
    """
    masks = fnmatch.filter(tensors, "blocks.*.attn.qkv.bias_mask")
    expected = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(said["dim"])
    for name in masks:
        if not torch.equal(tensors.read(name).float(), expected):
            raise tensors.fault(f"{name} is not one for q and v and zero for k")
    if masks and said["qkv_bias"] == "qkv":
        return "qv"
    return said["qkv_bias"] if _version(tensors) == 3 else "qkv"


def _positions(tensors: Tensors, said: Changes, version: int, facts: Facts) -> Changes:
    """Return the learned table and the rule that stretches it, or the base of the rotations.

    DINOv2's models with registers stretch as timm does (antialias, no offset), the others by a factor.
    """
    if version == 3:
        found = computed_positions("rope", said, facts, None, _SIZE)
        return found | {"rope_base": _rope_base(tensors, said, facts)}
    if "pos_embed" not in tensors:
        raise CheckpointError("lacks pos_embed", where=facts.where, fix="Use a sound copy")
    found = learned_positions(tensors, said | {"num_registers": 0}, facts, None, False, False)
    return found | {"position_resize": "timm" if said["num_registers"] else "dinov2"}


def _rope_base(tensors: Tensors, said: Changes, facts: Facts) -> float:
    """Return the base b of the periods b^(k / n), k = 0 .. n - 1, n a quarter of a head; 100 where it is not stored.

    Raises:
        CheckpointError: the stored periods are no such powers.
    """
    if "rope_embed.periods" not in tensors:
        return facts.take("rope_base", None, 100.0, "DINOv3's")
    periods = tensors.read("rope_embed.periods").double().flatten()
    count = len(periods)
    steps = torch.arange(count, dtype=torch.float64) / count
    for base in (100.0, float(periods[-1] ** (count / max(count - 1, 1)))):
        fits = count == said["dim"] // said["num_heads"] // 4 and base > 1
        if fits and torch.allclose(periods, base**steps, rtol=0.01):  # they may have been stored in bfloat16
            return base
    raise tensors.fault("rope_embed.periods are not the powers of one base, a quarter of a head of them")


def _pool(tensors: Tensors, said: Changes, facts: Facts) -> str:
    """Return "cls", or what DINOv2's linear head reads.

    Raises:
        CheckpointError: that head reads the class tokens of several blocks.
    """
    if "head.weight" not in tensors:
        return facts.take("pool", None, "cls", "what DINO's evaluations read")
    width = tensors.shapes["head.weight"][1]
    if width not in (said["dim"], 2 * said["dim"]):
        what = f"has a head on {width // said['dim']} vectors, the class tokens of several blocks among them"
        raise CheckpointError(what, where=facts.where, fix="Take the head on the last block alone, or none")
    return "cls" if width == said["dim"] else "cls+mean"


def _preprocess(config: ViTConfig, version: int) -> tuple[Preprocess, dict[str, str]]:
    """Return ImageNet's mean and std, and the resize of each version's evaluation."""
    resize = {"resize": "crop", "crop_fraction": 0.875, "interpolation": "bicubic"}
    if version == 3:
        resize = {"resize": "squash", "interpolation": "bilinear"}
    assumed = {"preprocessing": f"that of DINO v{version}'s evaluation on ImageNet"}
    pixels = {name: per_channel(values, config.in_channels, name, assumed) for name, values in IMAGENET.items()}
    return Preprocess(image_size=config.image_size, channels=config.in_channels, **pixels, **resize), assumed


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies; q's and v's biases are parts of one array in DINOv3."""
    found = timm.pairs(source, config)
    if config.qkv_bias != "qv" or source is None or "blocks.0.attn.q_bias" in source.tensors:
        return found
    return [_masked(each, config.dim) if each.ours.endswith(("q_bias", "v_bias")) else each for each in found]


def _masked(bias: Pair, dim: int) -> Pair:
    start = 0 if bias.ours.endswith("q_bias") else 2 * dim

    def to_theirs(ours: Tensor) -> list[Tensor]:
        return [ours.new_zeros(3 * dim)]

    layout = Layout("taken out of q, k, v; k's is masked", lambda arrays: arrays[0][start : start + dim], to_theirs)
    return pair(bias.ours, f"{bias.ours.rpartition('.')[0]}.qkv.bias", layout)


def idle(name: str, config: ViTConfig) -> str:
    """Return why an array is not needed."""
    return next((why for pattern, why in _IDLE.items() if fnmatch.fnmatchcase(name, pattern)), "")


FORMAT = Format(
    name="dino",
    about="the official files of DINO, DINOv2 and DINOv3 (reading only)",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
)
