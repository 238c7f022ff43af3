"""big_vision's .npz files of Vision Transformers, of all its generations.

Sources: google-research/big_vision, models/vit.py (names; `fix_old_checkpoints` for the older places of positions and
of the MAP head; `scan_to_pyloop` for blocks stacked in one array) and utils.py (`load_params`: what stands in front
of the names). The rest is as in the paper's code, see flax.py.
"""

from __future__ import annotations

import dataclasses
import math
import re

import torch
from torch import Tensor

from ..architecture import Size, ViTConfig
from .flax import (
    SAYABLE,
    attention_pairs,
    cell_of,
    constants,
    finished,
    idle,
    is_big_vision,
    mlp_pairs,
    newer,
    norm_pairs,
    out_pairs,
    pairs_of,
    prefix_of,
    renamed,
    respelled,
    sizes,
    unplaced,
    unsayable,
)
from .format import MOST_BLOCKS, Description, Facts, Format, Source, beyond
from .layout import Layout, Pair, pair, simple
from .tensors import Tensors

TABLE = "pos_embedding"
WRITTEN_PREFIX = "params/"
"""what the library's own checkpoints have in front of every name"""
_OLD_TABLES = ("Transformer/pos_embedding", "Transformer/posembed_input/pos_embedding")
_STACK, _BLOCK = "Transformer/encoderblock/", "Transformer/encoderblock_"
_POOL = "MAPHead_0/"
_INLINED = re.compile(r"(?:MultiHeadDotProductAttention|LayerNorm|MlpBlock)_\d/.+|probe")
_NUMBER = re.compile(r"(MultiHeadDotProductAttention|LayerNorm|MlpBlock)_[0-2]/")


def recognises(source: Source) -> bool:
    """Return whether the names are big_vision's."""
    prefix = prefix_of(source.tensors)
    return prefix is not None and is_big_vision(source.tensors, prefix)


def canonical(source: Source) -> Source:
    """Return the arrays without prefix, with the names of today, and one for each block."""
    tensors = source.tensors.stripped(prefix_of(source.tensors) or "")
    inlined = "probe" in tensors

    def today(name: str) -> str:
        if name in _OLD_TABLES:
            return TABLE
        if inlined and _INLINED.fullmatch(name):
            name = _POOL + name
        if name.startswith(_POOL):
            return _NUMBER.sub(r"\1_0/", name, count=1)
        return newer(name)

    tensors = renamed(tensors, today)
    return Source(Unstacked(tensors) if any(name.startswith(_STACK) for name in tensors) else tensors)


class Unstacked(Tensors):
    """Blocks one by one, of arrays that have all blocks along their first axis.

    Each stacked array is read once and kept until its last block is taken.
    """

    def __init__(self, held: Tensors) -> None:
        self._held, self._place, self._kept = held, {}, {}
        shapes, origin = {}, {}
        for name, shape in held.shapes.items():
            if not name.startswith(_STACK):
                shapes[name], origin[name] = shape, held.origin[name]
                continue
            if not shape or not 0 < shape[0] <= MOST_BLOCKS:
                raise held.fault(f"{held.origin[name]} has the shape {shape}, which is no stack of blocks")
            for i in range(shape[0]):
                new = f"{_BLOCK}{i}/{name.removeprefix(_STACK)}"
                if new in held:
                    raise held.fault(f"has block {i} both by itself and in a stack")
                shapes[new], origin[new], self._place[new] = shape[1:], f"{held.origin[name]}[{i}]", (name, i)
        super().__init__(held.where, shapes, held.part)
        self.origin = origin

    def read(self, name: str) -> Tensor:
        if name not in self._place:
            return self._held.read(name)
        stack, i = self._place[name]
        if stack not in self._kept:
            self._kept[stack] = [self._held.read(stack), self._held.shapes[stack][0]]
        array = self._kept[stack][0][i].clone(memory_format=torch.contiguous_format)
        self._kept[stack][1] -= 1
        if not self._kept[stack][1]:
            del self._kept[stack]
        return array


def describe(source: Source, facts: Facts) -> Description:
    """Return the model and the preprocessing that big_vision gives it."""
    tensors = source.tensors
    class_token, attention_pool = "cls" in tensors, any(name.startswith(_POOL) for name in tensors)
    if class_token and attention_pool:
        raise tensors.fault("has both a class token and a MAP head")
    settings = sizes(tensors, facts)
    settings |= {"class_token": class_token, "pool": "map" if attention_pool else "cls" if class_token else "mean"}
    if TABLE not in tensors:
        # without a prefix and with a class token it could as well be a file of the paper's code that lost its table
        bare = tensors.origin["embedding/kernel"] == "embedding/kernel"
        settings |= unplaced(tensors, facts, settings, convention="" if bare and class_token else "sincos_2d")
        return finished(settings, facts)
    count = tensors.shape_of(TABLE, 3)[1]
    first = has_first_row(count, class_token, cell_of(settings), facts)
    settings["image_size"] = facts.image_size(count - first, cell_of(settings))
    return finished(settings | {"position_prefix": first and class_token}, facts)


def has_first_row(count: int, class_token: bool, cell: Size, facts: Facts) -> bool:
    """Return whether the first of `count` positions belongs to a class token, and not to a patch.

    That is the library's own rule for its older files: their number is a square and one. A table of another number
    is that of a rectangle, which somebody has to name.

    Raises:
        CheckpointError: it could be a square, or the picture that the user names and one token.
    """
    said, pixels = facts.get("grid"), facts.get("image_size") or cell
    wished = pixels[0] // cell[0], pixels[1] // cell[1]
    squares = {patches for patches in (count, count - 1) if is_square(patches)}
    if said is None and not squares:
        said = wished  # for another number of positions it is a wish for another size, see `adapt`
    elif said is None and math.prod(wished) in {count, count - 1} - squares:
        raise facts.two_grids(count)
    if said is not None and math.prod(said) in (count, count - 1):
        return math.prod(said) == count - 1 and (class_token or is_square(count - 1))
    return is_square(count - 1) and not is_square(count)


def is_square(count: int) -> bool:
    """Return whether so many patches can be a square."""
    return count > 0 and math.isqrt(count) ** 2 == count


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies; with the library's prefix when writing.

    A model whose class token has a position is written with 1 + G of them, as the older files have them: the
    library's loader adds the first to the token. Adding it here would lose the two summands.
    """
    found = [*pairs_of(source, config), pair("pos_embed", TABLE, _table(source, config))]
    if config.pool == "map":
        attention = f"{_POOL}MultiHeadDotProductAttention_0/"
        found += [pair("attn_pool.latent", f"{_POOL}probe")]
        found += attention_pairs(config, attention, {"attn_pool.q": ("query",), "attn_pool.kv": ("key", "value")})
        found += out_pairs(config, "attn_pool.proj", f"{attention}out")
        found += norm_pairs("attn_pool.norm", f"{_POOL}LayerNorm_0")
        found += mlp_pairs("attn_pool.mlp", f"{_POOL}MlpBlock_0")
    if source is not None:
        return found
    return [dataclasses.replace(each, theirs=tuple(WRITTEN_PREFIX + name for name in each.theirs)) for each in found]


def _table(source: Source | None, config: ViTConfig) -> Layout | None:
    """Return the layout of the positions: as they are, or with the row of a class token that is not there."""
    if source is None or config.class_token or TABLE not in source.tensors:
        return None
    if source.tensors.shapes[TABLE][1] != math.prod(config.grid) + 1:
        return None
    how = "the first row dropped: it is of a class token, and there is none"
    return simple(how, lambda t: t[:, 1:], lambda o: torch.cat([o[:, :1], o], dim=1))


def refuses(config: ViTConfig) -> list[str]:
    """Return what big_vision's class cannot be told, or its loader would take for something else."""
    found = beyond(config, (*SAYABLE, "class_token", "pool", "position", "position_prefix"))
    found += unsayable(config, {"cls": True, "mean": False, "map": False})
    if config.position not in ("learned", "sincos_2d"):
        found.append(f"position={config.position}")
    count, (rows, columns) = math.prod(config.grid), config.grid
    if config.position == "learned" and config.num_placed_prefix_tokens and rows != columns:
        found.append(f"a position of the class token beside a grid of {rows}x{columns}, which is no square")
    elif config.position == "learned" and not config.num_placed_prefix_tokens and is_square(count - 1):
        found.append(f"a grid of {rows}x{columns}, whose first patch it would take for the class token")
    return found


BIG_VISION = Format(
    name="big_vision",
    about="google-research/big_vision's Vision Transformers, .npz",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
    refuses=refuses,
    constants=constants,
    respelled=respelled,
)
