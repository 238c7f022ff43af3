"""The paper's few-shot classifier: least squares from frozen features to targets of -1 and 1, solved exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .axes import Axes

BIAS = 100.0
"""the constant feature that carries the bias: large, so that the penalty hardly touches it"""
GRID = tuple(2.0**power for power in range(-2, 19, 2))
"""penalties to choose from, on sums over pictures of squared errors of standardised features"""


@dataclass(frozen=True)
class Linear:
    """A linear classifier on features as the model gives them."""

    weights: np.ndarray
    """(D, K)"""
    bias: np.ndarray
    """(K,)"""
    l2: float
    """penalty that it was fitted with"""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return (N, K) of features (N, D); the largest is the answer."""
        return features @ self.weights + self.bias


def targets_of(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (N, K): 1 in the column of the label, -1 in the others (2010.11929, sec. 4.1)."""
    targets = np.full((len(labels), num_classes), -1.0)
    targets[np.arange(len(labels)), labels] = 1.0
    return targets


def fit_ridge(axes: Axes, labels: np.ndarray, num_classes: int, l2: float | None = None) -> Linear:
    """Return argmin_W |X W - Y|^2 + l2 |W|^2, exactly, X being standardised features and a column of 100.

    The same as the few-shot evaluator of the paper's authors (google-research/big_vision,
    evaluators/fewshot_lsr.py), which takes an l2 of 1024 everywhere.

    Args:
        axes: of the N pictures.
        labels: (N,) in 0 .. K - 1.
        num_classes: K.
        l2: above 0; None: chosen by `choose_l2`.

    Source: 2010.11929, sec. 4.1.
    """
    targets = targets_of(labels, num_classes)
    if l2 is None:
        l2 = choose_l2(axes, labels, targets)
    coefficients, bias = _solution(axes, targets, l2)
    return Linear(*axes.weights(coefficients, bias), l2)


def _solution(axes: Axes, targets: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (r, K) and bias (K,).

    Standardised features have mean 0, so the column of the bias is at right angles to them and has its own equation.
    """
    coefficients = (axes.places.T @ targets) / (axes.power + l2)[:, None]
    return coefficients, BIAS**2 * targets.sum(axis=0) / (BIAS**2 * len(targets) + l2)


def choose_l2(axes: Axes, labels: np.ndarray, targets: np.ndarray) -> float:
    """Return the penalty of `GRID` with the smallest error of `left_out_errors`; the larger of equals.

    A class of one picture would be left without any, and there is nothing to choose by: the mean power of an axis,
    about the number of features, for 768 or 1,024 of them near the 1024 of the paper's authors.
    """
    counts = np.bincount(labels)
    if counts[counts > 0].min() < 2:
        return axes.mean_power
    errors = {l2: left_out_errors(axes, targets, l2).mean() for l2 in GRID}
    return min(reversed(GRID), key=errors.__getitem__)


def left_out_errors(axes: Axes, targets: np.ndarray, l2: float) -> np.ndarray:
    """Return (N, K) squared errors of each picture under the solution of the other N - 1, without solving N times.

    (y - y') / (1 - h), y' being the answer with the picture and h its leverage, the diagonal of
    X (X^T X + l2)^-1 X^T. Means and standard deviations are those of all N pictures.
    """
    coefficients, bias = _solution(axes, targets, l2)
    leverage = (axes.places**2) @ (1 / (axes.power + l2)) + BIAS**2 / (BIAS**2 * len(targets) + l2)
    rest = np.maximum(1 - leverage, 1e-12)[:, None]
    return ((targets - axes.places @ coefficients - bias) / rest) ** 2
