"""Where tokens look: attention as maps over the patches, for one query or for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError, nearest
from .results import Progress, Row, table
from .trace import Pictures, attention_trace, check_attends

Query = str | tuple[int, int]
"""whose attention: "answer" (the token the answer is read from), a name of `token_names`, "mean" (over all patches), or
the (row, column) of a patch, from 0"""


@dataclass(frozen=True)
class AttentionMaps:
    """How one query shares its attention among the patches, by layer and head (2010.11929, sec. 4.5)."""

    maps: np.ndarray
    """(layers, pictures, heads, rows, columns) share of the attention that goes to each patch"""
    prefix_share: np.ndarray
    """(layers, pictures, heads, prefix tokens) what goes to the class token, distillation token and registers"""
    pool_maps: np.ndarray | None
    """(pictures, heads, rows, columns) of attention pooling, where the model has it; sums to 1 over the patches"""
    query: str
    """whose attention it is: class, distillation, register 1, mean of patches, or patch (row, column) from 1"""
    tokens: tuple[str, ...]
    """names of the prefix tokens"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    @property
    def mean_maps(self) -> np.ndarray:
        """(layers, pictures, rows, columns): mean over the heads."""
        return self.maps.mean(axis=2)

    def rows(self) -> list[Row]:
        """Return a line for each layer, picture, head and patch; attention pooling is the layer after the last."""
        axes = ("layer", "picture", "head", "row", "column")
        lines = table(axes, attention_share=self.maps)
        if self.pool_maps is not None:
            pooled = table(axes, attention_share=self.pool_maps[None])
            lines += [line | {"layer": len(self.maps) + 1} for line in pooled]
        return lines


@dataclass(frozen=True)
class AttentionWeights:
    """Everything that attends to everything: all weights of some pictures."""

    weights: np.ndarray
    """(layers, pictures, heads, T, T): query, key; rows sum to 1"""
    pool_weights: np.ndarray | None
    """(pictures, heads, patches) of attention pooling, where the model has it"""
    tokens: tuple[str, ...]
    """names of the prefix tokens, which come before the patches"""
    grid: Size
    """patches (rows, columns)"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    def rows(self) -> list[Row]:
        """Return a line for each layer, picture, head and query: how spread it is, and what it looks at most."""
        weights, names = self.weights, [*self.tokens, *_patch_names(self.grid)]
        entropy = torch.special.entr(torch.from_numpy(weights)).sum(-1).numpy()
        most = np.asarray(names)[weights.argmax(axis=-1)]
        axes = ("layer", "picture", "head", ("query", names))
        return table(axes, entropy_nats=entropy, most=most, most_share=weights.max(axis=-1))


def token_names(config: Any) -> tuple[str, ...]:
    """Return the names of the tokens before the patches: class, distillation, register 1, ..."""
    names = ["class"] * config.class_token + ["distillation"] * config.distillation_token
    return (*names, *(f"register {number}" for number in range(1, config.num_registers + 1)))


def attention_maps(
    model: nn.Module, images: Pictures, query: Query = "answer", *, progress: Progress | None = None
) -> AttentionMaps:
    """Return how `query` shares its attention among the patches of each picture, layer by layer, head by head.

    A model that reads its answer from the class token is asked for that token. One that averages the patches, or
    pools them by attention, has no such token: in its layers the mean over all patches is taken, and attention
    pooling has maps of its own. The result says in `query` what was taken.

    Raises:
        ConfigError: the model has no attention or no such token.
    """
    names, prefix = token_names(check_attends(model).config), model.num_prefix_tokens
    layers: dict[int, list[Tensor]] = {}
    for seen in attention_trace(model, images, pool=True, progress=progress):
        if seen.layer <= len(model.blocks):
            tokens, told = tokens_of(query, model.config, seen.grid)
            chosen = seen.weights[:, :, tokens].mean(dim=2)
        else:
            chosen = seen.weights[:, :, 0]
        layers.setdefault(seen.layer, []).append(chosen.float().cpu())
        grid, cell = seen.grid, seen.cell_px
    pooled = layers.pop(len(model.blocks) + 1, None)
    shares = torch.stack([torch.cat(parts) for parts in layers.values()]).numpy()
    return AttentionMaps(
        maps=np.ascontiguousarray(shares[..., prefix:]).reshape(*shares.shape[:-1], *grid),
        prefix_share=np.ascontiguousarray(shares[..., :prefix]),
        pool_maps=None if pooled is None else torch.cat(pooled).unflatten(-1, grid).numpy(),
        query=told,
        tokens=names,
        cell_px=cell,
    )


def attention_weights(
    model: nn.Module, images: Pictures, *, precision: str = "float32", progress: Progress | None = None
) -> AttentionWeights:
    """Return all weights of all layers and heads: 4 x layers x pictures x heads x T x T bytes (11 MB for S/16 and one).

    Raises:
        ConfigError: the model has no attention.
    """
    layers: dict[int, list[Tensor]] = {}
    for seen in attention_trace(model, images, pool=True, precision=precision, progress=progress):
        layers.setdefault(seen.layer, []).append(seen.weights.float().cpu())
        grid, cell = seen.grid, seen.cell_px
    pooled = layers.pop(len(model.blocks) + 1, None)
    return AttentionWeights(
        weights=torch.stack([torch.cat(parts) for parts in layers.values()]).numpy(),
        pool_weights=None if pooled is None else torch.cat(pooled)[:, :, 0].numpy(),
        tokens=token_names(model.config),
        grid=grid,
        cell_px=cell,
    )


def tokens_of(query: Query, config: Any, grid: Size) -> tuple[slice, str]:
    """Return which tokens `query` stands for (their mean is taken), and in words which they are.

    Raises:
        ConfigError: no such token.
    """
    names, prefix = token_names(config), config.num_prefix_tokens
    if query == "answer":
        query = "class" if config.pool in ("cls", "cls+mean") else "mean"
    if query == "mean":
        return slice(prefix, None), "mean of patches"
    if isinstance(query, str):
        if query not in names:
            fix = nearest(query, ["answer", "mean", *names])
            raise ConfigError(f"the model has no token {query!r}", where="query", fix=fix)
        return slice(names.index(query), names.index(query) + 1), query
    row, column = query
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        fix = f"Rows are 0 to {grid[0] - 1}, columns 0 to {grid[1] - 1}"
        raise ConfigError(f"there is no patch in row {row}, column {column}", where="query", fix=fix)
    number = row * grid[1] + column
    return slice(prefix + number, prefix + number + 1), f"patch {_patch_names(grid)[number]}"


def _patch_names(grid: Size) -> list[str]:
    return [f"({row + 1}, {column + 1})" for row in range(grid[0]) for column in range(grid[1])]
