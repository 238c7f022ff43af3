"""Measure a model on pictures with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ..metrics import Evaluation, measure
from ..preprocess import Preprocess


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    preprocess: Preprocess,
    batches: Iterable[Tensor],
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    seen: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Return logits (picture, class) as float32 for batches of uint8 pixels (batch, channel, row, column)."""
    rows, count = [], 0
    for pixels in batches:
        images = preprocess.normalize(pixels.to(device)).to(dtype)
        rows.append(model(images).float().cpu().numpy())
        count += len(pixels)
        seen(count)
    return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def evaluate(
    model: nn.Module,
    preprocess: Preprocess,
    batches: Iterable[Tensor],
    labels: np.ndarray,
    classes: tuple[str, ...],
    paths: list[str] | None = None,
    **options,
) -> Evaluation:
    """Return the Evaluation of `model` (in evaluation mode) on every picture of `batches`, each once.

    Args:
        labels: (picture,) indices into `classes`, in the order of the batches.
        paths: (picture,) names, for the worst mistakes.
        options: as for `predict_logits`.
    """
    logits = predict_logits(model, preprocess, batches, **options)
    if not len(logits):
        logits = np.zeros((0, len(classes)), dtype=np.float32)
    return measure(logits, labels, classes, paths)
