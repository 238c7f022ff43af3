"""The stream of tokens through a model, layer by layer: its names in a record, and where its tokens lie."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError, nearest

_LAYER = re.compile(r"embed|encoded|block\d+(/\+mlp)?")
"""tokens between the parts of a model (models/contract.py); a model without an MLP may record a block by its name"""


def is_layer(name: str) -> bool:
    """Return whether `name` of a record is the whole stream after the embedding, a block or the last norm."""
    return _LAYER.fullmatch(name) is not None


def choose(wanted: Sequence[str] | None, recorded: Iterable[str], default: Iterable[str]) -> tuple[str, ...]:
    """Return the names to look at: `wanted`, or `default` when None.

    Raises:
        ConfigError: the model does not record a wanted name; names the nearest.
    """
    names = list(recorded)
    for name in wanted or ():
        if name not in names:
            raise ConfigError(f"{name!r} is not recorded by this model", where="layers", fix=nearest(name, names))
    return tuple(default if wanted is None else wanted)


def as_tokens(value: Tensor) -> Tensor:
    """Return (B, T, D) of tokens, or of maps (B, D, rows, columns)."""
    return value.flatten(2).transpose(1, 2) if value.ndim == 4 else value


def cell_size(model: Any) -> Size:
    """Return the pixels (rows, columns) of the picture under one cell of the model's grid."""
    rows, columns = model.config.image_size
    return rows // model.grid[0], columns // model.grid[1]


def grid_of(model: Any, picture: Sequence[int]) -> Size:
    """Return the cells (rows, columns) of pictures of `picture` pixels (rows, columns)."""
    down, across = cell_size(model)
    return picture[0] // down, picture[1] // across


def place(model: nn.Module, picture: Sequence[int], tokens: int) -> tuple[int, Size]:
    """Return (prefix tokens, grid) of a layer of `tokens` tokens; a CNN's lower layers have a finer grid.

    Raises:
        ConfigError: `tokens` fit no whole multiple of the model's grid.
    """
    rows, columns = grid_of(model, picture)
    prefix = model.num_prefix_tokens
    if tokens - prefix == rows * columns:
        return prefix, (rows, columns)
    finer = math.isqrt(tokens // (rows * columns)) if rows * columns else 0
    if finer and tokens == finer**2 * rows * columns:
        return 0, (finer * rows, finer * columns)
    raise ConfigError(f"{tokens} tokens do not lie on a grid of {rows}x{columns}", where="layers")
