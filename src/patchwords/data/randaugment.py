"""RandAugment with the 16 operations and the strengths of big_vision, which AugReg was made with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..device import beside
from . import augment_ops as ops

_SIDE = 224  # pixels; the translations and holes below are for pictures of this side

Change = Callable[[Tensor, float, np.ndarray], Tensor]
"""(pictures (n, C, H, W), magnitude, draws (n, 3) in [0, 1)) -> pictures"""


def _fill(images: Tensor, amount: float) -> Tensor:
    return torch.full((len(images),), amount)


def _plain(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda images, magnitude, draws: change(images)


def _scaled(change: Callable[[Tensor, Tensor], Tensor], amount: Callable[[float], float]) -> Change:
    return lambda images, magnitude, draws: change(images, _fill(images, amount(magnitude)))


def _signs(draws: np.ndarray) -> np.ndarray:
    return np.where(draws[:, 0] < 0.5, -1.0, 1.0)


def _warp(images: Tensor, matrices: np.ndarray) -> Tensor:
    return ops.warp(images, torch.from_numpy(matrices.astype(np.float32)))


def _rotate(images: Tensor, magnitude: float, draws: np.ndarray) -> Tensor:
    """Turn by magnitude / 10 * 30 degrees about the centre, to either side."""
    angle = math.radians(30 * magnitude / 10)
    cosine, sine = math.cos(angle), math.sin(angle) * _signs(draws)
    y, x = ((side - 1) / 2 for side in images.shape[-2:])
    one = np.ones_like(sine)
    matrix = (cosine * one, -sine, x - cosine * x + sine * y, sine, cosine * one, y - sine * x - cosine * y)
    return _warp(images, np.stack(matrix, axis=1))


def _shift_or_shear(place: int, most: float, axis: int | None = None) -> Change:
    """Set one of the six places of the matrix to magnitude / 10 * most, to either side; pixels scale with the side."""

    def change(images: Tensor, magnitude: float, draws: np.ndarray) -> Tensor:
        side = 1.0 if axis is None else images.shape[axis] / _SIDE
        matrices = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(draws), 1))
        matrices[:, place] = magnitude / 10 * most * side * _signs(draws)
        return _warp(images, matrices)

    return change


def _cutout(images: Tensor, magnitude: float, draws: np.ndarray) -> Tensor:
    """Make grey what is within magnitude / 10 * 40 pixels (of 224) of a random pixel along both axes."""
    half = [int(magnitude / 10 * 40 * side / _SIDE) for side in images.shape[-2:]]
    centre = [np.floor(draws[:, 1 + i] * side).astype(np.int64) for i, side in enumerate(images.shape[-2:])]
    top, left = centre[0] - half[0], centre[1] - half[1]
    boxes = np.stack([top, left, np.full_like(top, 2 * half[0]), np.full_like(left, 2 * half[1])], axis=1)
    return ops.erase(images, torch.from_numpy(boxes))


def _factor(magnitude: float) -> float:
    return magnitude / 10 * 1.8 + 0.1


OPERATIONS: dict[str, Change] = {
    "autocontrast": _plain(ops.autocontrast),
    "equalize": _plain(ops.equalize),
    "invert": _plain(ops.invert),
    "rotate": _rotate,
    "posterize": _scaled(ops.posterize, lambda magnitude: max(1, min(8, int(magnitude / 10 * 4)))),
    "solarize": _scaled(ops.solarize, lambda magnitude: int(magnitude / 10 * 256)),
    "color": _scaled(ops.saturate, _factor),
    "contrast": _scaled(ops.contrast, _factor),
    "brightness": _scaled(ops.brightness, _factor),
    "sharpness": _scaled(ops.sharpen, _factor),
    "shear_x": _shift_or_shear(1, 0.3),
    "shear_y": _shift_or_shear(3, 0.3),
    "translate_x": _shift_or_shear(2, 100, axis=-1),
    "translate_y": _shift_or_shear(5, 100, axis=-2),
    "cutout": _cutout,
    "solarize_add": _scaled(ops.solarize_add, lambda magnitude: int(magnitude / 10 * 110)),
}
"""big_vision's set: 16, without identity; holes and corners are filled with grey 128"""


def randaugment(images: Tensor, layers: int, magnitude: float, draws: np.ndarray) -> Tensor:
    """Return the pictures after `layers` operations in a row, each drawn from all 16 with equal chances.

    Args:
        images: (B, C, H, W) uint8.
        layers: l; magnitude: m, the same for all, 10 being the scale of the strengths.
        draws: (B, 4 * layers) in [0, 1).

    Paper: 1909.13719, as big_vision has it (`pp/autoaugment.py`). We differ in that translations and
    holes are in proportion to the picture, equal to theirs at 224 pixels, so that small pictures keep
    something to see; in that a threshold above 255 solarizes nothing (theirs wraps around in uint8);
    and in roundings of one level, where ours are Pillow's.
    """
    images = images.clone()
    for layer in range(layers):
        own = draws[:, 4 * layer : 4 * layer + 4]
        choice = np.floor(own[:, 0] * len(OPERATIONS)).astype(np.int64)
        for number, change in enumerate(OPERATIONS.values()):
            chosen = np.flatnonzero(choice == number)
            if len(chosen):
                where = beside(torch.from_numpy(chosen), images)
                images.index_copy_(0, where, change(images.index_select(0, where), magnitude, own[chosen, 1:]))
    return images
