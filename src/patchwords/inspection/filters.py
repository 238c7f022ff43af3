"""The first thing a model does to pixels: principal components of its filters (fig. 7 left), and what they are like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..models.stem import StdConv
from .results import Row, table


@dataclass(frozen=True)
class FilterComponents:
    """Leading principal components of a bank of filters, and how smooth they are.

    White noise is the measure of smoothness: its filters have a roughness of 1 and as much energy in low frequencies
    as these have of the basis, `low_chance`.
    """

    components: np.ndarray
    """(k, C, rows, columns) pictures of length 1, most variance first; the largest value of each is positive"""
    explained_share: np.ndarray
    """(k,) share of the variance of the filters along each"""
    roughness: np.ndarray
    """(k,) mean squared difference of neighbouring pixels / (2 mean square): 0 flat, 1 noise, 2 a chequerboard;
    nan for filters of one pixel"""
    low_share: np.ndarray
    """(k,) share of the energy in frequencies below half of the highest on both axes (DCT-II)"""
    low_chance: float
    """share of the basis that these frequencies are: what noise has there"""
    dct_share: np.ndarray
    """(k,) largest share of the energy in one DCT-II basis picture, of any colour"""
    dct_frequency: np.ndarray
    """(k, 2) which one: half waves (down, across)"""
    dct_overlap: np.ndarray
    """(k,) share of the energy of this and all components before it in as many lowest DCT-II basis pictures (more where
    several have one frequency)"""
    dct_chance: np.ndarray
    """(k,) share of the basis that these are: what noise has there"""
    source: str
    """which filters these are"""
    filters: int
    """how many"""

    def rows(self) -> list[Row]:
        """Return a line for each component."""
        return table(
            ("component",),
            explained_share=self.explained_share,
            roughness=self.roughness,
            low_share=self.low_share,
            dct_share=self.dct_share,
            dct_down=self.dct_frequency[:, 0],
            dct_across=self.dct_frequency[:, 1],
            dct_overlap=self.dct_overlap,
            dct_chance=self.dct_chance,
        )


@dataclass(frozen=True)
class FilterOverlap:
    """How far two banks of filters see the same: angles between what their leading components span."""

    cosines: np.ndarray
    """(k,) cosines of the principal angles, largest first"""
    overlap_share: float
    """mean squared cosine: 1 the same subspace, 0 at right angles"""
    chance_share: float
    """of two random subspaces: k / (C rows columns)"""
    size_px: tuple[int, int]
    """(rows, columns) to which both banks were brought"""
    sources: tuple[str, str]
    """which filters these are"""

    def rows(self) -> list[Row]:
        """Return a line for each angle."""
        return table(("angle",), cosine=self.cosines)


def first_filters(model: nn.Module) -> tuple[np.ndarray, str]:
    """Return the filters (D, C, rows, columns) that see the pixels first, and where they are in the model.

    Of a ViT the columns of E (eq. 1); where convolutions come before, and in a CNN, those of the first convolution,
    as they are applied (standardised where the layer does so).

    Raises:
        ConfigError: the model has none.
    """
    embed = getattr(model, "patch_embed", None)
    if embed is not None and getattr(embed, "backbone", None) is None and hasattr(embed, "proj"):
        return _numbers(embed.proj.weight), "patch_embed.proj"
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight
            if isinstance(module, StdConv):
                variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
                weight = (weight - mean) / (variance.sqrt() + 1e-5)
            return _numbers(weight), name
    raise ConfigError(f"{type(model).__name__} has no filters: neither a patch embedding nor a convolution")


def filter_components(model: nn.Module, count: int = 28) -> FilterComponents:
    """Return the `count` leading principal components of the first filters (the paper shows 28 of L/32).

    Raises:
        ConfigError: the model has no filters.
    """
    return measure_filters(*first_filters(model), count)


def measure_filters(filters: np.ndarray, source: str = "filters", count: int = 28) -> FilterComponents:
    """Return the leading principal components of `filters` (D, C, rows, columns), at most as many as there can be."""
    components, share = principal_components(filters, count)
    kept, channels, rows, columns = components.shape
    energy = (_dct(components) ** 2).sum(axis=1)  # (k, rows, columns): all colours of one frequency
    down, across = np.indices((rows, columns))
    low = (2 * down < rows) & (2 * across < columns)
    overlap, chance = _overlap_with_lowest(energy, channels)
    best = energy.reshape(kept, -1).argmax(axis=1)
    return FilterComponents(
        components=components.astype(np.float32),
        explained_share=share.astype(np.float32),
        roughness=_roughness(components).astype(np.float32),
        low_share=energy[:, low].sum(axis=1).astype(np.float32),
        low_chance=float(low.mean()),
        dct_share=energy.max(axis=(1, 2)).astype(np.float32),
        dct_frequency=np.stack(np.unravel_index(best, (rows, columns)), axis=1).astype(np.int32),
        dct_overlap=overlap.astype(np.float32),
        dct_chance=chance.astype(np.float32),
        source=source,
        filters=len(filters),
    )


def filter_overlap(first: nn.Module, second: nn.Module, count: int = 28) -> FilterOverlap:
    """Return how far the first filters of two models see the same, a ViT's and a CNN's for example.

    Both banks are brought to the smaller size on each axis (bicubic, antialiased); then the angles between what their
    `count` leading principal components span are taken; of no more than a quarter of all directions, because larger
    subspaces have to overlap.

    Raises:
        ConfigError: one has no filters, or they read pictures of different channels.
    """
    return measure_overlap(*first_filters(first), *first_filters(second), count)


def measure_overlap(
    first: np.ndarray, first_source: str, second: np.ndarray, second_source: str, count: int = 28
) -> FilterOverlap:
    """Return the overlap of two banks (D, C, rows, columns); arguments and errors as of `filter_overlap`."""
    if first.shape[1] != second.shape[1]:
        what = f"filters of {first.shape[1]} and of {second.shape[1]} channels cannot be compared"
        raise ConfigError(what, where="model.in_channels")
    size = tuple(min(sides) for sides in zip(first.shape[2:], second.shape[2:], strict=True))
    count = min(count, max(1, first.shape[1] * math.prod(size) // 4))
    spans = [principal_components(_resized(each, size), count)[0] for each in (first, second)]
    kept = min(len(span) for span in spans)
    a, b = (span[:kept].reshape(kept, -1) for span in spans)
    cosines = np.linalg.svd(a @ b.T, compute_uv=False).clip(0, 1)
    return FilterOverlap(
        cosines=cosines.astype(np.float32),
        overlap_share=float((cosines**2).mean()),
        chance_share=kept / a.shape[1],
        size_px=size,
        sources=(first_source, second_source),
    )


def principal_components(filters: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return principal components (k, C, rows, columns) of `filters` about their mean, and what share each explains.

    k is `count`, or what the filters span about their mean. Signs are chosen so that the largest value is positive.
    """
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    _, sizes, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())  # float32 rounds to 1e-7: directions below are nobody's
    kept = max(1, min(count, rank, len(flat) - 1))
    axes, variance = axes[:kept], sizes**2
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    return axes.reshape(kept, *filters.shape[1:]), variance[:kept] / (variance.sum() or 1.0)


def dct_matrix(count: int) -> np.ndarray:
    """Return the orthonormal DCT-II of length `count`: (frequency, pixel)."""
    frequency, pixel = np.indices((count, count))
    waves = np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * count)) * math.sqrt(2 / count)
    waves[0] /= math.sqrt(2)
    return waves


def _dct(pictures: np.ndarray) -> np.ndarray:
    """Return the coefficients of pictures (..., rows, columns) in the DCT-II basis."""
    return dct_matrix(pictures.shape[-2]) @ pictures @ dct_matrix(pictures.shape[-1]).T


def _overlap_with_lowest(energy: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `dct_overlap` and `dct_chance` (k,) of the energies (k, rows, columns) of components."""
    kept, rows, columns = energy.shape
    down, across = np.indices((rows, columns))
    order = ((down / rows) ** 2 + (across / columns) ** 2).ravel()
    sorted_order = np.sort(order)
    overlap, chance = np.empty(kept), np.empty(kept)
    for count in range(1, kept + 1):
        lowest = order <= sorted_order[math.ceil(count / channels) - 1] + 1e-12
        overlap[count - 1] = energy.reshape(kept, -1)[:count, lowest].sum() / count
        chance[count - 1] = lowest.mean()
    return overlap, chance


def _roughness(pictures: np.ndarray) -> np.ndarray:
    steps = [np.diff(pictures, axis=axis).reshape(len(pictures), -1) ** 2 for axis in (2, 3)]
    steps = np.concatenate(steps, axis=1)
    if not steps.shape[1]:
        return np.full(len(pictures), np.nan)
    return steps.mean(axis=1) / (2 * (pictures**2).mean(axis=(1, 2, 3)))


def _resized(filters: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if filters.shape[2:] == size:
        return filters
    stretched = F.interpolate(torch.from_numpy(filters), size, mode="bicubic", antialias=True, align_corners=False)
    return stretched.numpy()


def _numbers(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().double().numpy()
