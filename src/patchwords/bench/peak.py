"""The peak: the best rate of matrix products on this processor, in the process of what is compared with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .timing import alternate

SHAPES = ((4096, 1024, 4096), (8320, 192, 768), (8320, 768, 192))
"""(rows, inner, columns)"""


def measure_peak(dtype: torch.dtype, rounds: int = 3, shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> float:
    """Return operations a second of the best product; in float32 by torch or by oneDNN, whichever is faster."""
    works = {}
    for rows, inner, columns in shapes:
        x, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        works[rows, inner, columns, "linear"] = lambda x=x, w=weight: F.linear(x, w)
        if dtype == torch.float32 and torch.backends.mkldnn.is_available():
            one = torch.ops.mkldnn._linear_pointwise
            works[rows, inner, columns, "onednn"] = lambda x=x, w=weight, f=one: f(x, w, None, "none", [], "")
    with torch.inference_mode():
        seconds = alternate(works, rounds + 1)
    return max(2 * key[0] * key[1] * key[2] / min(times) for key, times in seconds.items())
