"""Where each of our parameters lies in a file of transformers.

Some of their arrays hold several of our parameters one after another. The parts of such an array are called NAME#0,
NAME#1, ...: `split` makes them when reading, `joined_parts` undoes it when writing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..architecture import ViTConfig
from .layout import SAME, Layout, Pair, joined, pair, reshaped, simple
from .tensors import Tensors
from .transformers_families import BEIT, CLIP, DEIT, DINOV2, DINOV3, REGISTERS, SIGLIP, Family

POOL_MATRICES = ("head.attention.in_proj_weight", "head.attention.in_proj_bias")
POSITIONS, DISTILLATION = "embeddings.position_embeddings", "embeddings.distillation_token"
WEIGHTS_IN, WEIGHTS_OUT = "mlp.weights_in", "mlp.weights_out"
KINDS = ("weight", "bias")


class Split(Tensors):
    """The same arrays, some of them cut into parts."""

    def __init__(self, held: Tensors, cuts: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Cut the arrays of `cuts`: name -> (dimension, places of the cuts along it)."""
        parts, shapes = {}, {name: shape for name, shape in held.shapes.items() if name not in cuts}
        for name, (dim, places) in cuts.items():
            shape = held.shapes[name]
            edges = (0, *places, shape[dim])
            if list(edges) != sorted(edges):
                raise held.fault(f"{held.origin[name]} of shape {shape} is too short")
            for k, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
                parts[f"{name}#{k}"] = name, dim, start, stop
                shapes[f"{name}#{k}"] = (*shape[:dim], stop - start, *shape[dim + 1 :])
        super().__init__(held.where, shapes, held.part)
        self.origin = {name: held.origin[name.partition("#")[0]] for name in shapes}
        self._held, self._parts = held, parts

    def read(self, name: str) -> Tensor:
        if name not in self._parts:
            return self._held.read(name)
        whole, dim, start, stop = self._parts[name]
        return self._held.read(whole).narrow(dim, start, stop - start).clone()


def split(tensors: Tensors, family: Family) -> Tensors:
    """Return `tensors` with the shared arrays of `family` in parts."""
    cuts = {}
    if family is SIGLIP:
        cuts |= {name: (0, (tensors.shapes[name][0] // 3,)) for name in POOL_MATRICES if name in tensors}
    if family is DEIT and "classifier.weight" in tensors and POSITIONS in tensors:
        cuts[POSITIONS] = 1, (1, 2)
    return Split(tensors, cuts) if cuts else tensors


def joined_parts(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `arrays` with parts put together: rows of matrices and biases, positions of tables (1, T, D)."""
    found: dict[str, dict[int, Tensor]] = {}
    for name, array in arrays.items():
        whole, _, number = name.partition("#")
        found.setdefault(whole, {})[int(number or 0)] = array
    return {name: _joined_along(parts) if len(parts) > 1 else parts[0] for name, parts in found.items()}


def _joined_along(parts: Mapping[int, Tensor]) -> Tensor:
    return torch.cat([parts[k] for k in sorted(parts)], dim=1 if parts[0].ndim == 3 else 0)


def pairs(family: Family, config: ViTConfig, source: Tensors | None) -> list[Pair]:
    """Return a pair for every parameter of a model of `config`, by canonical names.

    Args:
        source: the arrays that are read, where the family knows several names for one; None: those it writes.
    """
    found = [pair(f"patch_embed.proj.{kind}", f"{family.patch}.{kind}") for kind in KINDS]
    found += [pair(f"norm.{kind}", f"{family.norm}.{kind}") for kind in KINDS]
    found += _tokens(family, config) + _heads(family, config)
    for i in range(config.depth):
        found += _block(family, config, source, i)
    return found


def _block(family: Family, config: ViTConfig, source: Tensors | None, i: int) -> list[Pair]:
    ours, theirs = f"blocks.{i}.", f"{family.blocks}{i}."
    modules = dict(family.block)
    q, k, v = (theirs + name for name in family.qkv)
    found = []
    if config.activation == "swiglu" and family.gated:
        del modules["mlp.fc1"]
        gate, value, modules["mlp.fc2"] = family.gated
        both = family is not DINOV3 and (source is None or f"{theirs}{WEIGHTS_IN}.weight" in source)
        if source is None and family is not DINOV3:
            modules["mlp.fc2"] = WEIGHTS_OUT
        for kind in KINDS:
            names = [f"{theirs}{WEIGHTS_IN}.{kind}"] if both else [f"{theirs}{gate}.{kind}", f"{theirs}{value}.{kind}"]
            found.append(pair(f"{ours}mlp.fc1.{kind}", names, SAME if both else joined(("gate", "value"))))
    found += [pair(f"{ours}{a}.{kind}", f"{theirs}{b}.{kind}") for a, b in modules.items() for kind in KINDS]
    for kind in KINDS:
        found.append(pair(f"{ours}attn.qkv.{kind}", [f"{q}.{kind}", f"{k}.{kind}", f"{v}.{kind}"], joined("qkv")))
    found += [pair(f"{ours}attn.q_bias", f"{q}.bias"), pair(f"{ours}attn.v_bias", f"{v}.bias")]
    for number, scale in enumerate(family.scales or (), start=1):
        found.append(pair(f"{ours}ls{number}.gamma", theirs + scale))
    if family is BEIT:
        table = "relative_position_bias.relative_position_bias_table"
        shared = source is not None and f"encoder.{table}" in source
        name = f"encoder.{table}" if shared else f"{theirs}attention.attention.{table}"
        found.append(pair(f"{ours}attn.relative_position_bias_table", name))
    return found


def _tokens(family: Family, config: ViTConfig) -> list[Pair]:
    width = config.dim
    cls = reshaped((1, 1, width), (width,)) if family is CLIP else SAME
    found = [
        pair("cls_token", family.cls, cls),
        pair("dist_token", DISTILLATION),
        *(pair(f"norm_pre.{kind}", f"pre_layrnorm.{kind}") for kind in KINDS),
    ]
    if family is DEIT and not config.distillation_token:
        own = (f"{POSITIONS}#0", f"{POSITIONS}#2")
        found.append(pair("reg_token", (DISTILLATION, f"{POSITIONS}#1"), WITH_POSITION))
        found.append(pair("pos_embed", own, ROWS_JOINED if config.position_prefix else LAST_OF_TWO))
    elif family in (CLIP, SIGLIP):
        count = config.grid[0] * config.grid[1] + config.class_token
        layout = reshaped((1, count, width), (count, width)) if config.num_placed_prefix_tokens else None
        if not config.num_placed_prefix_tokens:
            layout = _flat_without_first(config.class_token)
        found.append(pair("pos_embed", family.positions, layout))
    elif family.positions:
        prefixes = config.class_token + config.distillation_token
        layout = SAME if config.position_prefix else without_first(prefixes)
        found += [pair("reg_token", "embeddings.register_tokens"), pair("pos_embed", family.positions, layout)]
    else:
        found.append(pair("reg_token", "embeddings.register_tokens"))
    return found


def _heads(family: Family, config: ViTConfig) -> list[Pair]:
    name = "cls_classifier" if config.distillation_token else "classifier"
    if family is CLIP and not config.head_bias:
        name = "visual_projection"
    weight = SAME
    if family in (DINOV2, REGISTERS) and config.pool != "cls+mean":
        weight = half_of_two(config.dim, 0 if config.pool == "cls" else 1)
    found = [
        pair("head.weight", f"{name}.weight", weight),
        pair("head.bias", f"{name}.bias"),
        *(pair(f"head_dist.{kind}", f"distillation_classifier.{kind}") for kind in KINDS),
        *(pair(f"pre_logits.fc.{kind}", f"pooler.dense.{kind}") for kind in KINDS),
        *(pair(f"fc_norm.{kind}", f"pooler.layernorm.{kind}") for kind in KINDS),
    ]
    if family is not SIGLIP:
        return found
    modules = {"proj": "attention.out_proj", "norm": "layernorm", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    for kind, both in zip(KINDS, POOL_MATRICES, strict=True):
        found += [pair(f"attn_pool.q.{kind}", f"{both}#0", PART), pair(f"attn_pool.kv.{kind}", f"{both}#1", PART)]
        found += [pair(f"attn_pool.{a}.{kind}", f"head.{b}.{kind}") for a, b in modules.items()]
    return [*found, pair("attn_pool.latent", "head.probe")]


# Layouts ---------------------------------------------------------------------------------------------

PART = simple("part of the array", lambda theirs: theirs, lambda ours: ours)
ROWS_JOINED = Layout(
    "row of the distillation token taken out",
    lambda arrays: torch.cat(list(arrays), dim=1),
    lambda ours: [ours[:, :1], ours[:, 1:]],
)
LAST_OF_TWO = Layout(
    "rows of zeros left out", lambda arrays: arrays[1], lambda ours: [torch.zeros_like(ours[:, :1]), ours]
)
WITH_POSITION = Layout(
    "its position added",
    lambda arrays: torch.where(arrays[1] == 0, arrays[0].float(), arrays[0].float() + arrays[1].float()),
    lambda ours: [ours, torch.zeros_like(ours)],
)


def without_first(count: int) -> Layout:
    """Return the Layout of a table (1, T, D) whose first `count` rows are zero there and do not exist here."""
    pad = (0, 0, count, 0)
    return simple(
        "row of zeros left out", lambda theirs: theirs[:, count:], lambda ours: torch.nn.functional.pad(ours, pad)
    )


def _flat_without_first(count: int) -> Layout:
    """Return the Layout of a table (T, D) there, (1, T - count, D) here; what is left out is zero."""
    inner = without_first(count)
    how = inner.how if count else "reshaped"
    return simple(how, lambda theirs: theirs[None, count:], lambda ours: inner.to_theirs(ours)[0][0])


def half_of_two(width: int, which: int) -> Layout:
    """Return the Layout of a matrix (K, D) that is one half of (K, 2 D) there; the other half is zero."""
    pad = (0, width) if which == 0 else (width, 0)
    return simple(
        "half of zeros left out",
        lambda theirs: theirs[:, which * width : (which + 1) * width],
        lambda ours: torch.nn.functional.pad(ours, pad),
    )
