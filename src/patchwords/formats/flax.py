"""Vision Transformers as Flax names them in .npz files: what the paper's code and big_vision have in common.

Sources: google-research/vision_transformer, models_vit.py (names; tanh GELU and epsilon 1e-6 are Flax's defaults),
checkpoint.py (`load` reads both numberings of the modules in a block, `save` writes the newer), input_pipeline.py
(pixels in -1 .. 1, resized to the square). The older numbering, of the released files, has one count for all modules
of a block; the newer counts each kind by itself.

Which numbering is written: that of the file a model was read from, if it was one of the same format (`respelled`);
otherwise the newer, which is what both libraries write today. Both read both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..architecture import Size, ViTConfig
from ..checkpoint import LoadedModel
from ..errors import CheckpointError
from ..preprocess import Preprocess
from . import google_resnet
from .format import Description, Facts, Format, Source, absent_biases, numbered, numbers
from .layout import FILTERS, TRANSPOSED, Pair, joined, pair, simple
from .tensors import Tensors

PREFIXES = ("", "params/", "params/img/", "opt/target/", "opt/target/img/", "target/", "target/img/", "img/")
"""in front of the names of a bare model, of a training state, of the picture tower of two, of old training dumps"""
BLOCK = "Transformer/encoderblock_"
SAYABLE = ("pre_logits", "norm_eps", "activation", "head_bias", "rope_base", "resnet_depths", "resnet_width")
"""beside the sizes: what these files hold, what `constants` looks after, and what only other settings read"""
_ATTENTION, _MLP = "MultiHeadDotProductAttention_0", "MlpBlock_0"
_OLD = {"MultiHeadDotProductAttention_1": _ATTENTION, "LayerNorm_2": "LayerNorm_1", "MlpBlock_3": _MLP}
_IN_BLOCK = re.compile(r"(Transformer/encoderblock(?:_\d+)?/)(\w+)(/.+)")
_DUMPED = (
    ("opt/", "state of the optimizer"),
    ("state/", "state of the optimizer"),
    ("chrono/", "clock of the training"),
    ("extra/", "clock of the training"),
)
_OTHER_TOWER = re.compile(r"(?:(?:params|opt/target|target)/)?(?:txt/.+|llm/.+|t|b)")


def prefix_of(tensors: Tensors) -> str | None:
    """Return what stands before the names of the model, None when there is no such model."""
    starts = tuple(name.partition("Transformer/enc")[0] for name in tensors if "Transformer/enc" in name)
    return next((prefix for prefix in PREFIXES if prefix in starts), None)


def is_big_vision(tensors: Tensors, prefix: str) -> bool:
    """Return whether a model lies there as big_vision has it.

    The numbering does not tell: today both libraries number alike. The MAP head, stacked blocks and the place of the
    positions do. Where there are none of these, a ResNet or the older numbering is of the paper's code.
    """
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    own = ("MAPHead_0/", "probe", "pos_embedding", "Transformer/pos_embedding", "Transformer/encoderblock/")
    if any(name.startswith(own) for name in names):
        return True
    other = ("Transformer/posembed_input/", "conv_root/")
    return not any(name.startswith(other) or "/MlpBlock_3/" in name for name in names)


def renamed(tensors: Tensors, change: Callable[[str], str]) -> Tensors:
    """Return the arrays under changed names; one whose new name is taken keeps its own, and will be left over."""
    names: dict[str, str] = {}
    for name in tensors:
        new = change(name)
        names[name if new != name and (new in tensors or new in names) else new] = name
    return tensors.renamed(names)


def newer(name: str) -> str:
    """Return a name in the numbering that counts each kind of module by itself."""
    found = _IN_BLOCK.fullmatch(name)
    return f"{found[1]}{_OLD.get(found[2], found[2])}{found[3]}" if found else name


def sizes(tensors: Tensors, facts: Facts) -> dict[str, Any]:
    """Return the settings that the shapes give, all but positions and pooling."""
    rows, columns, channels, dim = tensors.shape_of("embedding/kernel", 4)
    depth = numbered(tensors, BLOCK, "/")
    heads, hidden = 1, 4 * dim  # without blocks they have no effect
    if depth:
        heads = tensors.shape_of(f"{BLOCK}0/{_ATTENTION}/query/kernel", 3)[1]
        hidden = tensors.shape_of(f"{BLOCK}0/{_MLP}/Dense_0/kernel", 2)[1]
    settings = {
        "patch_size": (rows, columns),
        "in_channels": channels,
        "dim": dim,
        "depth": depth,
        "num_heads": facts.num_heads(dim, heads),
        "mlp_dim": hidden,
        "num_classes": tensors.shape_of("head/kernel", 2)[1] if "head/kernel" in tensors else 0,
        "pre_logits": tensors.shape_of("pre_logits/kernel", 2)[1] if "pre_logits/kernel" in tensors else 0,
    }
    return settings | google_resnet.stem(tensors) | _absent_biases(tensors, settings)


def _absent_biases(tensors: Tensors, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the switches of the biases of which the file has not one."""
    block, patterns = f"{BLOCK}*/", {"patch_bias": ["embedding/bias"]}
    if settings["depth"]:
        patterns["qkv_bias"] = [f"{block}{_ATTENTION}/{part}/bias" for part in ("query", "key", "value")]
        patterns["proj_bias"] = [f"{block}{_ATTENTION}/out/bias"]
        patterns["mlp_bias"] = [f"{block}{_MLP}/Dense_{number}/bias" for number in (0, 1)]
    if settings["num_classes"]:
        patterns["head_bias"] = ["head/bias"]
    return absent_biases(tensors, patterns)


def unplaced(tensors: Tensors, facts: Facts, settings: Mapping[str, Any], convention: str) -> dict[str, Any]:
    """Return positions and picture size of a file without a table; it can say neither.

    Args:
        convention: what such files usually mean by it; "": nothing that could be taken for granted.

    Raises:
        CheckpointError: nobody says what the positions are.
    """
    if not (convention or "position" in facts):
        fix = "Use a sound copy, or give --model.position sincos_2d or none"
        raise CheckpointError("has no table of positions", where=tensors.where, fix=fix)
    rows, columns = cell_of(settings)
    size = facts.get("image_size")
    if "grid" in facts:
        size = facts["grid"][0] * rows, facts["grid"][1] * columns
    if size is None:
        size = max(224 // rows, 1) * rows, max(224 // columns, 1) * columns
        facts.assumed["image_size"] = f"{size[0]}x{size[1]} (as near to 224 as patches of {rows}x{columns} allow)"
    position = facts.take("position", None, convention, "there is no table of positions, as with big_vision's sincos2d")
    return {"position": position, "image_size": tuple(size)}


def finished(settings: Mapping[str, Any], facts: Facts) -> Description:
    """Return the Description of a model of these settings."""
    config = facts.config(**settings, activation="gelu_tanh", norm_eps=1e-6, position_resize="google")
    channels = config.in_channels
    preprocess = Preprocess(
        image_size=config.image_size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        resize="squash",
        interpolation="bilinear",
    )
    assumed = {"preprocessing": "resized to the size, pixels in -1 .. 1, as in the library's input pipeline"}
    if config.pool == "mean" and "pool" not in facts:
        assumed["pool"] = "mean (there is neither a class token nor a MAP head)"
    for name in ("qkv_bias", "proj_bias", "mlp_bias", "patch_bias", "head_bias"):
        if name in settings:
            assumed[name] = f"{settings[name]} (the file has none)"
    if not config.num_classes:
        assumed["num_classes"] = "0 (the file has no head)"
    return Description(config, preprocess, numbers(config.num_classes), assumed)


def cell_of(settings: Mapping[str, Any]) -> Size:
    """Return pixels (rows, columns) under one token; the ResNet's root and all its stages but the first halve."""
    stride = 2 ** (len(settings["resnet_depths"]) + 1) if "resnet_depths" in settings else 1
    return settings["patch_size"][0] * stride, settings["patch_size"][1] * stride


def pairs_of(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies, but for positions and attention pooling."""
    tensors = source.tensors if source else None
    found = [pair("patch_embed.proj.weight", "embedding/kernel", FILTERS), pair("cls_token", "cls")]
    found += [pair("patch_embed.proj.bias", "embedding/bias"), *google_resnet.pairs(tensors, config)]
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}.", f"{BLOCK}{i}/"
        found += norm_pairs(f"{ours}norm1", f"{theirs}LayerNorm_0")
        found += attention_pairs(config, f"{theirs}{_ATTENTION}/", {f"{ours}attn.qkv": ("query", "key", "value")})
        found += out_pairs(config, f"{ours}attn.proj", f"{theirs}{_ATTENTION}/out")
        found += norm_pairs(f"{ours}norm2", f"{theirs}LayerNorm_1")
        found += mlp_pairs(f"{ours}mlp", f"{theirs}{_MLP}")
    found += norm_pairs("norm", "Transformer/encoder_norm")
    return [*found, *dense_pairs("pre_logits.fc", "pre_logits"), *dense_pairs("head", "head")]


def norm_pairs(ours: str, theirs: str) -> list[Pair]:
    """Return the Pairs of a LayerNorm."""
    return [pair(f"{ours}.weight", f"{theirs}/scale"), pair(f"{ours}.bias", f"{theirs}/bias")]


def dense_pairs(ours: str, theirs: str) -> list[Pair]:
    """Return the Pairs of a dense layer: kernels are (in, out)."""
    return [pair(f"{ours}.weight", f"{theirs}/kernel", TRANSPOSED), pair(f"{ours}.bias", f"{theirs}/bias")]


def mlp_pairs(ours: str, theirs: str) -> list[Pair]:
    """Return the Pairs of an MLP."""
    return [*dense_pairs(f"{ours}.fc1", f"{theirs}/Dense_0"), *dense_pairs(f"{ours}.fc2", f"{theirs}/Dense_1")]


def attention_pairs(config: ViTConfig, theirs: str, parts: Mapping[str, tuple[str, ...]]) -> list[Pair]:
    """Return the Pairs of the matrices into the heads: kernels are (D, heads, D_h), biases (heads, D_h).

    Args:
        theirs: name of their module, with a slash behind it.
        parts: our name -> their matrices that are one of ours.
    """
    dim, heads, width = config.dim, config.num_heads, config.head_dim
    kernel = simple(
        "heads joined, transposed", lambda t: t.reshape(dim, dim).T, lambda o: o.T.reshape(dim, heads, width)
    )
    bias = simple("heads joined", lambda t: t.reshape(dim), lambda o: o.reshape(heads, width))
    found = []
    for ours, names in parts.items():
        for kind, their_kind, each in (("weight", "kernel", kernel), ("bias", "bias", bias)):
            layout = joined(names, each) if len(names) > 1 else each
            found.append(pair(f"{ours}.{kind}", [f"{theirs}{name}/{their_kind}" for name in names], layout))
    return found


def out_pairs(config: ViTConfig, ours: str, theirs: str) -> list[Pair]:
    """Return the Pairs of the matrix out of the heads: its kernel is (heads, D_h, D)."""
    dim, heads, width = config.dim, config.num_heads, config.head_dim
    kernel = simple(
        "heads joined, transposed", lambda t: t.reshape(dim, dim).T, lambda o: o.T.reshape(heads, width, dim)
    )
    return [pair(f"{ours}.weight", f"{theirs}/kernel", kernel), pair(f"{ours}.bias", f"{theirs}/bias")]


def idle(name: str, config: ViTConfig) -> str:
    """Return what an array of a training dump is for; "" when it should belong to the model."""
    for start, why in _DUMPED:
        if name.startswith(start):
            return why
    return "of the other tower, or of the loss between the two" if _OTHER_TOWER.fullmatch(name) else ""


def unsayable(config: ViTConfig, pools: Mapping[str, bool]) -> list[str]:
    """Return the gated MLP, and the pooling unless it is one of `pools`: pool -> whether there is a class token."""
    found = ["activation=swiglu"] if config.activation == "swiglu" else []
    if pools.get(config.pool) != config.class_token:
        found.append(f"pool={config.pool} {'with' if config.class_token else 'without'} a class token")
    return found


def constants(config: ViTConfig) -> dict[str, Any]:
    """Return what is fixed in the code."""
    rule = "google" if config.stem == "resnet" else config.resnet_rule
    return {"norm_eps": 1e-6, "activation": "gelu_tanh", "resnet_rule": rule}


def respelled(loaded: LoadedModel, format: Format) -> dict[str, str]:
    """Return, for each name of an array of `format`, the name in the file that `loaded` was read from.

    Empty unless that was a file of the same format with the same arrays: one of the released files is written in
    its own numbering, and under its own prefix.
    """
    if loaded.report is None or loaded.report.format != format.name:
        return {}
    sources = {line.name: line.source for line in loaded.report.lines if line.name}
    names: dict[str, str] = {}
    for each in format.pairs(None, loaded.model.config):
        if each.ours in sources:
            if len(sources[each.ours]) != len(each.theirs) or any("[" in name for name in sources[each.ours]):
                return {}
            names |= zip(each.theirs, sources[each.ours], strict=True)
    return names if len(set(names.values())) == len(names) else {}
