"""The cost of a Vision Transformer and of its hybrids, by part."""

from __future__ import annotations

from collections.abc import Iterator

from ..architecture import ViTConfig
from ..architecture.windows import Box, boxes
from .attention import box_of, kept, moments, pairs
from .part import Kept, Part, alive, area, dense, norm
from .stem import stem_parts

PLACES = "tokens, positions"
COMPARING = ("scores", "weighted sum")
"""parts whose cost grows with the square of the number of tokens"""


def dear_tokens(config: ViTConfig) -> tuple[int, int]:
    """Return from how many tokens on comparing them costs more than attention's own matrices, and than all others.

    2 T^2 D against 4 T D^2: T = 2 D; against the MLP too, 4 T D^2 + 2 T D M: T = 2 D + M, which is 6 D where the MLP
    is four times as wide (three matrices of M by D where it is gated).
    """
    matrices = 3 if config.activation == "swiglu" else 2
    return 2 * config.dim, 2 * config.dim + matrices * config.mlp_dim // 2


def vit_parts(config: ViTConfig, training: bool) -> Iterator[Part]:
    """Yield the parts of `config` (2010.11929, eq. 1-8); parts of one name belong together.

    With T tokens of width D, MLPs of width M: T (4 D^2 + 2 D M) + 2 T^2 D multiply-adds a block.

    Args:
        training: as a training pass computes it: patches are dropped, and where only the class token is read, the
            last block computes nothing else.
    """
    patches, prefix, dim = area(config.grid), config.num_prefix_tokens, config.dim
    yield from stem_parts(config)
    yield Part(PLACES, _token_parameters(config), kept=_dropped(config, patches + prefix))
    if training and config.patch_dropout:
        patches = max(1, round(patches * (1 - config.patch_dropout)))
        whole = area(config.grid) + prefix
        yield Part(PLACES, kept=Kept(whole * dim, flags=8 * (patches + prefix)))  # and which ones, in 8 bytes
        masks = min(len(boxes(config, config.grid)), config.depth) * (patches + prefix) ** 2
        yield Part(PLACES, kept=Kept(masks), kept_written_out=Kept())  # another one for each picture
    tokens = patches + prefix
    yield alive(PLACES, patches * dim + 2 * tokens * dim)
    if config.pre_norm:
        yield norm(dim, tokens)
    answering = 1 + bool(config.distillation_token and config.num_classes)
    last = answering if training and config.pool == "cls" else tokens
    left = tokens
    for layer, merged in enumerate(config.merges(patches)):
        all_read = layer < config.depth - 1 or last == tokens
        read, merged = (left, merged) if all_read else (last, 0)
        if left < tokens:
            yield _merged_keys(config, left)
        yield from _block(config, left, read, box_of(config, layer, training), merged)
        yield Part("MLP", kept=Kept(2 * bool(config.drop_path and layer)))
        left -= merged
    if left < tokens and last == tokens:
        yield Part("merging", kept=Kept(flags=8 * patches))  # which token each patch is given in the end
    yield from _read_out(config, left, tokens, last if config.depth else tokens)


def _dropped(config: ViTConfig, rows: int, width: int | None = None) -> Kept:
    """Return the mask that dropout keeps of `rows` vectors."""
    return Kept(rows * (width or config.dim) if config.dropout else 0)


def _token_parameters(config: ViTConfig) -> int:
    rows, columns = config.grid
    table = {"learned": config.num_placed_prefix_tokens + rows * columns}.get(config.position, 0) * config.dim
    if config.position == "learned_2d":
        table = rows * (config.dim // 2) + columns * (config.dim - config.dim // 2)
    return table + config.num_prefix_tokens * config.dim


def _merged_keys(config: ViTConfig, tokens: int) -> Part:
    """What attention keeps besides where tokens are of several patches: log sizes, and places by picture."""
    places = Kept(tokens * config.head_dim if config.position == "rope" else 0)
    if config.position == "relative":
        return Part("merging", kept=Kept(flags=8 * tokens * tokens))  # a row of the table for each two tokens
    sizes = 0 if config.attention_dropout else tokens
    return Part("merging", kept=Kept(sizes) + places, kept_written_out=places)


def _merging(config: ViTConfig, tokens: int, merged: int) -> Iterator[Part]:
    """Yield the merging of `merged` of `tokens` into others (2210.09461, sec. 3): keys compared, means taken."""
    patches, left = tokens - config.num_prefix_tokens, tokens - merged
    alike = (patches // 2) * (patches - patches // 2) * config.head_dim
    yield Part("merging", macs=alike, constant_macs=2 * alike)  # nothing is learned from who is alike
    means = left * merged * config.dim
    yield Part("merging", macs=means, kept=Kept(left * merged, flags=8 * (tokens + merged))).of_pixels()


def _block(config: ViTConfig, tokens: int, read: int, box: Box | None, merged: int) -> Iterator[Part]:
    """Yield one block (eq. 2 and 3) that answers for `read` of its `tokens`, of which `merged` go in between."""
    yield norm(config.dim, tokens)
    yield from _attention(config, tokens, read, box, merged)
    if merged:
        yield from _merging(config, tokens, merged)
    left = read - merged
    yield norm(config.dim, left)
    yield from _mlp(config, left)
    widths, rows = {"swiglu": 4, "quick_gelu": 3}.get(config.activation, 2), tokens - merged
    keys = config.head_dim * tokens if merged else 0
    # before and after attention, their sum's norm, what was added
    yield alive("MLP", 2 * (tokens + rows) * config.dim + widths * rows * config.mlp_dim + keys)
    if config.layer_scale:
        yield Part("layer scale", 2 * config.dim, 0, Kept((read + left) * config.dim))


def _attention(config: ViTConfig, tokens: int, read: int, box: Box | None, merged: int) -> Iterator[Part]:
    """Yield attention of `read` queries to `tokens` keys (app. A), or of patches to those of their `box`."""
    dim, heads = config.dim, config.num_heads
    biases = {"qkv": 3, "qv": 2, "none": 0}[config.qkv_bias] * dim
    qkv = dense("qkv", dim, 3 * dim, tokens, bias=False)
    yield qkv + Part("qkv", biases)
    if config.qk_norm:  # its inputs are q and k, which are kept anyhow
        yield Part("norms", 4 * config.head_dim, 0, Kept(4 * heads * tokens))
    compared = pairs(config, tokens, read, box)
    yield Part("scores", _bias_parameters(config), compared * dim, *kept(config, tokens, read, box))
    yield _with(moments(config, tokens, box), config.head_dim * tokens if merged else 0)
    yield Part("weighted sum", 0, compared * dim)
    yield dense("projection", dim, dim, read, config.proj_bias)
    yield Part("projection", kept=_dropped(config, read))


def _with(moment: Part, numbers: int) -> Part:
    """Return a moment at which so many more numbers are in memory: the keys that are compared after attention."""
    return alive(moment.name, moment.peak(False) + numbers, moment.peak(True) + numbers)


def _bias_parameters(config: ViTConfig) -> int:
    if config.position != "relative":
        return 0
    rows, columns = config.grid
    return ((2 * rows - 1) * (2 * columns - 1) + (3 if config.num_prefix_tokens else 0)) * config.num_heads


def _mlp(config: ViTConfig, rows: int, name: str = "MLP") -> Iterator[Part]:
    """Yield an MLP on `rows` tokens."""
    gated = config.activation == "swiglu"
    widths = {"swiglu": 3, "quick_gelu": 2}.get(config.activation, 1)  # kept between the two layers
    yield dense(name, config.dim, config.mlp_dim * (1 + gated), rows, config.mlp_bias)
    yield Part(name, kept=Kept(widths * rows * config.mlp_dim) + _dropped(config, rows, config.mlp_dim))
    yield dense(name, config.mlp_dim, config.dim, rows, config.mlp_bias) + Part(name, kept=_dropped(config, rows))


def _read_out(config: ViTConfig, left: int, tokens: int, read: int) -> Iterator[Part]:
    """Yield what turns `read` of `tokens` encoded tokens, of which `left` are not merged, into an answer (eq. 4)."""
    width = config.dim * (2 if config.pool == "cls+mean" else 1)
    if config.final_norm:
        yield norm(config.dim, min(left, read))
    if config.pool == "map":
        yield from _pool(config, tokens)
    rows = tokens if config.pool == "none" else 1
    answers = 1 + bool(config.distillation_token and config.num_classes)
    if config.pool == "cls":
        yield Part("head", kept=Kept((read - answers) * width))  # of no block: all are kept where one is read
    if config.fc_norm:
        yield norm(width, rows).shared(answers)
    if config.pre_logits:
        yield dense("head", width, config.pre_logits, rows).shared(answers)
    if config.num_classes:
        for _ in range(answers):
            yield dense("head", config.pre_logits or width, config.num_classes, rows, config.head_bias)
    elif config.pre_logits:
        yield Part("head", kept=Kept(rows * config.pre_logits))  # of tanh


def _pool(config: ViTConfig, tokens: int) -> Iterator[Part]:
    """Yield attention pooling: one learned query, the same for all pictures, and an MLP (2106.04560)."""
    dim, patches = config.dim, tokens - config.num_prefix_tokens
    fused = Kept(2 * patches * dim, float32=config.num_heads)
    written = Kept((2 * patches + 1) * dim + config.num_heads * patches)
    yield Part("pooling", dim + dim * dim + dim, dim * dim)  # the query and its matrix
    yield dense("pooling", dim, 2 * dim, patches)
    yield Part("pooling", 0, 2 * patches * dim, fused, written)
    yield dense("pooling", dim, dim, 1)
    yield norm(dim, 1, "pooling")
    yield from _mlp(config, 1, "pooling")
