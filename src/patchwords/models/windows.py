"""Attention within boxes: their masks, and the tiles in which their patches attend without T x T scores.

Which boxes there are, and what they cost, is in architecture/windows.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..architecture.windows import Box


def cut(box: Box, patches: Tensor, around: bool = False, fill: float = 0) -> Tensor:
    """Return tiles (B, heads * tiles, cells, D) of patches (B, heads, N, D).

    Args:
        around: with the halo of each tile.
        fill: of cells outside the picture.
    """
    (down, right), halo = box.tile, box.halo if around else (0, 0)
    maps = patches.unflatten(2, box.grid)
    bottom, side = (-size % tile for size, tile in zip(box.grid, box.tile, strict=True))
    if any((*halo, bottom, side)):
        maps = F.pad(maps, (0, 0, halo[1], halo[1] + side, halo[0], halo[0] + bottom), value=fill)
    tiles = maps.unfold(2, down + 2 * halo[0], down).unfold(3, right + 2 * halo[1], right)
    return tiles.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5).flatten(1, 3)


def join(box: Box, tiles: Tensor, heads: int) -> Tensor:
    """Return patches (B, heads, N, D) of tiles (B, heads * tiles, cells, D) without halo."""
    rows, columns = box.grid
    maps = tiles.unflatten(1, (heads, *box.tiles)).unflatten(4, box.tile)
    maps = maps.permute(0, 1, 2, 4, 3, 5, 6).flatten(4, 5).flatten(2, 3)
    return maps[:, :, :rows, :columns].flatten(2, 3)


def offsets(box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return by how many rows and columns a query of a tile lies behind a key: (cells, keys) each, for all tiles."""
    axes = []
    for tile, halo in zip(box.tile, box.halo, strict=True):
        along = torch.arange(-halo, tile + halo, device=device)
        axes.append(along[halo : halo + tile, None] - along)
    down, right = axes
    shape = (*down.shape, *right.shape)
    down, right = down[:, :, None, None].expand(shape), right.expand(shape)
    return tuple(axis.transpose(1, 2).flatten(2, 3).flatten(0, 1) for axis in (down, right))


def numbers(box: Box, device: torch.device, around: bool = True) -> Tensor:
    """Return the number of each patch of each tile, from 0: (tiles, keys), or cells; -1 for those outside."""
    count = torch.arange(math.prod(box.grid), device=device).view(1, 1, -1, 1)
    return cut(box, count, around, fill=-1)[0, :, :, 0]


def tile_mask(box: Box, like: Tensor) -> Tensor | None:
    """Return (tiles, cells, keys): 0 where a query of a tile attends to a key, -inf elsewhere; None: to all.

    Cells outside the picture, which complete the last tiles, attend to such cells.
    """
    spans = [tile == side <= reach + 1 for tile, side, reach in zip(box.tile, box.grid, box.reach, strict=True)]
    alone = [tile == 1 and reach == 0 for tile, reach in zip(box.tile, box.reach, strict=True)]
    if all(a or b for a, b in zip(spans, alone, strict=True)):
        return None
    down, right = (offset.abs() for offset in offsets(box, like.device))
    near = (down <= box.reach[0]) & (right <= box.reach[1])
    keys, queries = (numbers(box, like.device, around) >= 0 for around in (True, False))
    return barrier(near & (queries[:, :, None] == keys[:, None, :]), like)


def full_mask(box: Box, prefix: int, like: Tensor) -> Tensor:
    """Return (1, 1, T, T): 0 where a token attends to another, -inf elsewhere; `like` gives type and device."""
    rows, columns = (torch.arange(side, device=like.device) for side in box.grid)
    down = (rows[:, None] - rows).abs() <= box.reach[0]
    right = (columns[:, None] - columns).abs() <= box.reach[1]
    near = (down[:, None, :, None] & right[None, :, None, :]).flatten(2, 3).flatten(0, 1)
    return F.pad(barrier(near, like), (prefix, 0, prefix, 0))[None, None]


def barrier(passes: Tensor, like: Tensor) -> Tensor:
    """Return 0 where `passes` and -inf elsewhere, in the type of `like`."""
    return torch.zeros(passes.shape, dtype=like.dtype, device=like.device).masked_fill_(~passes, -math.inf)
