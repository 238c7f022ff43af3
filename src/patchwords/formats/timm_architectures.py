"""What the name of a timm architecture says that neither its arrays nor its config.json do.

Source: the entry points of timm 1.0.31 (vision_transformer.py, deit.py, beit.py, eva.py, vision_transformer_hybrid.py).
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any

_HEADS = {
    "vit_base_patch*_plus_*": 14,
    "vit_base_patch16_gap_*": 16,
    "vit_huge_plus_*": 20,
    "vit_giant_*dinov2*": 24,
    "vit_giant_*tipsv2*": 24,
    "vit_giant_*lingbot*": 24,
    "vit_7b_*": 32,
    "*_tiny_*": 3,
    "*_small_*": 6,
    "*_base_*": 12,
    "*_large_*": 16,
    "*_huge_*": 16,
    "*_so400m_*": 16,
    "*_giant_*": 16,
    "*_giantopt_*": 16,
    "*_gigantic_*": 16,
    "*_enormous_*": 16,
    "*_xsmall_*": 4,
    "*_wee_*": 4,
    "*_little_*": 5,
    "*_medium_*": 8,
    "*_mediumd_*": 8,
    "*_betwixt_*": 10,
    "vit_intern300m_*": 16,
    "*_so150m_*": 14,
    "*_so150m2_*": 13,
    "flexivit_small": 6,
    "flexivit_base": 12,
    "flexivit_large": 16,
    "test_vit3": 3,
    "test_vit*": 2,
}
"""pattern -> heads; the first that fits counts. Those 64 wide are here too: config.json may say another width"""
_EPSILON = {"vit_*_clip_*": 1e-5, "beit3_*": 1e-5, "*_dinov3*": 1e-5, "*_lingbot": 1e-5}
"""pattern -> epsilon of every LayerNorm; others have 1e-6"""
_ACTIVATION = {
    "*_clip_quickgelu_*": "quick_gelu",
    "vit_base_patch32_siglip_*": "gelu_tanh",
    "vit_large_patch16_siglip_*512": "gelu_tanh",
    "vit_so400m_patch16_siglip_*": "gelu_tanh",
    "vit_giantopt_*siglip_*": "gelu_tanh",
}
"""pattern -> activation; others have the exact GELU, the other SigLIP too"""
_ROPE = ("*_dinov3*", "*_lingbot")
_POOL = {"eva_giant_*_clip_*": "cls", "eva_giant_*": "mean", "*_dinov3*": "mean"}
"""pattern -> pooling where the arrays do not tell"""
_WITHOUT_BIAS = (
    "*_dinov3", "vit_giant_*_lingbot", "vit_medium_patch16_gap_*", "vit_betwixt_patch16_gap_*", "vit_so150m2_*",
    "vit_base_patch16_224_miil*",
)  # fmt: skip
"""q, k and v have none"""
_WITHOUT_LAST_NORM = ("vit_intern300m_*",)
_REGISTERS = {"*_dinov3*": 4, "*_lingbot": 4, "test_vit2": 1}
"""pattern -> registers where the name does not say it"""
_REFUSED = {
    "eva02_*": "rotary positions in pixels",
    "*_rope_*": "rotary positions in pixels",
    "vit_pe_*": "rotary positions in pixels",
    "aimv2_*": "RMSNorm",
    "*_sapiens2": "RMSNorm",
    "test_vit4": "RMSNorm",
    "*_radio_*": "several class tokens",
    "*_xp_*": "attention and MLP side by side",
    "*_18x2_*": "attention and MLP side by side",
    "vit_pwee_*": "attention and MLP side by side",
    "vit_*_rpn_*": "norms behind attention and MLP",
    "vit_d*wee_*": "differential attention",
    "vit_dlittle_*": "differential attention",
    "vit_*_r_s16_*": "a stem of another kind",
    "vit_*_resnet*": "a stem of another kind",
    "vit_*_mci_*": "a stem of another kind",
    "samvit_*": "attention in windows",
    "vit_relpos_*": "relative positions of another kind",
    "vit_srelpos_*": "relative positions of another kind",
    "naflexvit_*": "pictures of any shape",
    "test_vit3": "attention pooling over the class token too",
}
"""pattern -> what makes it another model than ours"""
_KNOWN = ("vit_*", "deit*", "beit*", "eva_*", "flexivit_*", "test_vit*")


@dataclass(frozen=True)
class Architecture:
    """The defaults of one name; None: it does not say."""

    name: str
    num_heads: int | None = None
    norm_eps: float | None = None
    activation: str | None = None
    pool: str | None = None
    num_registers: int = 0
    rope: bool = False
    """rotary positions and a class token, as in DINOv3"""
    qkv_bias: bool = True
    final_norm: bool = True
    refused: str = ""
    """what a model of that name has and ours has not"""


def architecture(name: str) -> Architecture:
    """Return what `name`, with or without the tag of its weights, says; an unknown name is as good as none, ""."""
    name = name.partition(".")[0]
    if not _first(dict.fromkeys(_KNOWN, True) | _REFUSED, name):
        return Architecture("")
    registers = re.search(r"_reg(\d+)_", name)
    return Architecture(
        name,
        num_heads=_first(_HEADS, name),
        norm_eps=_first(_EPSILON, name) or 1e-6,
        activation=_first(_ACTIVATION, name) or "gelu",
        pool=_first(_POOL, name),
        num_registers=int(registers[1]) if registers else _first(_REGISTERS, name) or 0,
        rope=_fits(name, _ROPE),
        qkv_bias=not _fits(name, _WITHOUT_BIAS),
        final_norm=not _fits(name, _WITHOUT_LAST_NORM),
        refused=_first(_REFUSED, name) or "",
    )


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _first(rules: dict[str, Any], name: str) -> Any:
    """Return what belongs to the first pattern that `name` fits; None: it fits none."""
    return next((value for pattern, value in rules.items() if fnmatch.fnmatchcase(name, pattern)), None)
