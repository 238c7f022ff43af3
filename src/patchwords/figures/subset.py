"""Which of too many things are drawn, and the sentence that says so."""

from __future__ import annotations

import numpy as np


def spaced(count: int, most: int) -> np.ndarray:
    """Return at most `most` numbers of 0..count - 1, evenly spaced, with the first and the last."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, max(most, 1)).round().astype(int)) if most > 1 else np.array([count - 1])


def subset_told(chosen: np.ndarray, count: int, things: str) -> str:
    """Return the sentence that says which of them are drawn; "" when all are."""
    if len(chosen) == count:
        return ""
    return f"{len(chosen)} of {count} {things} are drawn, evenly spaced."
