"""Standardised features along their principal axes: what every linear probe starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_EPSILON = 1e-5
"""added to the standard deviation, as in the paper's evaluator; a feature that never changes becomes 0"""


@dataclass(frozen=True)
class Axes:
    """N standardised pictures in the basis in which their covariance is diagonal; r = its rank.

    A linear model with an l2 penalty has its answer in the span of the pictures, so r numbers a picture say all
    that D do, and in this basis the normal equations are diagonal.
    """

    mean: np.ndarray
    """(D,) of the features"""
    std: np.ndarray
    """(D,) of the features, plus 1e-5"""
    rotation: np.ndarray
    """(D, r) orthonormal columns"""
    places: np.ndarray
    """(N, r) the standardised pictures times `rotation`"""
    power: np.ndarray
    """(r,) sum of squares of each column of `places`, all above 0"""

    @property
    def mean_power(self) -> float:
        """Mean of `power`; 1 where all pictures are alike."""
        return float(self.power.mean()) if len(self.power) else 1.0

    def weights(self, coefficients: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (D, K) and bias (K,) on features as they are, from coefficients (r, K) on `places`."""
        weights = (self.rotation @ coefficients) / self.std[:, None]
        return weights, bias - self.mean @ weights


def find_axes(features: np.ndarray) -> Axes:
    """Return the axes of features (N, D): each feature minus its mean, over its standard deviation, then rotated.

    The eigenvectors are those of the smaller of the two Gram matrices, (D, D) or (N, N), in float64.
    """
    features = np.asarray(features, dtype=np.float64)
    mean, std = features.mean(axis=0), features.std(axis=0) + _EPSILON
    x = (features - mean) / std
    if len(x) >= x.shape[1]:
        power, rotation = np.linalg.eigh(x.T @ x)
        kept = _above_rounding(power, x.shape)
        rotation = rotation[:, kept]
        return Axes(mean, std, rotation, x @ rotation, power[kept])
    power, left = np.linalg.eigh(x @ x.T)
    kept = _above_rounding(power, x.shape)
    power, left = power[kept], left[:, kept]
    places = left * np.sqrt(power)
    return Axes(mean, std, x.T @ left / np.sqrt(power), places, power)


def _above_rounding(power: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which eigenvalues are more than the rounding of the largest."""
    return power > max(shape) * np.finfo(np.float64).eps * power.max(initial=0.0)
