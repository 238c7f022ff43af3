"""Folding: a copy of a Vision Transformer with fewer operations, for other runtimes; it answers the same.

| in the model                           | in the copy                                                            |
|----------------------------------------|------------------------------------------------------------------------|
| q, k and v cut out of one product      | three products: runtimes fuse attention with what comes before it      |
| gamma * LN(x) + beta before a matrix W | LN(x) alone: gamma is in the columns of W, W beta in the bias          |
| LayerScale after a matrix W            | in the rows of W                                                       |

What is done to the pixels stays before the patch matrix: with the mean inside it, its rounding to bfloat16 doubled the
error of the logits, and nothing was gained. Nothing was gained either by the scale of the scores inside q.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..models.attention import Attention
from ..models.layers import Dense, LayerScale
from ..models.vit import Block
from .graph import Graph


class Apart(Attention):
    """Attention whose q, k and v are products of their own, `parts`; made of one that is there already."""

    parts: nn.ModuleList

    @classmethod
    def become(cls, attention: Attention) -> None:
        """Make `attention` such a one: `qkv` and its biases go."""
        bias = attention.qkv.bias
        if attention.qkv_bias == "qv":
            bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
            del attention.q_bias, attention.v_bias
        biases = [None] * 3 if bias is None else bias.chunk(3)
        attention.parts = nn.ModuleList(map(_dense, attention.qkv.weight.chunk(3), biases))
        del attention.qkv
        attention.__class__ = cls

    def _heads(self, tokens: Tensor) -> tuple[None, tuple[Tensor, ...]]:
        return None, tuple(part(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in self.parts)


@torch.no_grad()
def folded(graph: Graph) -> Graph:
    """Return a copy of `graph` with less to do; one without Vision Transformer blocks has nothing to fold."""
    graph = copy.deepcopy(graph)
    for block in [part for part in graph.modules() if type(part) is Block]:
        if type(block.attn) is not Attention or type(block.attn.qkv) is not Dense:
            continue
        Apart.become(block.attn)
        block.norm1 = _norm_alone(block.norm1, block.attn.parts)
        block.norm2 = _norm_alone(block.norm2, [block.mlp.fc1])
        block.ls1 = _scale_inside(block.ls1, block.attn.proj)
        block.ls2 = _scale_inside(block.ls2, block.mlp.fc2)
    return graph


def _dense(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=weight.dtype)
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    return made


def _norm_alone(norm: nn.LayerNorm, following: Iterable[nn.Linear]) -> nn.LayerNorm:
    """Return `norm` without factor and shift, which go into the matrices that follow."""
    for dense in following:
        shift = dense.weight @ norm.bias
        dense.bias = nn.Parameter(shift if dense.bias is None else dense.bias + shift)
        dense.weight.mul_(norm.weight)
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def _scale_inside(scale: nn.Module, before: nn.Linear) -> nn.Module:
    if not isinstance(scale, LayerScale):
        return scale
    before.weight.mul_(scale.gamma[:, None])
    if before.bias is not None:
        before.bias.mul_(scale.gamma)
    return nn.Identity()
