"""What names and shapes of arrays under timm's names say of a model; for timm's files and those of DINO, DeiT, MAE."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..architecture import Size
from ..errors import CheckpointError
from .format import Facts, numbered
from .tensors import Tensors

Changes = dict[str, Any]
"""fields of ViTConfig"""

PATCH = "patch_embed.proj.weight"
_FIRST = "blocks.0."
_WRITTEN_SCALE = 1e-5
"""initial LayerScale of a model whose file has LayerScale and does not say where it started"""
_RELATIVE_PREFIX_ROWS = 3
"""of a relative table: class token to patch, patch to class token, class token to itself"""


def prefix_of(names: Mapping[str, Any] | Tensors) -> str | None:
    """Return what stands before timm's names in a file, "" for nothing; None: these are not timm's names.

    Of several copies (a student and its teacher) the one to use is taken: the teacher, an average, else the first.
    """
    found = [name.removesuffix(PATCH) for name in names if name.endswith(PATCH)]
    found = [prefix for prefix in found if any(name.startswith(f"{prefix}blocks.") for name in names)]
    if "" in found:
        return ""
    best = [prefix for word in ("teacher", "ema", "base_encoder") for prefix in found if word in prefix]
    return next(iter([*best, *found]), None)


def without_prefix(tensors: Tensors, renamed: Mapping[str, str]) -> Tensors:
    """Return the arrays with the prefix of timm's names off, and under other names where `renamed` says so.

    Args:
        renamed: full name without prefix -> canonical name.

    Raises:
        CheckpointError: two arrays would have one name.
    """
    prefix = prefix_of(tensors) or ""
    names: dict[str, str] = {}
    for name in tensors:
        short = name.removeprefix(prefix)
        new = renamed.get(short, short)
        if new in names:
            raise tensors.fault(f"has both {names[new]} and {name}, which are one tensor of the model")
        names[new] = name
    return tensors.renamed(names)


def told_by_shapes(tensors: Tensors) -> Changes:
    """Return all that follows from names and shapes alone: sizes, switches, biases; not heads, grid or pooling.

    Raises:
        CheckpointError: an array that every such model has is missing.
    """
    shapes = tensors.shapes
    dim, inputs, *patch = tensors.shape_of(PATCH, 4)
    hidden = tensors.shape_of(f"{_FIRST}mlp.fc2.weight", 2)[1]
    packed = f"{_FIRST}mlp.fc1.weight" in shapes and shapes[f"{_FIRST}mlp.fc1.weight"][0] == 2 * hidden
    classes = shapes["head.weight"][0] if "head.weight" in shapes else 0
    said: Changes = {
        "dim": dim,
        "patch_size": tuple(patch),
        "in_channels": inputs,
        "depth": numbered(tensors, "blocks."),
        "mlp_dim": hidden,
        "num_classes": classes,
        "class_token": "cls_token" in shapes,
        "distillation_token": "dist_token" in shapes,
        "num_registers": shapes["reg_token"][1] if "reg_token" in shapes else 0,
        "patch_bias": "patch_embed.proj.bias" in shapes,
        "pre_norm": "norm_pre.weight" in shapes,
        "qkv_bias": _qkv_bias(tensors),
        "proj_bias": f"{_FIRST}attn.proj.bias" in shapes,
        "mlp_bias": f"{_FIRST}mlp.fc2.bias" in shapes,
        "qk_norm": f"{_FIRST}attn.q_norm.weight" in shapes,
        "final_norm": "norm.weight" in shapes,
        "fc_norm": "fc_norm.weight" in shapes,
        "head_bias": "head.bias" in shapes or not classes,
    }
    if packed or f"{_FIRST}mlp.fc1_g.weight" in shapes:
        said["activation"] = "swiglu"
    if f"{_FIRST}ls1.gamma" in shapes or f"{_FIRST}gamma_1" in shapes:
        said["layer_scale"] = _WRITTEN_SCALE
    return said | _stem(tensors)


def _qkv_bias(tensors: Tensors) -> str:
    if f"{_FIRST}attn.q_bias" in tensors:
        return "qv"
    return "qkv" if f"{_FIRST}attn.qkv.bias" in tensors else "none"


def _stem(tensors: Tensors) -> Changes:
    """Return the settings of a ResNet before the patches, {} when there is none (2010.11929, sec. 3.1)."""
    backbone, root = "patch_embed.backbone.", "patch_embed.backbone.stem.conv.weight"
    if root not in tensors:
        return {}
    stages = range(numbered(tensors, f"{backbone}stages."))
    depths = tuple(numbered(tensors, f"{backbone}stages.{stage}.blocks.") for stage in stages)
    width, channels = tensors.shapes[root][:2]
    found = {"stem": "resnet", "in_channels": channels, "resnet_depths": depths, "resnet_width": width / 64}
    return found | {"resnet_rule": "timm"}


def told_heads(tensors: Tensors) -> int | None:
    """Return the number of heads where shapes tell it: a bias a head, or a norm of one head's width."""
    shapes, table, norm = tensors.shapes, f"{_FIRST}attn.relative_position_bias_table", f"{_FIRST}attn.q_norm.weight"
    if table in shapes:
        return shapes[table][1]
    return shapes[PATCH][0] // shapes[norm][0] if norm in shapes else None


def cell_of(said: Mapping[str, Any]) -> Size:
    """Return the pixels (rows, columns) of one patch of a model with the settings `said`."""
    stride = 2 ** (len(said["resnet_depths"]) + 1) if said.get("stem") == "resnet" else 1
    return said["patch_size"][0] * stride, said["patch_size"][1] * stride


def placed_tokens(
    tensors: Tensors, said: Mapping[str, Any], facts: Facts, size: Size | None, unplaced: bool | None
) -> int:
    """Return how many rows of `pos_embed` belong to tokens before the patches: none, class token, registers too.

    Args:
        size: pixels (rows, columns) of a picture, when something says so.
        unplaced: whether the file says that those tokens have no rows; None: it does not say.

    Raises:
        CheckpointError: it is a square grid with as many, or with others that of the picture that the user wishes.
    """
    rows, cell = tensors.shapes["pos_embed"][1], cell_of(said)
    named, registers = said["class_token"] + said["distillation_token"], said["num_registers"]
    choices = [0, named + registers, named] if registers else [named, 0]
    if unplaced is not None:
        choices = [0] if unplaced else [named + registers, named]
    fitting, wished = (
        [n for n in choices if each and rows - n == (each[0] // cell[0]) * (each[1] // cell[1])]
        for each in (size, facts.get("image_size"))
    )
    squares = [choice for choice in choices if rows > choice and math.isqrt(rows - choice) ** 2 == rows - choice]
    if wished and squares and not fitting and squares[0] != wished[0]:
        raise facts.two_grids(rows)
    return [*fitting, *squares, *wished, *choices][0]


def learned_positions(
    tensors: Tensors, said: Mapping[str, Any], facts: Facts, size: Size | None, fixed: bool, unplaced: bool | None
) -> Changes:
    """Return the settings of a learned table `pos_embed` and the picture it belongs to.

    A picture need not be a whole number of patches: what is left over at its right and lower edge is never looked at.

    Args:
        size: pixels (rows, columns) that the file gives.
        fixed: that is the picture of the table; otherwise it is one when it fits.
        unplaced: as for `placed_tokens`.
    """
    cell = cell_of(said)
    if "grid" in facts:
        size, fixed = (facts["grid"][0] * cell[0], facts["grid"][1] * cell[1]), True
    placed = placed_tokens(tensors, said, facts, size, unplaced)
    count = tensors.shapes["pos_embed"][1] - placed
    if size is not None:
        size = facts.whole(size, cell)
        if not fixed and (size[0] // cell[0]) * (size[1] // cell[1]) != count:
            size = None
    tokens = said["class_token"] or said["distillation_token"] or said["num_registers"]
    size = facts.image_size(count, cell, size)
    return {"position": "learned", "position_prefix": placed > 0 or not tokens, "image_size": size}


def relative_positions(tensors: Tensors, said: Mapping[str, Any], facts: Facts, size: Size | None) -> Changes:
    """Return the settings of BEiT's tables of biases and the picture they belong to.

    Raises:
        CheckpointError: nobody says the grid, and the table is not that of a square.
    """
    offsets = tensors.shapes[f"{_FIRST}attn.relative_position_bias_table"][0] - _RELATIVE_PREFIX_ROWS
    span, cell = math.isqrt(max(offsets, 0)), cell_of(said)
    if size is None and "grid" in facts:
        size = facts["grid"][0] * cell[0], facts["grid"][1] * cell[1]
    if size is None and span * span == offsets and span % 2:
        size = (span + 1) // 2 * cell[0], (span + 1) // 2 * cell[1]
        facts.assumed["image_size"] = f"{size[0]}x{size[1]} (a square grid)"
    if size is None:
        fix = "Give --grid ROWS,COLUMNS (in Python: grid=(rows, columns))"
        raise CheckpointError(f"has {offsets} offsets, which are no square grid", where=facts.where, fix=fix)
    return {"position": "relative", "image_size": tuple(size)}


def computed_positions(
    position: str, said: Mapping[str, Any], facts: Facts, size: Size | None, convention: Size
) -> Changes:
    """Return the settings of positions that no array holds; the picture is what something says, or `convention`."""
    cell = cell_of(said)
    if "grid" in facts:
        size = facts["grid"][0] * cell[0], facts["grid"][1] * cell[1]
    side = tuple(max(pixels // step, 1) * step for pixels, step in zip(convention, cell, strict=True))
    size = facts.take("image_size", size, side, "the size such models are made for; any other works")
    return {"position": position, "image_size": tuple(size)}
