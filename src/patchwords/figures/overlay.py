"""A map over a picture: the pixels as they are, lit where the map is large, or tinted by its sign."""

from __future__ import annotations

import numpy as np
from PIL import Image


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Return a picture (rows, columns), (rows, columns, 1) or (rows, columns, 3) of uint8 as (rows, columns, 3)."""
    picture = np.asarray(picture)
    if picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    flat = picture if picture.ndim == 2 else picture[..., 0]
    return np.repeat(flat[..., None], 3, axis=2)


def thumbnail(picture: np.ndarray, side_in: float, dpi: float = 150) -> np.ndarray:
    """Return `picture` (rows, columns, 3) no larger than it will be seen at `side_in` inches."""
    most = max(16, round(side_in * dpi))
    longest = max(picture.shape[:2])
    if longest <= most:
        return picture
    size = tuple(max(1, round(side * most / longest)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def enlarged(values: np.ndarray, size: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """Return a map (rows, columns) at `size` pixels: each value over its patch, or linear between their centres."""
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize(size[::-1], how)).astype(np.float64)


def lit(picture: np.ndarray, values: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Return the picture times the map, the largest value at full light (as fig. 6 of 2010.11929).

    Args:
        picture: (H, W, 3) uint8.
        values: (rows, columns), 0 or larger; what is not a number is black.
    """
    light = enlarged(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(0), picture.shape[:2], smooth=smooth)
    top = light.max(initial=0)
    share = light / top if top > 0 else light
    return np.rint(picture * share[..., None]).astype(np.uint8)


def tinted(picture: np.ndarray, colours: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return the picture in pale greys under `colours` (H, W, 3) of 0..1, as opaque as `strength` (H, W) of 0..1."""
    grey = 0.45 + 0.5 * (picture @ np.array([0.299, 0.587, 0.114]) / 255)[..., None]
    cover = strength[..., None]
    return np.rint(255 * ((1 - cover) * grey + cover * colours)).astype(np.uint8)
