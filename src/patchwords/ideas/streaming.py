"""Attention without the map of its weights: the softmax of a row is finished piece by piece."""

from __future__ import annotations

import torch
from torch import Tensor


def streamed(q: Tensor, k: Tensor, v: Tensor, piece: int = 128) -> Tensor:
    """Return softmax(q k^T / sqrt(D_h)) v, holding the scores of `piece` keys at a time: O(T) memory, O(T^2) time.

    A running maximum m and a running sum s of exp(score - m) are kept for each query; when a piece raises m, what was
    summed before is scaled down (1805.02867, alg. 3; 2112.05682).

    Args:
        q: (B, heads, Q, D_h); k and v: (B, heads, K, D_h).
    """
    q = q * q.shape[-1] ** -0.5
    top = q.new_full((*q.shape[:-1], 1), -torch.inf)
    total, mixed = torch.zeros_like(top), torch.zeros_like(q)
    for start in range(0, k.shape[-2], piece):
        scores = q @ k[..., start : start + piece, :].transpose(-2, -1)
        higher = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
        scores.sub_(higher).exp_()
        scale = top.sub_(higher).exp_()
        total.mul_(scale).add_(scores.sum(dim=-1, keepdim=True))
        mixed.mul_(scale).add_(scores @ v[..., start : start + piece, :])
        top = higher
    return mixed / total
