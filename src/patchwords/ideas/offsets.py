"""What holds between patches, by how far and where the one is from the other."""

from __future__ import annotations

import numpy as np

from ..architecture import Size


def mean_by_offset(values: np.ndarray, grid: Size, least: float = 0.0) -> np.ndarray:
    """Return (..., 2 rows - 1, 2 columns - 1): means of values (..., query, key) over the pairs of one offset.

    Args:
        least: share of the queries; offsets that stay in the picture for fewer are 0.
    """
    count = values.shape[-1]
    row, column = (place.ravel() for place in np.indices(grid))
    down = row[None] - row[:, None] + grid[0] - 1
    right = column[None] - column[:, None] + grid[1] - 1
    spans = (2 * grid[0] - 1, 2 * grid[1] - 1)
    number = (down * spans[1] + right).ravel()
    pairs = np.bincount(number, minlength=spans[0] * spans[1])
    flat = values.reshape(-1, count * count)
    sums = np.stack([np.bincount(number, each, minlength=len(pairs)) for each in flat])
    means = np.where(pairs >= least * count, sums / np.maximum(pairs, 1), 0.0)
    return means.reshape(*values.shape[:-2], *spans)
