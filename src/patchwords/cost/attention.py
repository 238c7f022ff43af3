"""What attention compares and what it holds in memory: all tokens at once, or patches tile by tile."""

from __future__ import annotations

from math import prod

from ..architecture import ViTConfig
from ..architecture.windows import Box, boxes
from .part import Kept, Part, alive

EXPLICIT_TOKENS = {"training": 1024, "inference": 256}
"""longest sequence whose weights are written to memory in bf16 on a CPU (models/attention.py)"""


def box_of(config: ViTConfig, layer: int, training: bool) -> Box | None:
    """Return the box within which patches attend tile by tile; None: all scores are made, and masked at most."""
    found = boxes(config, config.grid)
    if not found or (training and config.patch_dropout) or not all(box.pays for box in found):
        return None
    return found[layer % len(found)]


def pairs(config: ViTConfig, tokens: int, read: int, box: Box | None) -> int:
    """Return the pairs of a query and a key that are compared in one head, for `read` of the queries."""
    prefix = config.num_prefix_tokens
    return read * tokens if box is None or read <= prefix else prefix * tokens + _Tiles(config, box).pairs


class _Tiles:
    """What the tiles of a box hold, in numbers; P tokens before the patches are keys of every tile."""

    def __init__(self, config: ViTConfig, box: Box) -> None:
        prefix, count = config.num_prefix_tokens, prod(box.tiles)
        cells = count * prod(box.tile)
        self.pairs = box.scores + prefix * cells
        self.queries, self.keys = cells * config.dim, count * (prefix + box.keys) * config.dim
        self.weights, self.sums = config.num_heads * self.pairs, config.num_heads * cells
        spans = (tile == side <= reach + 1 for tile, side, reach in zip(box.tile, box.grid, box.reach, strict=True))
        alone = (tile == 1 and not reach for tile, reach in zip(box.tile, box.reach, strict=True))
        self.biased = config.position == "relative" or not all(a or b for a, b in zip(spans, alone, strict=True))


def kept(config: ViTConfig, tokens: int, read: int, box: Box | None) -> tuple[Kept, Kept]:
    """Return what autograd keeps of q, k, v and the softmax: with a fused kernel, and with the weights written out."""
    if box is None or read <= config.num_prefix_tokens:
        return _kept(config, tokens, read)
    prefix, tiles = config.num_prefix_tokens, _Tiles(config, box)
    fused = Kept(2 * tiles.queries + 2 * tiles.keys, float32=tiles.sums)  # copies of q, k, v, and the answer
    written = Kept(tiles.queries + 2 * tiles.keys + tiles.weights * (3 if config.attention_dropout else 1))
    fused = written if tiles.biased or config.attention_dropout else fused
    before = [each + (Kept(prefix * config.dim) if fuses else Kept()) for each, fuses in _before(config, tokens)]
    return fused + before[0], written + before[1]


def _before(config: ViTConfig, tokens: int) -> list[tuple[Kept, bool]]:
    """Return what the tokens before the patches keep, who attend to all, and whether by a kernel that keeps answers."""
    prefix = config.num_prefix_tokens
    if not prefix:
        return [(Kept(), False)] * 2
    written = config.position == "relative" or config.attention_dropout > 0
    return [(each, not written) for each in _kept(config, tokens, prefix)]


def _kept(config: ViTConfig, tokens: int, read: int) -> tuple[Kept, Kept]:
    """Return what is kept where all tokens are compared.

    Fused are: q, k and v as they came from their matrix, and what the softmax divided by. Changed q and k (rope,
    qk_norm) are kept beside them, and so is an answer in another order. torch writes the weights out where a bias
    is learned or weights are dropped.
    """
    dim, weights = config.dim, config.num_heads * read * tokens
    written = Kept((2 * tokens + read) * dim + weights * (3 if config.attention_dropout else 1))
    if config.position == "relative" or config.attention_dropout:
        fused = written
    else:
        fused = Kept(3 * tokens * dim, float32=config.num_heads * read)
    if config.qk_norm:
        written += Kept(3 * tokens * dim)
    if config.qk_norm or config.position == "rope":
        fused += Kept(2 * tokens * dim + (read * dim if read > 1 else 0))
    return fused, fused if tokens > EXPLICIT_TOKENS["training"] else written


def moments(config: ViTConfig, tokens: int, box: Box | None) -> Part:
    """The fullest moment of attention in inference.

    In memory are tokens before and after their norm, q, k, v as they came from their matrix, and changed; then the
    answer in two forms, or scores and weights where they are written out, or the copies of tiles.
    """
    changed = config.qk_norm or config.position == "rope"
    width, prefix = tokens * config.dim, config.num_prefix_tokens * config.dim
    if box is None:
        fused = (10 if changed else 7) * width
        if tokens > EXPLICIT_TOKENS["inference"]:
            return alive("scores", fused)
        written = (9 if changed else 7) * width + 2 * config.num_heads * tokens * tokens
        return alive("scores", fused, max(fused, written))
    tiles, rest = _Tiles(config, box), (7 if changed else 5) * width + prefix
    queries, keys, weights = tiles.queries, tiles.keys, tiles.weights
    if tiles.biased:  # torch's own kernel takes no such bias
        fused = 2 * queries + max(3 * keys + weights, 2 * keys + 2 * weights)
        return alive("scores", rest + fused, rest + queries + 2 * keys + 3 * weights)
    return alive("scores", rest + 2 * queries + 2 * keys + tiles.sums, rest + 2 * (queries + keys + weights))
