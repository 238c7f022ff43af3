"""The ResNet in front of the paper's hybrid, in the .npz files of its authors.

Source: google-research/vision_transformer, models_resnet.py and models_vit.py (`conv_root`, `gn_root`,
`block{stage}/unit{unit}`, both counted from 1).
"""

from __future__ import annotations

import re

from ..architecture import ViTConfig
from .layout import FILTERS, SAME, Layout, Pair, pair, reshaped
from .tensors import Shape, Tensors

ROOT = "conv_root/kernel"
_UNIT = re.compile(r"block(\d{1,2})/unit(\d{1,2})/")
_OURS = "patch_embed.backbone."


def stem(tensors: Tensors) -> dict[str, object]:
    """Return the settings of the stem: empty when the patches are cut from the picture itself.

    Raises:
        CheckpointError: there is a root and no stage behind it.
    """
    if ROOT not in tensors:
        return {}
    units: dict[int, int] = {}
    for found in filter(None, map(_UNIT.match, tensors)):
        units[int(found[1])] = max(units.get(int(found[1]), 0), int(found[2]))
    if not units:
        raise tensors.fault("has the root of a ResNet and none of its units")
    _, _, channels, width = tensors.shapes[ROOT]
    depths = tuple(units.get(stage, 1) for stage in range(1, max(units) + 1))  # a gap is found as missing arrays
    return {"stem": "resnet", "resnet_depths": depths, "resnet_width": width / 64, "in_channels": channels}


def pairs(tensors: Tensors | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter of the ResNet lies."""
    if config.stem != "resnet":
        return []
    found = [pair(f"{_OURS}stem.conv.weight", ROOT, FILTERS), *_norm(tensors, "stem.norm", "gn_root")]
    for stage, depth in enumerate(config.resnet_depths):
        for unit in range(depth):
            ours, theirs = f"stages.{stage}.blocks.{unit}.", f"block{stage + 1}/unit{unit + 1}/"
            parts = [(f"conv{n}", f"conv{n}", f"norm{n}", f"gn{n}") for n in (1, 2, 3)]
            if unit == 0:  # where sizes do not change there is none, here and there
                parts.append(("downsample.conv", "conv_proj", "downsample.norm", "gn_proj"))
            for conv, their_conv, norm, their_norm in parts:
                found.append(pair(f"{_OURS}{ours}{conv}.weight", f"{theirs}{their_conv}/kernel", FILTERS))
                found += _norm(tensors, ours + norm, theirs + their_norm)
    return found


def _norm(tensors: Tensors | None, ours: str, theirs: str) -> list[Pair]:
    names = (("weight", "scale"), ("bias", "bias"))
    return [pair(f"{_OURS}{ours}.{a}", f"{theirs}/{b}", _row(tensors, f"{theirs}/{b}")) for a, b in names]


def _row(tensors: Tensors | None, name: str) -> Layout:
    """Return the layout of a GroupNorm's numbers: Flax before 0.3.6 wrote them as (1, 1, 1, C)."""
    shape: Shape = () if tensors is None else tensors.shapes.get(name, ())
    return reshaped(shape[3:], shape) if len(shape) == 4 and shape[:3] == (1, 1, 1) else SAME
