"""torchvision's VisionTransformer: a plain state_dict, without a word on heads, picture size or pixels.

Source: torchvision.models.vision_transformer (names, epsilon 1e-6, exact GELU, class token, learned positions, and the
preprocessing of its published weights, which only their sizes tell apart).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..architecture import Size, ViTConfig
from ..preprocess import Preprocess
from .format import IMAGENET, Description, Facts, Format, Source, absent_biases, beyond, numbered, numbers
from .layout import Pair, pair
from .tensors import Tensors

_BLOCKS = "encoder.layers.encoder_layer_"
_TABLE = "encoder.pos_embedding"
_WRAPPED = re.compile(r"(?:\w+\.)*")
"""in front of the names: of DataParallel, torch.compile, Lightning, of a module that holds the model"""
_OTHER_HEAD = re.compile(r"heads(?:\.head)?(?:\.\d+)?\.(weight|bias)")
"""a Linear, or a Sequential with one, in place of `heads` or of `heads.head`: how people give it other classes"""
_LEGACY = (("mlp.linear_1.", "mlp.0."), ("mlp.linear_2.", "mlp.3."))
"""names before torchvision 0.14"""
_HUGE = 1280
"""width of ViT-H/14"""


def recognises(source: Source) -> bool:
    """Return whether the names are torchvision's, with any prefix."""
    return _prefix(source.tensors) is not None


def _prefix(tensors: Tensors) -> str | None:
    """Return what stands before the names, "" for nothing; None: they are not torchvision's."""
    found = sorted((name.removesuffix(_TABLE) for name in tensors if name.endswith(_TABLE)), key=len)
    stems = {name.partition("conv_proj.")[0] for name in tensors if "conv_proj." in name}
    return next((each for each in found if each in stems and _WRAPPED.fullmatch(each)), None)


def canonical(source: Source) -> Source:
    """Return the arrays without wrappers, older names changed to newer ones, the classifier at its usual place."""
    tensors, prefix = source.tensors, _prefix(source.tensors)
    tensors = tensors.stripped(prefix) if prefix else tensors
    heads = {name.rpartition(".")[0] for name in tensors if _OTHER_HEAD.fullmatch(name)}

    def usual(name: str) -> str:
        found = _OTHER_HEAD.fullmatch(name)
        if found and len(heads) == 1:
            return f"heads.head.{found[1]}"
        for old, new in _LEGACY:
            name = name.replace(old, new)
        return name

    names: dict[str, str] = {}
    for name in tensors:
        new = usual(name)
        names[name if new != name and new in tensors else new] = name
    return Source(tensors.renamed(names), source.config, source.preprocess)


def describe(source: Source, facts: Facts) -> Description:
    """Return the model, and the preprocessing of the library's published weights of that size."""
    tensors = source.tensors
    if "conv_proj.weight" not in tensors:
        raise tensors.fault("has no conv_proj.weight; a stem of convolutions with batch norm is not read")
    dim, channels, *patch = tensors.shape_of("conv_proj.weight", 4)
    if patch[0] != patch[1]:
        raise tensors.fault(f"has patches of {patch[0]}x{patch[1]}, the library's are square")
    classes = tensors.shape_of("heads.head.weight", 2)[0] if "heads.head.weight" in tensors else 0
    hidden = tensors.shape_of("heads.pre_logits.weight", 2)[0] if "heads.pre_logits.weight" in tensors else 0
    depth = numbered(tensors, _BLOCKS)
    biases = _absent_biases(tensors, depth, classes)
    config = facts.config(
        image_size=facts.image_size(tensors.shape_of(_TABLE, 3)[1] - 1, (patch[0], patch[1])),
        patch_size=(patch[0], patch[1]),
        in_channels=channels,
        num_classes=classes,
        dim=dim,
        depth=depth,
        num_heads=_num_heads(facts, dim),
        mlp_dim=tensors.shape_of(f"{_BLOCKS}0.mlp.0.weight", 2)[0] if depth else 4 * dim,
        pre_logits=hidden,
        position_resize="torchvision",
        **biases,
    )
    preprocess, ground = _preprocess(config.image_size, channels, dim, config.patch_size)
    assumed = {"preprocessing": ground} | {name: f"{value} (the file has none)" for name, value in biases.items()}
    if not classes:
        assumed["num_classes"] = "0 (the file has no head)"
    return Description(config, preprocess, numbers(classes), assumed)


def _num_heads(facts: Facts, dim: int) -> int:
    """Return the number of heads; no file of these says it."""
    if dim != _HUGE:
        return facts.num_heads(dim)
    return facts.take("num_heads", None, 16, "those of ViT-H/14, the library's only model so wide")


def _absent_biases(tensors: Tensors, depth: int, classes: int) -> dict[str, Any]:
    """Return the switches of the biases of which the file has not one."""
    block, patterns = f"{_BLOCKS}*.", {"patch_bias": ["conv_proj.bias"]}
    if depth:
        patterns["qkv_bias"] = [f"{block}self_attention.in_proj_bias"]
        patterns["proj_bias"] = [f"{block}self_attention.out_proj.bias"]
        patterns["mlp_bias"] = [f"{block}mlp.0.bias", f"{block}mlp.3.bias"]
    if classes:
        patterns["head_bias"] = ["heads.head.bias"]
    return absent_biases(tensors, patterns)


def _preprocess(size: Size, channels: int, dim: int, patch: Size) -> tuple[Preprocess, str]:
    """Return the preprocessing of the published weights that fit these sizes best, and whose it is."""
    pixels = IMAGENET if channels == 3 else {"mean": (0.5,) * channels, "std": (0.5,) * channels}
    # SWAG: sizes above 224, and ViT-H/14 at any; resized to the size itself. ViT-L/16 from scratch: 242 to 224.
    swag = dim == _HUGE or min(size) >= 384
    resized = 242 if (dim, patch) == (1024, (16, 16)) else 256
    preprocess = Preprocess(
        image_size=size,
        channels=channels,
        resize="crop",
        crop_fraction=1.0 if swag else 224 / resized,
        interpolation="bicubic" if swag else "bilinear",
        **pixels,
    )
    weights = "IMAGENET1K_SWAG" if swag else "IMAGENET1K_V1"
    return preprocess, f"that of torchvision's {weights} weights of this size (the file does not say)"


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies; none changes its order."""
    names = {
        "patch_embed.proj": "conv_proj",
        "norm": "encoder.ln",
        "pre_logits.fc": "heads.pre_logits",
        "head": "heads.head",
    }
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}.", f"{_BLOCKS}{i}."
        names |= {
            f"{ours}norm1": f"{theirs}ln_1",
            f"{ours}norm2": f"{theirs}ln_2",
            f"{ours}attn.proj": f"{theirs}self_attention.out_proj",
            f"{ours}mlp.fc1": f"{theirs}mlp.0",
            f"{ours}mlp.fc2": f"{theirs}mlp.3",
        }
    found = [pair(f"{ours}.{kind}", f"{names[ours]}.{kind}") for ours in names for kind in ("weight", "bias")]
    for i in range(config.depth):
        theirs = f"{_BLOCKS}{i}.self_attention.in_proj_"
        found += [pair(f"blocks.{i}.attn.qkv.{kind}", theirs + kind) for kind in ("weight", "bias")]
    return [*found, pair("cls_token", "class_token"), pair("pos_embed", _TABLE)]


def idle(name: str, config: ViTConfig) -> str:
    """Return "": every tensor of these files is needed, but for the counter of an averaged model."""
    return "how many models were averaged" if name == "n_averaged" else ""


def refuses(config: ViTConfig) -> list[str]:
    """Return what torchvision's class cannot be told."""
    found = beyond(config, ("pre_logits", "norm_eps", "activation", "rope_base", "resnet_depths", "resnet_width"))
    found += ["activation=swiglu"] if config.activation == "swiglu" else []
    rows, columns = config.image_size
    found += [f"a picture of {rows}x{columns}, which is no square"] if rows != columns else []
    rows, columns = config.patch_size
    found += [f"patches of {rows}x{columns}, which are no squares"] if rows != columns else []
    found += ["no head"] if not config.num_classes else []
    found += [f"{config.in_channels} channels"] if config.in_channels != 3 else []
    return found


def constants(config: ViTConfig) -> Mapping[str, Any]:
    """Return what is fixed in the class."""
    return {"norm_eps": 1e-6, "activation": "gelu"}


FORMAT = Format(
    name="torchvision",
    about="torchvision.models.VisionTransformer, a state_dict",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
    refuses=refuses,
    constants=constants,
)
