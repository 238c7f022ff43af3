"""Attention rollout: attention of all layers multiplied through, from the answer to the picture (fig. 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import in_range, one_of
from ..config import Size
from ..errors import ConfigError
from .attention import Query, token_names, tokens_of
from .results import Progress, Row, table
from .trace import LayerAttention, Pictures, attention_trace, check_attends

FUSIONS = ("mean", "max", "min")


@dataclass(frozen=True)
class Rollout:
    """How much of each patch of the picture reaches the answer, by attention alone (2005.00928, sec. 3)."""

    maps: np.ndarray
    """(layers, pictures, rows, columns) rollout through that layer; the last layer's is the rollout"""
    prefix_share: np.ndarray
    """(layers, pictures, prefix tokens) what comes from the class token, distillation token and registers;
    with the map of the same layer and picture it sums to 1"""
    matrix: np.ndarray | None
    """(pictures, T, T) through all layers: token at the end, token at the start; rows sum to 1; None: not asked for"""
    query: str
    """where it was read: class, mean of patches, attention pooling, ..."""
    fusion: str
    """how heads became one: mean, max, min"""
    discard_share: float
    """share of the smallest weights of each layer that were set to zero"""
    residual_share: float
    """weight of the skip connection in each layer"""
    layers: tuple[int, ...]
    """numbers of the layers, from 1"""
    tokens: tuple[str, ...]
    """names of the prefix tokens"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    def rows(self) -> list[Row]:
        """Return a line for each layer, picture and patch."""
        return table((("layer", self.layers), "picture", "row", "column"), rollout_share=self.maps)


def attention_rollout(
    model: nn.Module,
    images: Pictures,
    query: Query = "answer",
    *,
    fusion: str = "mean",
    discard_share: float = 0.0,
    residual_share: float = 0.5,
    start: int = 1,
    matrix: bool = False,
    progress: Progress | None = None,
) -> Rollout:
    """Return attention rollout: the product of 0.5 A + 0.5 I over the layers, A being the mean over the heads.

    Source: Abnar and Zuidema (2005.00928, sec. 3), as in 2010.11929, fig. 6 and app. D.8. The answer is read where
    the model reads it: at the class token, as the mean of the patches, or through the weights of attention pooling.
    With max or min over heads, or when small weights are discarded, rows no longer sum to 1: (1 - r) A + r I is
    divided by the sums of its rows, so that the answer is a mixture of tokens in every case.

    Args:
        discard_share: share of the smallest entries of A that become 0, of all queries of a picture together, the
            entry class to class excepted.
        residual_share: r, the weight of I.
        start: first layer to take part, from 1.
        matrix: keep the whole product too.

    Raises:
        ConfigError: the model has no attention; no such token, fusion or layer.
    """
    depth, config, prefix = len(check_attends(model).blocks), model.config, model.num_prefix_tokens
    _check(fusion, discard_share, residual_share, start, depth)
    pooled = query == "answer" and config.pool == "map"
    lines: list[Tensor] = []
    ends: list[Tensor] = []
    mix = partial(mixture, fusion=fusion, discard_share=discard_share, residual_share=residual_share)
    for seen, products in _products(model, images, mix, start, pooled, progress):
        tokens, told = tokens_of(query, config, seen.grid)
        if pooled:  # through the patches, by what the pooling takes of each
            read = _rows_to_one(_fused(seen.weights, fusion)) @ products[:, :, prefix:]
            lines.append(read[:, :, 0].float().cpu())
        else:
            lines.append(products[:, :, tokens].mean(dim=2).float().cpu())
        ends += [products[-1].float().cpu()] if matrix else []
    shares = torch.cat(lines, dim=1).numpy()
    return Rollout(
        maps=np.ascontiguousarray(shares[..., prefix:]).reshape(*shares.shape[:-1], *seen.grid),
        prefix_share=np.ascontiguousarray(shares[..., :prefix]),
        matrix=torch.cat(ends).numpy() if matrix else None,
        query="attention pooling" if pooled else told,
        fusion=fusion,
        discard_share=discard_share,
        residual_share=residual_share,
        layers=tuple(range(start, depth + 1)),
        tokens=token_names(config),
        cell_px=seen.cell_px,
    )


def _check(fusion: str, discard_share: float, residual_share: float, start: int, depth: int) -> None:
    one_of("fusion", fusion, FUSIONS)
    in_range("discard_share", discard_share, 0.0, 1.0)
    in_range("residual_share", residual_share, 0.0, 1.0)
    if not 1 <= start <= depth:
        raise ConfigError(f"there is no layer {start}", where="start", fix=f"Layers are 1 to {depth}")


def _products(
    model: Any,
    images: Pictures,
    mix: Callable[[LayerAttention], Tensor],
    start: int,
    pooled: bool,
    progress: Progress | None,
) -> Iterator[tuple[LayerAttention, Tensor]]:
    """Yield, for some pictures at a time, what was seen last and the products (layers, B, T, T) through each layer."""
    last = len(model.blocks) + pooled
    products: list[Tensor] = []
    for seen in attention_trace(model, images, pool=pooled, progress=progress):
        if seen.layer == start:
            products = [mix(seen)]
        elif start < seen.layer <= len(model.blocks):
            products.append(mix(seen) @ products[-1])
        if seen.layer == last:
            yield seen, torch.stack(products)


def mixture(
    seen: LayerAttention, fusion: str = "mean", discard_share: float = 0.0, residual_share: float = 0.5
) -> Tensor:
    """Return what one layer makes each token a mixture of: (B, T, T), rows sum to 1; arguments as above."""
    fused = _fused(seen.weights, fusion)
    flat = fused.flatten(1)
    if discarded := int(flat.shape[1] * discard_share):
        smallest = flat.topk(discarded, dim=1, largest=False).indices
        kept = flat.scatter(1, smallest, 0.0)
        if seen.num_prefix_tokens:
            kept[:, 0] = flat[:, 0]
        fused = kept.view_as(fused)
    skip = torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
    return _rows_to_one((1 - residual_share) * fused + residual_share * skip)


def _fused(weights: Tensor, fusion: str) -> Tensor:
    """Return one matrix (B, Q, K) of the heads' (B, heads, Q, K)."""
    return weights.mean(dim=1) if fusion == "mean" else getattr(weights, f"a{fusion}")(dim=1)


def _rows_to_one(matrix: Tensor) -> Tensor:
    """Return `matrix` with rows that sum to 1; a row of nothing but zeros keeps its own token."""
    total = matrix.sum(dim=-1, keepdim=True)
    own = torch.eye(*matrix.shape[-2:], dtype=matrix.dtype, device=matrix.device)
    return torch.where(total > 0, matrix / total.clamp_min(torch.finfo(matrix.dtype).tiny), own)
