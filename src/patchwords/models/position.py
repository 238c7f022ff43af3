"""Where a token lies in the picture: learned tables, sines, relative biases, rotations, and their change of grid.

| `position` | what it is                                                | acts on             | other grids |
|------------|-----------------------------------------------------------|---------------------|-------------|
| learned    | one vector a patch (E_pos of eq. 1)                       | tokens, once        | resampled   |
| learned_2d | one half vector a row, one a column (app. D.4)            | tokens, once        | resampled   |
| sincos_2d  | sines of row and column, nothing learned (2205.01580)     | tokens, once        | computed    |
| relative   | one bias a head and offset (BEiT, 2106.08254)             | scores, each block  | resampled   |
| rope       | rotation of q and k by row and column (DINOv3, 2508.10104)| q and k, each block | computed    |
| none       | nothing: a set of patches                                 |                     |             |

Grids are (rows, columns). "Computed" means: as a model built for that grid has it. Libraries resample learned tables
by rules that are up to 10 % apart (in L2 norm); `position_resize` names one:

| `position_resize` | kernel               | place of output i of n among m inputs | whose files                |
|-------------------|----------------------|---------------------------------------|----------------------------|
| timm              | bicubic, antialiased | (i + 1/2) m / n - 1/2                 | timm's, torch              |
| google            | bilinear             | i (m - 1) / (n - 1)                   | vision_transformer's,      |
|                   |                      |                                       | big_vision's (scipy's zoom)|
| transformers      | bicubic              | (i + 1/2) m / n - 1/2                 | transformers'              |
| torchvision       | bicubic              | i (m - 1) / (n - 1)                   | torchvision's              |
| dinov2            | bicubic              | (i + 1/2) m / (n + 0.1) - 1/2         | DINO's, DINOv2's           |
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture.windows import Box, boxes
from ..config import Size, ViTConfig
from . import windows

_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
"""(rows down, columns right)"""
RESIZE_RULES: dict[str, dict[str, Any]] = {
    "timm": {"mode": "bicubic", "align_corners": False, "antialias": True},
    "google": {"mode": "bilinear", "align_corners": True},
    "transformers": {"mode": "bicubic", "align_corners": False},
    "torchvision": {"mode": "bicubic", "align_corners": True},
    "dinov2": {"mode": "bicubic", "align_corners": False},
}
"""position_resize -> how torch stretches a table"""
DINOV2_OFFSET = 0.1
"""patches added to the wanted side before it is divided by the own one; the scale made so is what places outputs"""


class Places(NamedTuple):
    """Where the tokens of one batch lie, as attention needs it; computed once, used by every block."""

    grid: Size
    """(rows, columns) of the pictures at hand"""
    rotation: Tensor | None = None
    """(2, 1 or B, 1, T, head_dim / 2): cosine and sine of the angle of each token"""
    index: Tensor | None = None
    """(1 or B, T, T): row of the relative table for each query and key; None where only boxes are computed"""
    boxes: tuple[Box, ...] = ()
    """what patches attend to, block after block in turn; empty: attention is global, or patches were left out"""
    masks: tuple[Tensor, ...] = ()
    """(1 or B, 1, T, T) for each of the boxes: 0 where a query attends to a key, -inf elsewhere; empty: use boxes"""
    sizes: Tensor | None = None
    """(B, T) patches that each token is made of, as a number of the tokens' type or wider; None: one"""
    source: Tensor | None = None
    """(B, patches) number of the token that each patch is part of; None: of its own"""

    def kept(self, tokens: Tensor) -> Places:
        """Return the places of only those `tokens` (B, t), numbered from 0, of each picture; of one patch each."""
        rotation, index = self.rotation, self.index
        if rotation is not None:
            rotation = rotation[:, _pictures(rotation[0], tokens), 0, tokens][:, :, None]
        if index is not None:
            index = index[_pictures(index, tokens)[..., None], tokens[:, :, None], tokens[:, None, :]]
        masks = tuple(mask[0, 0][tokens[:, :, None], tokens[:, None, :]][:, None] for mask in self.masks)
        return Places(self.grid, rotation, index, masks=masks)


def _pictures(table: Tensor, tokens: Tensor) -> Tensor:
    """Return the row (B, 1) of `table` (1 or B, ...) for each picture of `tokens` (B, t)."""
    numbers = torch.arange(tokens.shape[0], device=tokens.device)[:, None]
    return numbers if table.shape[0] > 1 else torch.zeros_like(numbers)


class RowsAndColumns(nn.Module):
    """A learned half vector for every row and one for every column of the grid (app. D.4)."""

    def __init__(self, grid: Size, dim: int, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.rows = nn.Parameter(nn.init.normal_(torch.empty(grid[0], dim // 2), std=0.02))
        self.columns = nn.Parameter(nn.init.normal_(torch.empty(grid[1], dim - dim // 2), std=0.02))

    def forward(self, grid: Size, window: bool = False) -> Tensor:
        """Return (rows, columns, D) for `grid`, stretched to it or cut out of the own one."""
        fit = middle if window else partial(resample, rule=self.rule)
        rows = fit(self.rows[:, None], (grid[0], 1))
        columns = fit(self.columns[None], (1, grid[1]))
        return torch.cat([rows.expand(*grid, -1), columns.expand(*grid, -1)], dim=-1)


def position_table(config: ViTConfig) -> nn.Parameter | nn.Module | None:
    """Return what `pos_embed` learns: (1, tokens with a position, D), two tables, or None."""
    if config.position == "learned":
        count = config.num_placed_prefix_tokens + math.prod(config.grid)
        return nn.Parameter(nn.init.normal_(torch.empty(1, count, config.dim), std=0.02))
    if config.position == "learned_2d":
        return RowsAndColumns(config.grid, config.dim, config.position_resize)
    return None


def position_rows(
    table: Tensor | nn.Module | None, config: ViTConfig, grid: Size, tokens: Tensor, window: bool = False
) -> Tensor | None:
    """Return E_pos (1, T, D) for pictures of `grid`, zero for tokens without a position; None when nothing is added.

    Args:
        table: what `position_table` made.
        tokens: (B, T, D), for its type and device.
        window: pictures are cut out of larger ones: positions of the middle of the own grid, not of all of it.
    """
    if config.position == "learned":
        placed, fit = (
            config.num_placed_prefix_tokens,
            middle if window else partial(resample, rule=config.position_resize),
        )
        prefix, patches = table[0, :placed], fit(table[0, placed:].unflatten(0, config.grid), grid)
    elif config.position == "learned_2d":
        prefix, patches = tokens.new_zeros(0, config.dim), table(grid, window)
    elif config.position == "sincos_2d":
        whole = sincos(config.grid if window else grid, config.dim, tokens)
        prefix, patches = tokens.new_zeros(0, config.dim), middle(whole, grid)
    else:
        return None
    unplaced = patches.new_zeros(config.num_prefix_tokens - len(prefix), config.dim)
    return torch.cat([prefix, unplaced, patches.flatten(0, 1)])[None]


def locate(config: ViTConfig, grid: Size, tokens: Tensor, window: bool = False, sparse: bool = False) -> Places:
    """Return what attention needs to know of positions for pictures of `grid`; `tokens` give type and device.

    Args:
        window: pictures are cut out of larger ones.
        sparse: make nothing of T x T where boxes are the faster way.
    """
    whole, prefix = config.grid if window else grid, config.num_prefix_tokens
    seen = boxes(config, grid)
    if not (sparse and seen and all([box.pays for box in seen])):  # of a generator torch.compile makes no graph
        masks = tuple(windows.full_mask(box, prefix, tokens) for box in seen)
        index = relative_index(grid, prefix, tokens.device, whole)[None] if config.position == "relative" else None
    else:
        masks, index = (), None
    if config.position == "rope":
        return Places(grid, rotation(grid, config, tokens, whole), None, seen, masks)
    return Places(whole if config.position == "relative" else grid, None, index, seen, masks)


def middle(table: Tensor, grid: Size) -> Tensor:
    """Return the middle (rows, columns, D) of a larger `table` (rows, columns, D)."""
    top, left = ((own - wanted) // 2 for own, wanted in zip(table.shape[:2], grid, strict=True))
    return table[top : top + grid[0], left : left + grid[1]]


def resample(table: Tensor, grid: Size, rule: str = "timm") -> Tensor:
    """Return `table` (rows, columns, D) stretched to `grid`; unchanged when it has that grid (sec. 3.2).

    Args:
        rule: a `position_resize`, as its library computes it, for rectangles too.
    """
    own = tuple(table.shape[:2])
    if own == tuple(grid):
        return table
    if grid[1] == 1 and grid[0] > 1:  # torch 2.13 repeats the first row when antialiasing to one column on a CPU
        return resample(table.transpose(0, 1), (1, grid[0]), rule).transpose(0, 1)
    exact = table if table.dtype == torch.float64 else table.float()  # bfloat16 has no such kernel
    size: dict[str, Any] = {"size": tuple(grid)}
    if rule == "dinov2":
        size = {"scale_factor": [(n + DINOV2_OFFSET) / m for n, m in zip(grid, own, strict=True)]}
    stretched = F.interpolate(exact.permute(2, 0, 1)[None], **size, **RESIZE_RULES[rule])[0].permute(1, 2, 0)
    if rule == "google":
        rows, columns = (n - _rounded_out(m, n) for m, n in zip(own, grid, strict=True))
        stretched = F.pad(stretched[:rows, :columns], (0, 0, 0, grid[1] - columns, 0, grid[0] - rows))
    return stretched.to(table.dtype)


def _rounded_out(count: int, wanted: int) -> bool:
    """Return whether scipy's zoom from `count` to `wanted` leaves the last place zero.

    It places the last output at (n - 1) ((m - 1) / (n - 1)), which rounding puts behind the last input for one pair
    in fifty (16 to 30 is one). The paper's code has these zeros, and so has what it was fine-tuned to.
    """
    return wanted > 1 and (wanted - 1) * ((count - 1) / (wanted - 1)) > count - 1


def _axis(count: int, like: Tensor) -> Tensor:
    """Return 0 .. count - 1 in a type wide enough for angles."""
    return torch.arange(count, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))


def sincos(grid: Size, dim: int, like: Tensor, temperature: float = 10_000.0) -> Tensor:
    """Return sin(x w), cos(x w), sin(y w), cos(y w), a quarter of D each: (rows, columns, D) (2205.01580).

    x counts columns and y rows, from 0; w falls from 1 to 1 / temperature.
    """
    steps = dim // 4
    frequencies = temperature ** -(_axis(steps, like) / max(steps - 1, 1))
    y = (_axis(grid[0], like)[:, None] * frequencies)[:, None].expand(*grid, -1)
    x = (_axis(grid[1], like)[:, None] * frequencies)[None].expand(*grid, -1)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=-1).to(like.dtype)


def rotation(grid: Size, config: ViTConfig, like: Tensor, whole: Size | None = None) -> Tensor:
    """Return cosine and sine (2, 1, 1, T, head_dim / 2) of each token's angles (DINOv3's convention).

    The centre of a patch has coordinates in -1 .. 1 on each axis; angles are 2 pi coordinate / period with periods
    from 1 towards `rope_base`; the first half belongs to the row, the second to the column. Prefix tokens do not turn.

    Args:
        whole: the grid to which -1 .. 1 belongs, and of which `grid` is the middle; None: `grid`.
    """
    steps = config.head_dim // 4
    frequencies = 2 * math.pi * config.rope_base ** -(_axis(steps, like) / steps)
    whole = whole or grid
    y, x = ((2 * _axis(count, like) + 1) / count - 1 for count in whole)
    down = (y[:, None] * frequencies)[:, None].expand(*whole, -1)
    right = (x[:, None] * frequencies)[None].expand(*whole, -1)
    angles = middle(torch.cat([down, right], dim=-1), grid).flatten(0, 1)
    angles = F.pad(angles, (0, 0, config.num_prefix_tokens, 0))
    return torch.stack([angles.cos(), angles.sin()])[:, None, None].to(like.dtype)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Return `heads` (B, heads, T, head_dim) turned: channel i and i + head_dim / 2 are one plane."""
    cosine, sine = rotation
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def relative_rows(grid: Size, num_prefix_tokens: int) -> int:
    """Return the rows of a relative table: (2 h - 1)(2 w - 1) offsets, and 3 more when there are prefix tokens."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if num_prefix_tokens else 0)


def relative_table(config: ViTConfig, layer: int) -> Tensor:
    """Return the initial relative table (rows, heads): zeros, or with `relative_slope` a neighbour for each head.

    The eight neighbours of a patch are dealt to the heads, going on from layer to layer. A head's bias is
    -slope min(d^2, 9), d being the distance in patches from its neighbour: at first it looks about there, as a
    3x3 convolution does, and it is free to learn otherwise (compare 1911.03584, theorem 1).
    """
    table = torch.zeros(relative_rows(config.grid, config.num_prefix_tokens), config.num_heads)
    if config.relative_slope:
        down, right = (torch.arange(1.0 - count, count) for count in config.grid)
        for head in range(config.num_heads):
            y, x = _NEIGHBOURS[(layer * config.num_heads + head) % len(_NEIGHBOURS)]
            squared = (down[:, None] + y) ** 2 + (right[None] + x) ** 2  # offsets are query minus key
            table[: squared.numel(), head] = -config.relative_slope * squared.clamp(max=9).flatten()
    return table


def relative_index(
    grid: Size, num_prefix_tokens: int, device: torch.device | None = None, whole: Size | None = None
) -> Tensor:
    """Return the row of the relative table for each query and key: (T, T).

    Offsets come first, in raster order; then prefix to patch, patch to prefix, prefix to prefix (BEiT's order).

    Args:
        whole: the grid the table belongs to; None: `grid`.
    """
    span = whole or grid
    rows, columns = torch.meshgrid(*(torch.arange(count, device=device) for count in grid), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None] + span[0] - 1
    right = columns[:, None] - columns[None] + span[1] - 1
    offsets = down * (2 * span[1] - 1) + right
    if not num_prefix_tokens:
        return offsets
    prefix, count, last = num_prefix_tokens, len(offsets), relative_rows(span, num_prefix_tokens)
    index = offsets.new_full((prefix + count, prefix + count), last - 1)
    index[:prefix, prefix:] = last - 3
    index[prefix:, :prefix] = last - 2
    index[prefix:, prefix:] = offsets
    return index


def relative_resampled(table: Tensor, own_grid: Size, grid: Size) -> Tensor:
    """Return the relative `table` (rows, heads) of `own_grid` as one for `grid`, its offsets stretched as a picture."""
    spans, new = ((2 * rows - 1, 2 * columns - 1) for rows, columns in (own_grid, grid))
    count = math.prod(spans)
    offsets = resample(table[:count].unflatten(0, spans), new)
    return torch.cat([offsets.flatten(0, 1), table[count:]])


def relative_bias(table: Tensor, own_grid: Size, places: Places) -> Tensor:
    """Return the bias (1 or B, heads, T, T) that `table` (rows, heads), learned on `own_grid`, gives at `places`."""
    if places.grid != own_grid:
        table = relative_resampled(table, own_grid, places.grid)
    return table[places.index].permute(0, 3, 1, 2)


def box_bias(table: Tensor, own_grid: Size, places: Places, box: Box, prefix: int) -> Tensor:
    """Return the bias (heads, cells, prefix + keys) that `table` gives in every tile of `box`."""
    if places.grid != own_grid:
        table = relative_resampled(table, own_grid, places.grid)
    rows, columns = places.grid
    down, right = windows.offsets(box, table.device)
    down = (down + rows - 1).clamp(0, 2 * rows - 2)  # beyond are cells outside the picture only
    right = (right + columns - 1).clamp(0, 2 * columns - 2)
    to_first = relative_rows(places.grid, prefix) - 2
    return table[F.pad(down * (2 * columns - 1) + right, (prefix, 0), value=to_first)].permute(2, 0, 1)


def prefix_bias(table: Tensor, prefix: int, count: int) -> Tensor:
    """Return the bias (heads, prefix, prefix + count) that `table` gives the first tokens: each other, the patches."""
    to_first, to_patches = table[-1:].expand(prefix, -1), table[-3:-2].expand(count, -1)
    return torch.cat([to_first, to_patches]).t()[:, None].expand(-1, prefix, -1)
