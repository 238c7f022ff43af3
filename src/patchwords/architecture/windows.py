"""Which patches each patch attends to when not to all: a window around it, its row, its column; no torch is imported.

| `attention` | block      | patch (y, x) attends to patches (y', x')              | scores of N patches |
|-------------|------------|-------------------------------------------------------|---------------------|
| global      | every      | all                                                   | N^2                 |
| local       | every      | |y - y'| <= r and |x - x'| <= r (1802.05751)          | N (2 r + 1)^2       |
| axial       | 0, 2, 4 .. | y = y': its row                                       | N columns           |
| axial       | 1, 3, 5 .. | x = x': its column (1912.12180; 2010.11929, app. D.6) | N rows              |

All are boxes. P tokens before the patches attend to all and are attended to by all: P (P + 2 N) scores more.

A box can be a mask, 0 or -inf added to all scores; these are made, and counted, as those of global attention. Or the
picture is cut into tiles, whose patches attend to what lies within reach of the tile: no T x T scores are made, but
`Box.scores`. In the smallest tiles, one patch (local) or one row or column (axial), these are the scores of the table,
windows that hang over the border of the picture included in full; so a model computes when it is recorded. Larger
tiles make a few more scores, in fewer and larger matrix products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .checks import Size

if TYPE_CHECKING:
    from .vit import ViTConfig

LOCAL_TILE = 4
"""rows and columns of a tile of local attention.

One Zen 5 thread, torch 2.13, 3 heads of 64, attention alone on 3136 patches, training in float32 (bfloat16), ms: r = 1:
all scores and a mask 436 (364), tiles of 1, 2, 4, 7, 14: 126, 70, 45, 44, 66 (64, 43, 30, 30, 38); r = 3: 415 (356) and
680, 161, 74, 66, 91 (381, 95, 55, 49, 52).
"""
KEYS_SAVED = 10
"""tiles are used from so many patches for each key of a tile on; with fewer a mask is faster.

The same machine, an attention layer of width 192 in training, mask / tiles: axial 8x8 0.98 (bfloat16 0.96), 14x14 1.17
(1.30); local, r = 1, 14x14 0.78 (0.59), 20x20 1.10 (1.03), r = 3, 20x20 0.73 (0.61).
"""


@dataclass(frozen=True)
class Box:
    """The patches within `reach` (rows, columns) of each patch of a `grid`, computed in tiles of `tile` patches."""

    grid: Size
    """patches (rows, columns) of the picture"""
    reach: Size
    """how far a patch looks, in patches (rows, columns)"""
    tile: Size
    """patches (rows, columns) of one tile"""

    @property
    def halo(self) -> Size:
        """Cells (rows, columns) that are looked at beyond each side of a tile; none where it spans the picture."""
        sides = zip(self.tile, self.grid, self.reach, strict=True)
        rows, columns = (0 if tile >= side else reach for tile, side, reach in sides)
        return rows, columns

    @property
    def keys(self) -> int:
        """Keys of one tile, with its halo."""
        (down, right), (above, beside) = self.tile, self.halo
        return (down + 2 * above) * (right + 2 * beside)

    @property
    def tiles(self) -> Size:
        """Tiles (rows, columns) that cover the grid."""
        rows, columns = (-(-side // tile) for side, tile in zip(self.grid, self.tile, strict=True))
        return rows, columns

    @property
    def scores(self) -> int:
        """Products of a query and a key of patches that the tiles make in one head."""
        return math.prod(self.tiles) * math.prod(self.tile) * self.keys

    @property
    def exact(self) -> Box:
        """The same in the smallest tiles: a tile sees nothing that its patches do not attend to."""
        sides = zip(self.grid, self.reach, strict=True)
        rows, columns = (side if reach >= side - 1 else 1 for side, reach in sides)
        return replace(self, tile=(rows, columns))

    @property
    def pays(self) -> bool:
        """Whether tiles are faster than all scores and a mask."""
        return math.prod(self.grid) >= KEYS_SAVED * self.keys


def boxes(config: ViTConfig, grid: Size) -> tuple[Box, ...]:
    """Return the boxes of pictures of `grid`, which block after block takes in turn; none: attention is global."""
    rows, columns = grid
    if config.attention == "local":
        reach = min(config.attention_window, rows - 1), min(config.attention_window, columns - 1)
        return (Box(grid, reach, (min(LOCAL_TILE, rows), min(LOCAL_TILE, columns))),)
    if config.attention == "axial":
        return Box(grid, (0, columns - 1), (1, columns)), Box(grid, (rows - 1, 0), (rows, 1))
    return ()
