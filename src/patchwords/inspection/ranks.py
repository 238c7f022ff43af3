"""Rank correlation, with ties as Spearman has them."""

from __future__ import annotations

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each of `values`, from 1; equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[which].reshape(np.shape(values))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, -1..1; nan when one of the two does not vary."""
    if np.size(first) < 2:
        return float("nan")
    a, b = (ranks(np.ravel(each)) for each in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / scale, -1.0, 1.0)) if scale else float("nan")
