"""What is done to training pictures, drawn from counters: a picture's result depends on nothing but its own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..config import AugmentConfig
from ..device import beside
from ..preprocess import Box
from ..randomness import uniform
from . import augment_ops as ops
from .randaugment import randaugment

_ATTEMPTS = 10  # boxes tried before the whole picture, as far as the ratio allows, is taken
_CROP_DRAWS = 2 * _ATTEMPTS + 2

Counter = np.ndarray | int


class Augment:
    """Augmentation of whole batches as `config` says.

    Every amount is a function of (seed, place of use, epoch, sample id). The result for a sample is the
    same bits in any batch, on any worker, before and after a restart. Mixing is apart, in `mixing.py`.
    """

    def __init__(self, config: AugmentConfig, seed: int, interpolation: str = "bicubic") -> None:
        self.config, self.seed, self.interpolation = config, seed, interpolation

    def __call__(self, images: Tensor, epoch: Counter, ids: np.ndarray, *, cropped: bool = False) -> Tensor:
        """Return augmented pictures.

        Args:
            images: (B, C, H, W) uint8, C = 1 or 3.
            epoch: one for all, or (B,) one each.
            ids: (B,) sample ids.
            cropped: the random crop and the mirroring were made at decoding (`crop_boxes`, `flips`), so only the
                rest is due.
        """
        config = self.config
        if config.crop == "random_resized" and not cropped:
            boxes = self._boxes(np.full(len(ids), images.shape[-2]), np.full(len(ids), images.shape[-1]), epoch, ids)
            images = ops.crop_resize(images, torch.from_numpy(boxes), self.interpolation)
        if (config.flip or config.crop == "shift") and not cropped:
            images = self._move(images, epoch, ids)
        if config.randaugment_layers:
            layers, magnitude = config.randaugment_layers, config.randaugment_magnitude
            images = randaugment(images, layers, magnitude, self._draw("randaugment", epoch, ids, 4 * layers))
        if config.three_augment:
            images = self._three_augment(images, epoch, ids)
        if config.color_jitter:
            images = self._color_jitter(images, epoch, ids)
        if config.erasing:
            images = self._erase(images, epoch, ids)
        return images

    def crop_boxes(
        self, epoch: Counter, ids: np.ndarray, sizes: Sequence[tuple[int, ...] | None] = ()
    ) -> list[Callable[[int, int], Box]]:
        """Return for each picture what makes its random crop (top, left, height, width) from (height, width) in pixels.

        For crop=random_resized before decoding; the numbers of all are drawn at once.

        Args:
            sizes: (height, width, ...) of the pictures, None where it is not known yet: boxes of those known are made
                at once too.
        """
        draws = self._draw("crop", epoch, ids, _CROP_DRAWS)
        boxes = [partial(self._box, own) for own in draws[:, None]]
        known = [place for place, size in enumerate(sizes) if size]
        if known:
            height, width = np.array([sizes[place][:2] for place in known]).T
            made = random_boxes(height, width, self.config.crop_scale, self.config.crop_ratio, draws[known])
            for place, box in zip(known, made.tolist(), strict=True):
                boxes[place] = lambda height, width, box=tuple(box): box
        return boxes

    def flips(self, epoch: Counter, ids: np.ndarray) -> np.ndarray:
        """Return (B,) bool: which pictures are mirrored: half of them, and in the next epoch the others (2404.00498).

        Any two epochs in a row show each picture both ways; drawn anew for each epoch, half would be seen twice alike.
        """
        if not self.config.flip:
            return np.zeros(len(ids), bool)
        return (self._draw("flip", 0, ids, 1)[:, 0] < 0.5) ^ (np.asarray(epoch) % 2 == 1)

    def crop_box(self, height: int, width: int, epoch: int, sample: int) -> Box:
        """Return the random crop of one picture of this size: (top, left, height, width) in pixels.

        For crop=random_resized before decoding; else the whole picture.
        """
        if self.config.crop != "random_resized":
            return 0, 0, height, width
        return self.crop_boxes(epoch, np.array([sample]))[0](height, width)

    def _box(self, draws: np.ndarray, height: int, width: int) -> Box:
        size = np.array([height]), np.array([width])
        top, left, tall, wide = random_boxes(*size, self.config.crop_scale, self.config.crop_ratio, draws)[0].tolist()
        return top, left, tall, wide

    def window(self, images: Tensor, side: int, epoch: np.ndarray, ids: np.ndarray) -> Tensor:
        """Return a square part (B, C, side, side) of each picture, at a place drawn for (epoch, sample)."""
        spare = np.array(images.shape[-2:]) - side + 1
        corners = torch.from_numpy((self._draw("window", epoch, ids, 2) * spare).astype(np.int64))
        return ops.rearrange(images, *(corners[:, axis, None] + torch.arange(side) for axis in (0, 1)))

    def _draw(self, site: str, epoch: Counter, ids: np.ndarray, count: int) -> np.ndarray:
        """Return (B, count) in [0, 1)."""
        return uniform(self.seed, f"augment/{site}", epoch, ids, count)

    def _boxes(self, height: np.ndarray, width: np.ndarray, epoch: Counter, ids: np.ndarray) -> np.ndarray:
        draws = self._draw("crop", epoch, ids, _CROP_DRAWS)
        return random_boxes(height, width, self.config.crop_scale, self.config.crop_ratio, draws)

    def _move(self, images: Tensor, epoch: Counter, ids: np.ndarray) -> Tensor:
        """Return the pictures shifted (what comes in is mirrored at the border) and flipped."""
        return ops.move(images, *self.shifts(epoch, ids, images.shape[-2:]), torch.from_numpy(self.flips(epoch, ids)))

    def shifts(self, epoch: Counter, ids: np.ndarray, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return by how many pixels pictures of (height, width) move up and to the left, (B,) int64 each."""
        if self.config.crop != "shift":
            return torch.zeros(len(ids), dtype=torch.int64), torch.zeros(len(ids), dtype=torch.int64)
        most = [min(self.config.shift, side - 1) for side in size]
        draws = self._draw("move", epoch, ids, 2)
        down, right = (whole(draws[:, axis], -reach, reach) for axis, reach in enumerate(most))
        return down, right

    def _three_augment(self, images: Tensor, epoch: Counter, ids: np.ndarray) -> Tensor:
        """Return the pictures each turned grey, solarized or blurred, with equal chances (2204.07118, sec. 3.1).

        The paper blurs by up to 2 pixels at 224; smaller pictures by as much in proportion, but no less
        than 0.75, below which nothing would be seen.
        """
        draws = self._draw("three_augment", epoch, ids, 2)
        choice = (draws[:, 0] * 3).astype(np.int64)
        largest = min(2.0, max(0.75, 2.0 * min(images.shape[-2:]) / 224))
        sigma = 0.1 + draws[:, 1] * (largest - 0.1)
        images = images.clone()
        for number, change in enumerate((_grey, _solarize, _blur)):
            chosen = np.flatnonzero(choice == number)
            if len(chosen):
                where = beside(torch.from_numpy(chosen), images)
                images.index_copy_(0, where, change(images.index_select(0, where), sigma[chosen], largest))
        return images

    def _color_jitter(self, images: Tensor, epoch: Counter, ids: np.ndarray) -> Tensor:
        """Return the pictures with brightness, contrast and saturation changed, in this order."""
        draws = 1 + self.config.color_jitter * (2 * self._draw("color_jitter", epoch, ids, 3) - 1)
        factors = torch.from_numpy(draws.astype(np.float32))
        images = ops.brightness(images, factors[:, 0])
        images = ops.contrast(images, factors[:, 1])
        return ops.saturate(images, factors[:, 2])

    def _erase(self, images: Tensor, epoch: Counter, ids: np.ndarray) -> Tensor:
        """Return the pictures with a box made grey where one was drawn."""
        return ops.erase(images, torch.from_numpy(self.holes(epoch, ids, images.shape[-2:])))

    def holes(self, epoch: Counter, ids: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """Return boxes (B, 4) of 2 % to 33 % of the area, with probability `erasing`; else of height 0.

        Paper: 1708.04896, with the ranges of torchvision and timm (area 0.02..0.33, ratio 0.3..3.3).
        """
        chosen = np.flatnonzero(self._draw("erasing", epoch, ids, 1)[:, 0] < self.config.erasing)
        boxes = np.zeros((len(ids), 4), np.int64)
        if len(chosen):  # the other numbers are drawn for these alone
            when = epoch[chosen] if isinstance(epoch, np.ndarray) and epoch.ndim else epoch
            draws = self._draw("erasing", when, ids[chosen], 1 + _CROP_DRAWS)
            sizes = (np.full(len(chosen), side) for side in size)
            boxes[chosen] = random_boxes(*sizes, (0.02, 0.33), (0.3, 1 / 0.3), draws[:, 1:])
        return boxes


def whole(draws: np.ndarray, low: int, high: int) -> Tensor:
    """Return whole numbers low .. high, both included, from draws in [0, 1); int64, same shape."""
    return torch.from_numpy(low + np.floor(draws * (high - low + 1)).astype(np.int64))


def random_boxes(
    height: np.ndarray,
    width: np.ndarray,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    draws: np.ndarray,
) -> np.ndarray:
    """Return boxes (B, 4) int64: top, left, height, width in pixels, inside pictures of the given sizes.

    Area uniform in `scale` (share of the picture), logarithm of width / height uniform in `ratio`;
    the first of 10 attempts that fits is taken, else the largest centred box of an allowed ratio.

    Args:
        height, width: (B,) pixels.
        draws: (B, 22) in [0, 1).

    Paper: 1409.4842, sec. 6, with the sampling that torchvision and timm share.
    """
    height, width = height[:, None].astype(np.float64), width[:, None].astype(np.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[:, :_ATTEMPTS])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(low + (high - low) * draws[:, _ATTEMPTS : 2 * _ATTEMPTS])
    wide, tall = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    first = np.argmax(fits, axis=1)[:, None]
    wide, tall = np.take_along_axis(wide, first, 1), np.take_along_axis(tall, first, 1)
    aspect = np.clip(width / height, *ratio)
    none = ~fits.any(axis=1, keepdims=True)
    wide = np.where(none, np.clip(np.rint(height * aspect), 1, width), wide)
    tall = np.where(none, np.clip(np.rint(width / aspect), 1, height), tall)
    place = np.where(none, 0.5, draws[:, 2 * _ATTEMPTS :])
    top, left = np.floor(place[:, :1] * (height - tall + 1)), np.floor(place[:, 1:] * (width - wide + 1))
    return np.concatenate([top, left, tall, wide], axis=1).astype(np.int64)


def _grey(images: Tensor, sigma: np.ndarray, largest: float) -> Tensor:
    return ops.grey(images).expand_as(images)


def _solarize(images: Tensor, sigma: np.ndarray, largest: float) -> Tensor:
    return ops.solarize(images, torch.full((len(images),), 128.0))


def _blur(images: Tensor, sigma: np.ndarray, largest: float) -> Tensor:
    return ops.blur(images, gaussian(sigma, math.ceil(3 * largest)))


def gaussian(sigma: np.ndarray, radius: int) -> Tensor:
    """Return (B, 2 radius + 1) integer weights of a Gaussian of `sigma` (B,) pixels, summing to 2**11."""
    place = np.arange(-radius, radius + 1)
    shape = np.exp(-0.5 * (place / sigma[:, None]) ** 2)
    weights = np.rint(2048 * shape / shape.sum(axis=1, keepdims=True)).astype(np.int64)
    weights[:, radius] += 2048 - weights.sum(axis=1)
    return torch.from_numpy(weights)
