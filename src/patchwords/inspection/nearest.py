"""Which training pictures look most alike to the model: neighbours by the cosine of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..architecture import in_range
from ..errors import ConfigError
from .results import Progress, Row, table
from .still import Kept, as_input, batches, still
from .trace import Pictures


@dataclass(frozen=True)
class Neighbours:
    """The pictures of a set nearest to each of some pictures, nearest first."""

    indices: np.ndarray
    """(queries, k) numbers in the set, from 0"""
    similarity: np.ndarray
    """(queries, k) cosine of the features, -1..1"""

    def rows(self) -> list[Row]:
        """Return one line for each query and neighbour; `index` counts from 0, as the set does."""
        return table(["query", "neighbour"], index=self.indices, similarity=self.similarity)


def find_nearest(
    queries: np.ndarray,
    features: np.ndarray,
    k: int = 5,
    *,
    leave_out: np.ndarray | None = None,
    chunk: int = 8192,
) -> Neighbours:
    """Return for each query the `k` features with the largest cosine; of equal ones the first.

    Args:
        queries: (Q, D).
        features: (N, D), of the set; `chunk` of them are looked at a time (a memory map will do).
        leave_out: (Q,) number in the set of the query itself, which is no neighbour of its own; -1: not in the set.

    Raises:
        ConfigError: widths that differ, or fewer than `k` others in the set.
    """
    if queries.ndim != 2 or features.ndim != 2 or queries.shape[1] != features.shape[1]:
        raise ConfigError(f"features of shapes {queries.shape} and {features.shape}", where="features")
    in_range("k", k, 1, len(features) - (leave_out is not None))
    unit = _unit(queries)
    best = np.full((len(queries), 0), 0.0, np.float32)
    numbers = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(features), chunk):
        part = _unit(features[start : start + chunk])
        cosines = unit @ part.T
        if leave_out is not None:
            own = np.flatnonzero((leave_out >= start) & (leave_out < start + len(part)))
            cosines[own, np.asarray(leave_out)[own] - start] = -np.inf
        best = np.concatenate([best, cosines], axis=1)
        here = np.arange(start, start + len(part))
        numbers = np.concatenate([numbers, np.broadcast_to(here, cosines.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, numbers = np.take_along_axis(best, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    return Neighbours(numbers, best.clip(-1, 1))


def _unit(features: np.ndarray) -> np.ndarray:
    """Return float32 rows of length 1; a row of zeros stays (it is like nothing)."""
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def measure_features(
    model: nn.Module, images: Pictures, *, batch_size: int = 32, progress: Progress | None = None
) -> np.ndarray:
    """Return the vector that the head reads of each picture: float32 (pictures, num_features).

    Raises:
        ConfigError: the model makes no such vector (pool=none).
    """
    found = []
    with still(model), torch.no_grad():
        for batch in batches(images, batch_size, progress):
            record = Kept(lambda name, value: value if name == "features" else None)
            model(as_input(model, batch), record)
            if "features" not in record or record["features"].ndim != 2:
                raise ConfigError("the model makes no single vector of a picture", where="model.pool")
            found.append(record["features"].float().cpu().numpy())
    return np.concatenate(found)
