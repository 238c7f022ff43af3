"""What a model knows of where patches lie, before it sees a picture (fig. 7 centre, fig. 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError
from ..models.position import locate, position_rows, relative_bias
from .distance import patch_distances
from .ranks import spearman
from .results import Row, table

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""of the linear read-out, in units of the mean eigenvalue of the vectors' Gram matrix"""


@dataclass(frozen=True)
class PositionSimilarity:
    """How alike the position vectors of patches are (2010.11929, fig. 7 centre), and what can be read from them."""

    similarity: np.ndarray
    """(rows, columns, rows, columns) cosine similarity of the vectors of every two patches, -1..1"""
    prefix_similarity: np.ndarray
    """(prefix tokens with a position, rows, columns) cosine similarity of their vectors with those of patches"""
    distance_correlation: float
    """Spearman's rank correlation of similarity with distance in pixels, over all pairs; -1: falls with every step"""
    row_share: float
    """share of the variance of the vectors that the mean vector of each row explains"""
    column_share: float
    """that the mean vector of each column explains; with `row_share` it sums to 1 for vectors row + column"""
    same_row: float
    """mean similarity of two patches of one row"""
    same_column: float
    """mean similarity of two patches of one column"""
    elsewhere: float
    """mean similarity of two patches in different rows and columns"""
    row_r2: float
    """R^2 with which ridge regression reads the row from the vector of a patch it was not fitted to; 1: exactly"""
    column_r2: float
    """the same for the column; nan where there is only one"""
    source: str
    """which vectors these are"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    def rows(self) -> list[Row]:
        """Return a line for every two patches."""
        return table(("row", "column", "other_row", "other_column"), cosine=self.similarity)


@dataclass(frozen=True)
class RelativeBias:
    """What relative positions add to the scores, by layer and head: the content of a patch plays no part."""

    bias: np.ndarray
    """(layers, heads, 2 rows - 1, 2 columns - 1) added to the score, for each offset of the key from the query;
    the middle is the patch itself, below and right of it are keys below and right"""
    peak: np.ndarray
    """(layers, heads, 2) whole patches (down, right) from the query to the key with the largest bias"""
    distance_correlation: np.ndarray
    """(layers, heads) Spearman's rank correlation of the bias with distance; -1: falls with it; nan: constant"""
    distance_px: np.ndarray
    """(layers, heads) mean attention distance of the bias alone (its softmax over the patches), pixels"""
    uniform_px: float
    """that of a constant bias"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    def rows(self) -> list[Row]:
        """Return a line for each layer, head and offset."""
        down, right = (range(-(count // 2), count // 2 + 1) for count in self.bias.shape[2:])
        return table(("layer", "head", ("down", down), ("right", right)), bias=self.bias)


def positions(model: nn.Module) -> PositionSimilarity | RelativeBias:
    """Return what the model knows of positions: similarities of vectors, or biases where positions are relative.

    Raises:
        ConfigError: the model has no positions.
    """
    relative = getattr(getattr(model, "config", None), "position", "none") == "relative"
    return relative_biases(model) if relative else position_similarity(model)


@torch.no_grad()
def position_similarity(model: Any) -> PositionSimilarity:
    """Return how alike the position vectors of the patches of `model` are.

    Learned tables, tables of rows and columns, and sines are taken as they are added to the tokens. Rotations have no
    vectors: the cosine and sine of all angles of a patch are taken, whose similarity is the share of q k that is left
    when the same vector, equally strong in every plane, stands at both places.

    Raises:
        ConfigError: the model has no positions, or relative ones.
    """
    vectors, prefix, source = position_vectors(model)
    grid, cell = model.grid, model.config.cell_size
    return PositionSimilarity(
        **measure_vectors(vectors.cpu().double().numpy(), prefix.cpu().double().numpy(), grid, cell),
        source=source,
        cell_px=cell,
    )


def position_vectors(model: Any) -> tuple[Tensor, Tensor, str]:
    """Return the vectors of patches (N, D) and of prefix tokens with a position (n, D), and what they are.

    Raises:
        ConfigError: the model has no positions, or relative ones.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "position", "")
    if not kind:
        raise ConfigError(f"{type(model).__name__} has no vectors of positions")
    if kind == "none":
        raise ConfigError("the model has no positions: its patches are a set", where="model.position")
    if kind == "relative":
        fix = "Look at its biases (relative_biases)"
        raise ConfigError("relative positions have no vectors to compare", where="model.position", fix=fix)
    like, prefix = next(model.parameters()), config.num_prefix_tokens
    if kind == "rope":
        rotation = locate(config, model.grid, like).rotation
        return torch.cat([*rotation[:, 0, 0]], dim=-1)[prefix:], like.new_zeros(0, config.head_dim), "rotation angles"
    rows = position_rows(model.pos_embed, config, model.grid, like)[0]
    source = {"learned": "E_pos", "learned_2d": "row and column vectors", "sincos_2d": "sines and cosines"}[kind]
    return rows[prefix:], rows[: config.num_placed_prefix_tokens], source


def measure_vectors(vectors: np.ndarray, prefix: np.ndarray, grid: Size, cell_px: Size) -> dict[str, Any]:
    """Return the measured fields of PositionSimilarity for `vectors` (N, D) of patches and `prefix` (n, D)."""
    unit, prefix_unit = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-300) for each in (vectors, prefix)
    )
    similarity = unit @ unit.T
    row, column = (place.ravel() for place in np.indices(grid))
    same_row, same_column = row[:, None] == row, column[:, None] == column
    pairs = np.triu_indices(len(vectors), 1)
    rest = vectors - vectors.mean(axis=0)
    table_of_rest = rest.reshape(*grid, -1)
    variance = (rest**2).sum() or np.nan
    return {
        "similarity": similarity.reshape(*grid, *grid).astype(np.float32),
        "prefix_similarity": (prefix_unit @ unit.T).reshape(-1, *grid).astype(np.float32),
        "distance_correlation": spearman(similarity[pairs], patch_distances(grid, cell_px).numpy()[pairs]),
        "row_share": float((table_of_rest.mean(axis=1) ** 2).sum() * grid[1] / variance),
        "column_share": float((table_of_rest.mean(axis=0) ** 2).sum() * grid[0] / variance),
        "same_row": _mean(similarity[same_row & ~same_column]),
        "same_column": _mean(similarity[same_column & ~same_row]),
        "elsewhere": _mean(similarity[~same_row & ~same_column]),
        "row_r2": leave_one_out_r2(rest, row),
        "column_r2": leave_one_out_r2(rest, column),
    }


def leave_one_out_r2(vectors: np.ndarray, target: np.ndarray) -> float:
    """Return R^2 of ridge regression from `vectors` (N, D) to `target` (N,), each predicted by a fit to all others.

    The intercept is free. The errors are those of N fits, by e_i = r_i / (1 - h_ii), with h of the fit to all; of
    `RIDGES` the best is taken. 0 is what guessing the mean gives (about: -2 / N); nan where the target is constant.
    """
    x, y = vectors - vectors.mean(axis=0), target - target.mean()
    if not y.any():
        return float("nan")
    count = len(x)
    size, basis = np.linalg.eigh(x @ x.T)
    size = size.clip(min=0)
    unit = size.mean() or 1.0
    errors = []
    for ridge in RIDGES:
        hat = (basis * (size / (size + ridge * unit))) @ basis.T + 1 / count
        left_out = (y - hat @ y) / (1 - np.diag(hat))
        errors.append(left_out @ left_out)
    return float(1 - min(errors) / (y @ y))


@torch.no_grad()
def relative_biases(model: Any) -> RelativeBias:
    """Return what the relative positions of each layer and head of `model` favour.

    Raises:
        ConfigError: its positions are not relative.
    """
    config = getattr(model, "config", None)
    if getattr(config, "position", "") != "relative" or not len(model.blocks):
        raise ConfigError("the model has no relative positions", where="model.position")
    grid, prefix, like = model.grid, model.num_prefix_tokens, next(model.parameters())
    places = locate(config, grid, like)
    biases = [relative_bias(block.attn.relative_position_bias_table, grid, places)[0] for block in model.blocks]
    between = torch.stack(biases)[..., prefix:, prefix:].cpu().double()  # (layers, heads, N, N)
    maps = by_offset(between.numpy(), grid)
    distances = patch_distances(grid, config.cell_size)
    offsets = np.indices(maps.shape[2:]) - (np.array(grid) - 1)[:, None, None]
    away = np.hypot(offsets[0] * config.cell_size[0], offsets[1] * config.cell_size[1])
    best = maps.reshape(*maps.shape[:2], -1).argmax(axis=-1)
    return RelativeBias(
        bias=maps.astype(np.float32),
        peak=np.moveaxis(offsets.reshape(2, -1)[:, best], 0, -1).astype(np.int32),
        distance_correlation=np.array([[spearman(head, away) for head in layer] for layer in maps], dtype=np.float32),
        distance_px=(between.softmax(dim=-1) * distances).sum(dim=-1).mean(dim=-1).numpy().astype(np.float32),
        uniform_px=float(distances.mean()),
        cell_px=config.cell_size,
    )


def by_offset(between: np.ndarray, grid: Size) -> np.ndarray:
    """Return (..., 2 rows - 1, 2 columns - 1) of (..., N, N) that depends only on the offset from query to key."""
    row, column = (place.ravel() for place in np.indices(grid))
    down = row[None] - row[:, None] + grid[0] - 1
    right = column[None] - column[:, None] + grid[1] - 1
    maps = np.empty((*between.shape[:-2], 2 * grid[0] - 1, 2 * grid[1] - 1), dtype=between.dtype)
    maps[..., down, right] = between
    return maps


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
