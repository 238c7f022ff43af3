"""Multi-head self-attention (2010.11929, app. A, eq. 5-8) and attention pooling.

`attend` is the one place where q, k and v meet.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture.windows import Box
from ..config import ViTConfig
from . import kernels, windows
from .contract import Record, note
from .layers import Dense, Mlp, layer_norm
from .position import Places, box_bias, prefix_bias, relative_bias, relative_table, rotate

EXPLICIT_TOKENS = {"training": 1024, "inference": 256}
"""longest bfloat16 sequence for which plain products beat torch's fused kernel on a CPU.

torch 2.13, one Zen 5 thread, 3 heads of 64, time of fused / explicit at 17, 65, 197, 257, 577, 1025 tokens: bfloat16
training 5.9, 5.0, 2.1, 2.6, 2.4, 1.9, inference 1.8, 1.4, 1.5, 0.9, 0.7, 1.0; float32 0.6 to 1.0 and 0.3 to 0.7.
The price is memory: training keeps B x heads x T x T weights a block.
"""


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, dropout: float = 0.0, explicit: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return softmax(q k^T / sqrt(D_h) + bias) v (eq. 6 and 7), and the softmax where it was made.

    Args:
        q: (B, heads, Q, D_h); k and v: (B, heads, K, D_h).
        bias: added to the scores, broadcast to (B, heads, Q, K).
        dropout: share of the weights set to zero (the rest divided by what is left).
        explicit: make the weights; otherwise the fastest way is taken, which may not.

    Returns:
        (B, heads, Q, D_h); weights (B, heads, Q, K) before dropout, or None.
    """
    if not explicit and not _explicit_is_faster(q, k):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout), None
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    return (F.dropout(weights, dropout) if dropout else weights) @ v, weights


def attend_in_tiles(
    q: Tensor, k: Tensor, v: Tensor, box: Box, bias: Tensor | None, dropout: float, explicit: bool
) -> tuple[Tensor, Tensor | None]:
    """Return what patches get that attend to their box and to the tokens before the patches.

    Args:
        q: (B, heads, N, D_h); k and v: (B, heads, P + N, D_h).
        bias: (heads, cells, P + keys) of every tile, or None.
        explicit: make the weights; what is returned is computed from them, so that both have one graph.

    Returns:
        (B, heads, N, D_h); weights (B, heads, N, P + N), zero outside the box, or None.
    """
    heads, prefix = q.shape[1], k.shape[2] - q.shape[2]
    keys, values = (_with_prefix(x, box, prefix) for x in (k, v))
    mask = windows.tile_mask(box, q)
    if mask is not None:
        mask = F.pad(mask, (prefix, 0))
        bias = (mask if bias is None else mask + bias[:, None]).expand(heads, *mask.shape)
    elif bias is not None:
        bias = bias[:, None].expand(-1, keys.shape[1] // heads, -1, -1)
    bias = None if bias is None else bias.flatten(0, 1)
    if not explicit:
        return windows.join(box, attend(windows.cut(box, q), keys, values, bias, dropout)[0], heads), None
    scores = (windows.cut(box, q) * q.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    tiles = (scores if bias is None else scores + bias).softmax(dim=-1)
    numbers = _numbers(box, prefix, q.device).expand(q.shape[0], heads, -1, -1)
    table = tiles.new_zeros(*q.shape[:3], k.shape[2] + 1)  # one column more, for cells outside the picture
    weights = table.scatter(-1, numbers, windows.join(box, tiles, heads))[..., :-1]
    tiles = windows.cut(box, F.pad(weights, (0, 1)).gather(-1, numbers))  # what follows depends on `weights`
    return windows.join(box, (F.dropout(tiles, dropout) if dropout else tiles) @ values, heads), weights


def _with_prefix(tokens: Tensor, box: Box, prefix: int) -> Tensor:
    """Return the keys of every tile, (B, heads * tiles, P + keys, D_h), of tokens (B, heads, P + N, D_h)."""
    tiles = windows.cut(box, tokens[:, :, prefix:], around=True)
    if not prefix:
        return tiles
    first = tokens[:, :, :prefix].repeat_interleave(tiles.shape[1] // tokens.shape[1], dim=1)
    return torch.cat([first, tiles], dim=2)


def _numbers(box: Box, prefix: int, device: torch.device) -> Tensor:
    """Return the token number of each key of each patch, (1, 1, N, P + keys); T for those outside the picture."""
    count = math.prod(box.grid)
    numbers = windows.numbers(box, device)
    numbers = torch.where(numbers < 0, count, numbers) + prefix
    numbers = torch.cat([torch.arange(prefix, device=device).expand(len(numbers), -1), numbers], dim=1)
    return windows.join(box, numbers[None, :, None].expand(-1, -1, math.prod(box.tile), -1), 1)


def _explicit_is_faster(q: Tensor, k: Tensor) -> bool:
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return False
    training = torch.is_grad_enabled() and q.requires_grad
    return k.shape[-2] <= EXPLICIT_TOKENS["training" if training else "inference"]


class Attention(nn.Module):
    """[q, k, v] = z U_qkv; each head attends; U_msa joins the heads (eq. 5-8).

    qkv_bias=qv keeps `q_bias` and `v_bias` apart, as timm does for BEiT and DINOv3: k has none.
    """

    def __init__(self, config: ViTConfig, layer: int) -> None:
        super().__init__()
        dim, self.num_heads, self.grid = config.dim, config.num_heads, config.grid
        self.qkv = Dense(dim, 3 * dim, config.qkv_bias == "qkv", stacked=3)
        if config.qkv_bias == "qv":
            self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        if config.qk_norm:
            self.q_norm, self.k_norm = layer_norm(config, config.head_dim), layer_norm(config, config.head_dim)
        if config.position == "relative":
            self.relative_position_bias_table = nn.Parameter(relative_table(config, layer))
        self.proj = Dense(dim, dim, config.proj_bias, gain=config.residual_gain)
        self.attn_drop, self.proj_drop = nn.Dropout(config.attention_dropout), nn.Dropout(config.dropout)
        self.layer = layer
        self.qkv_bias, self.qk_norm, self.relative = config.qkv_bias, config.qk_norm, config.position == "relative"

    def forward(
        self,
        tokens: Tensor,
        places: Places,
        record: Record | None = None,
        name: str = "attn",
        first: int | None = None,
    ) -> Tensor:
        """Return (B, T, D) of tokens (B, T, D), or of its `first` tokens only; `record` takes `name`/weights."""
        return self._mix(*self._heads(tokens), places, record, name, first)

    def with_keys(
        self, tokens: Tensor, places: Places, record: Record | None = None, name: str = "attn", first: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, and the mean over the heads of the keys (B, T, D_h), before they are rotated."""
        qkv, heads = self._heads(tokens)
        with torch.no_grad():
            keys = heads[1].detach()
            keys = (self.k_norm(keys) if self.qk_norm else keys).mean(dim=1)
        return self._mix(qkv, heads, places, record, name, first), keys

    def _heads(self, tokens: Tensor) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """Return [q, k, v] (B, T, 3 D) where they are made together, and each of them (B, heads, T, D_h)."""
        qkv = self._qkv(tokens)
        return qkv, qkv.view(*qkv.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _mix(
        self,
        qkv: Tensor | None,
        heads: tuple[Tensor, ...],
        places: Places,
        record: Record | None,
        name: str,
        first: int | None,
    ) -> Tensor:
        q, k, v = heads
        dropout = self.attn_drop.p if self.training else 0.0
        box = self._box(places, record)
        bias = None if box else self._bias(places, v)
        plain = box is None and record is None and first is None and places.rotation is None
        shared = bias is None or bias.shape[0] == 1  # one bias for all pictures
        plain = plain and shared and not (self.qk_norm or dropout)
        if plain and qkv is not None and qkv.shape[1] <= EXPLICIT_TOKENS["training"] and kernels.pay(qkv):
            return self.proj_drop(self.proj(kernels.attention(qkv, self.num_heads, bias)))
        if self.qk_norm:
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)  # autocast norms in float32
        if places.rotation is not None:
            rotation = places.rotation.to(v.dtype)
            q, k = rotate(q, rotation), rotate(k, rotation)
        if first is not None:
            q, bias = q[:, :, :first], bias if bias is None else bias[:, :, :first]
        if box:
            mixed, weights = self._attend_in_tiles(q, k, v, places, box, dropout, record is not None)
        else:
            mixed, weights = attend(q, k, v, bias, dropout, explicit=record is not None)
        note(record, f"{name}/weights", weights)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))

    def _box(self, places: Places, record: Record | None) -> Box | None:
        """Return the box whose tiles attend; None: all scores are made, and `_bias` has the mask.

        What is recorded is made in the smallest tiles: what a token is computed from is then what it attends to.
        """
        if not places.boxes or (places.masks and record is None):
            return None
        box = places.boxes[self.layer % len(places.boxes)]
        return box if record is None else box.exact

    def _bias(self, places: Places, like: Tensor) -> Tensor | None:
        """Return what is added to the scores, (1 or B, 1 or heads, T, T), or None."""
        bias = places.masks[self.layer % len(places.masks)].to(like.dtype) if places.masks else None
        if self.relative:
            relative = relative_bias(self.relative_position_bias_table, self.grid, places).to(like.dtype)
            bias = relative if bias is None else relative + bias
        if places.sizes is not None:  # a token of s patches counts as s of them (2210.09461, sec. 3)
            proportional = places.sizes.log().to(like.dtype)[:, None, None]
            bias = proportional if bias is None else bias + proportional
        return bias

    def _attend_in_tiles(
        self, q: Tensor, k: Tensor, v: Tensor, places: Places, box: Box, dropout: float, explicit: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `attend` does with the mask of `box`, without T x T scores; `explicit`: the T x T weights too.

        The first tokens attend to all. Patches attend tile by tile: heads and tiles are one dimension, and the keys of
        every tile begin with the first tokens.
        """
        count = math.prod(box.grid)
        prefix, bias, first_bias = k.shape[2] - count, None, None
        if self.relative:
            table = self.relative_position_bias_table
            bias = box_bias(table, self.grid, places, box, prefix).to(q.dtype)
            first_bias = prefix_bias(table, prefix, count).to(q.dtype)[None, :, : q.shape[2]] if prefix else None
        first = attend(q[:, :, :prefix], k, v, first_bias, dropout, explicit) if prefix else None
        if q.shape[2] <= prefix:
            return first
        rest = attend_in_tiles(q[:, :, prefix:], k, v, box, bias, dropout, explicit)
        if first is None:
            return rest
        weights = torch.cat([first[1], rest[1]], dim=2) if explicit else None
        return torch.cat([first[0], rest[0]], dim=2), weights

    def _qkv(self, tokens: Tensor) -> Tensor:
        if self.qkv_bias != "qv":
            return self.qkv(tokens)
        return F.linear(tokens, self.qkv.weight, torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]))


class AttentionPool(nn.Module):
    """One learned query attends to all tokens; an MLP with a residual follows (MAP head of 2106.04560)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.dim, config.num_heads
        std = dim**-0.5
        self.latent = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=std, a=-2 * std, b=2 * std))
        self.q = Dense(dim, dim)
        self.kv = Dense(dim, 2 * dim, stacked=2)
        self.proj = Dense(dim, dim)
        self.norm = layer_norm(config, dim)
        self.mlp = Mlp(config)

    def forward(self, tokens: Tensor, record: Record | None = None) -> Tensor:
        """Return (B, D) of tokens (B, T, D); `record` takes pool/weights (B, heads, 1, T)."""
        batch, count, dim = tokens.shape
        q = self.q(self.latent).view(1, 1, self.num_heads, -1).transpose(1, 2).expand(batch, -1, -1, -1)
        k, v = self.kv(tokens).view(batch, count, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        heads, weights = attend(q, k, v, explicit=record is not None)
        note(record, "pool/weights", weights)
        pooled = self.proj(heads.transpose(1, 2).reshape(batch, 1, dim))
        return (pooled + self.mlp(self.norm(pooled)))[:, 0]
