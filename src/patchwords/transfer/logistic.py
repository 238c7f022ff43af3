"""Logistic regression on frozen features by L-BFGS, with the penalty chosen by cross-validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .axes import Axes
from .few_shot import Linear

GRID = tuple(10.0**power for power in range(4, -3, -1))
"""penalties to choose from, largest first: l2 / 2 |W|^2 beside the sum of cross-entropies"""
FOLDS = 5
"""parts of the cross-validation; fewer where a class has fewer pictures"""
EXACT, ROUGH = 1e-14, 1e-7
"""nats a picture that the answer may lie above the smallest loss, about: of the answer; while choosing"""
_MEMORY = 10
"""pairs of steps and changes of slope that L-BFGS remembers"""

Slope = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""from a point to (value, gradient)"""


def fit_logistic(axes: Axes, labels: np.ndarray, num_classes: int, l2: float | None = None) -> Linear:
    """Return argmin over W, b of the sum of cross-entropies of softmax(X W + b), plus l2 / 2 |W|^2.

    X are standardised features; the bias is free of the penalty. The same as scikit-learn's LogisticRegression with
    C = 1 / l2 on standardised features.

    Args:
        axes: of the N pictures.
        labels: (N,) in 0 .. K - 1.
        num_classes: K.
        l2: above 0; None: chosen by `choose_l2`.
    """
    if l2 is None:
        l2 = choose_l2(axes, labels, num_classes)
    coefficients, bias = _fit(axes.places, labels, num_classes, l2, axes.power, EXACT)
    return Linear(*axes.weights(coefficients, bias), l2)


def choose_l2(axes: Axes, labels: np.ndarray, num_classes: int) -> float:
    """Return the penalty of `GRID` with the smallest cross-entropy on pictures left out, 5 folds with even classes.

    A class of fewer pictures makes fewer folds. With one picture there is nothing to choose by: the mean curvature
    of the cross-entropies where all classes are alike. Means, standard deviations and axes are those of all N
    pictures, labels only those of the folds that are fitted. The search ends when the error has risen twice in a row.
    """
    counts = np.bincount(labels)
    folds = min(FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return axes.mean_power / num_classes
    part = folds_of(labels, folds)
    starts: list[np.ndarray | None] = [None] * folds
    errors: list[float] = []
    for l2 in GRID:
        error = 0.0
        for fold in range(folds):
            fitted, left_out = part != fold, part == fold
            places = axes.places[fitted]
            coefficients, bias = _fit(
                places, labels[fitted], num_classes, l2, axes.power * (1 - 1 / folds), ROUGH, starts[fold]
            )
            starts[fold] = np.vstack([coefficients, bias])
            error += cross_entropies(axes.places[left_out] @ coefficients + bias, labels[left_out]).sum()
        errors.append(error)
        if len(errors) > 2 and errors[-1] > errors[-2] > errors[-3]:
            break
    return GRID[int(np.argmin(errors))]


def folds_of(labels: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold (N,) of each picture: those of a class take turns, in the order in which they were drawn."""
    part = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        part[of_class] = np.arange(len(of_class)) % folds
    return part


def cross_entropies(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return -log softmax (N,) of the right class, nats."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


def _fit(
    places: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    l2: float,
    power: np.ndarray,
    tolerance: float,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients (r, K) and bias (K,).

    Solved in coordinates in which the curvature is about 1 everywhere: with all classes alike it is power / K + l2
    along each axis and N / K along the bias.
    """
    inputs = np.hstack([places, np.ones((len(places), 1))])
    penalty = np.append(np.full(len(power), l2), 0.0)[:, None]
    scale = 1 / np.sqrt(np.append(power, len(places))[:, None] / num_classes + penalty)
    rows = np.arange(len(labels))

    def slope(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights = point.reshape(scale.shape[0], num_classes) * scale
        scores = inputs @ weights
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[rows, labels]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        scores /= total
        scores[rows, labels] -= 1
        value = np.log(total).sum() - right.sum() + 0.5 * (penalty * weights**2).sum()
        return value, ((inputs.T @ scores + penalty * weights) * scale).ravel()

    first = np.zeros((len(scale), num_classes)) if start is None else start
    weights = minimise(slope, (first / scale).ravel(), tolerance * len(labels)).reshape(-1, num_classes) * scale
    return weights[:-1], weights[-1]


def minimise(slope: Slope, point: np.ndarray, tolerance: float, steps: int = 1000) -> np.ndarray:
    """Return where a convex function is smallest, by L-BFGS with a line search that halves the step.

    Args:
        slope: from a point (n,) to (value, gradient).
        point: (n,) where to begin, in coordinates of curvature about 1.
        tolerance: stop when half the squared gradient, about what is left to gain, is below it.
        steps: stop after as many.

    Source: Nocedal and Wright, "Numerical Optimization" (2006), algorithms 3.1, 7.4 and 7.5.
    """
    value, gradient = slope(point)
    memory: list[tuple[np.ndarray, np.ndarray, float]] = []
    for _ in range(steps):
        if 0.5 * gradient @ gradient <= tolerance:
            break
        direction = _direction(gradient, memory)
        descent, length = gradient @ direction, 1.0
        while True:
            new = point + length * direction
            new_value, new_gradient = slope(new)
            if new_value <= value + 1e-4 * length * descent:
                break
            length /= 2
            if length < 1e-10:  # rounding leaves nothing to gain
                return point
        step, change = new - point, new_gradient - gradient
        if (curvature := step @ change) > 1e-14 * (step @ step):
            memory = [*memory[1 - _MEMORY :], (step, change, 1 / curvature)]
        point, value, gradient = new, new_value, new_gradient
    return point


def _direction(gradient: np.ndarray, memory: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """Return minus the gradient times the remembered inverse of the curvature."""
    q, shares = gradient.copy(), []
    for step, change, inverse in reversed(memory):
        shares.append(inverse * (step @ q))
        q -= shares[-1] * change
    if memory:
        _, change, inverse = memory[-1]
        q /= inverse * (change @ change)
    for (step, change, inverse), share in zip(memory, reversed(shares), strict=True):
        q += (share - inverse * (change @ q)) * step
    return -q
