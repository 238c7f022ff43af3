"""Attention that is known beforehand, and models to look into."""

from __future__ import annotations

import torch
from torch import Tensor

from patchwords.config import Size
from patchwords.inspection.trace import LayerAttention

CELL_PX = (4, 6)


def one_layer(weights: Tensor, grid: Size, prefix: int = 0, layer: int = 1, cell_px: Size = CELL_PX) -> LayerAttention:
    """Return `weights` (B, heads, T, T) as if a model had attended so."""
    return LayerAttention(layer, 0, weights, prefix, grid, cell_px)


def random_attention(*shape: int, seed: int = 0) -> Tensor:
    """Return attention (..., T, T) whose rows sum to 1, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).mul(2).softmax(dim=-1)
