"""S-21: the patch matrix learns filters like those of convolutions, and heads may become convolutions."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..figures.plot import Grid
from ..inspection.filters import filter_components, filter_overlap
from ..inspection.trace import attention_trace
from .idea import Check, Effort, Idea, Result
from .learn import mean_and_sd, new_model
from .offsets import mean_by_offset
from .trained import first_layer, pictures_of, scale_of, seeds_of, trained

PATCH = (8, 8)
"""pixels; smaller ones leave little room for waves"""
COMPONENTS = 8
PICTURES = 128
CONVOLUTIONAL = 0.5
"""of a head's attention at one offset, from which on it is called a convolution"""


def run(effort: Effort) -> Result:
    """Compare the filters of a trained ViT with waves, with a trained CNN's, and with those before training."""
    scale = scale_of(effort)
    train, test = pictures_of(effort)
    inputs = test.first(PICTURES).inputs
    rows: list[dict[str, float]] = []
    banks: list[np.ndarray] = []
    for seed in seeds_of(effort):
        vit = trained(scale.vit(patch_size=PATCH), train, scale.recipe, seed, effort, name="ViT")
        attending = trained(scale.vit(), train, scale.recipe, seed, effort, name="ViT")
        cnn = trained(scale.cnn_7x7(), train, scale.cnn_recipe, seed, effort, name="CNN")
        fresh = new_model(vit.config, seed)
        row = {}
        for name, model in (("ViT", vit), ("untrained ViT", fresh), ("CNN", cnn)):
            row |= {f"{name}: {measure}": value for measure, value in filter_measures(model).items()}
        row["overlap with the CNN"] = filter_overlap(vit, first_layer(cnn), COMPONENTS).overlap_share
        row["untrained ViT: overlap with the CNN"] = filter_overlap(fresh, first_layer(cnn), COMPONENTS).overlap_share
        row["largest share of a head's attention at one offset"] = float(offset_shares(attending, inputs).max())
        rows.append(row)
        banks = banks or [filter_components(first_layer(model), COMPONENTS).components for model in (vit, fresh, cnn)]
    found = {name: mean_and_sd([row[name] for row in rows])[0] for name in rows[0]}
    return concluded(found, banks)


def filter_measures(model: nn.Module) -> dict[str, float]:
    """Return how smooth the leading components of a model's first filters are, and how like waves.

    Overlap with DCT is the share of their energy in as many lowest frequencies; the share of one Gabor function is
    the mean over components of the most that one explains.
    """
    found = filter_components(first_layer(model), COMPONENTS)
    return {
        "overlap with the lowest DCT": float(found.dct_overlap[-1]),
        "roughness": float(found.roughness.mean()),
        "share of one Gabor function": float(gabor_shares(found.components).mean()),
    }


def gabor_shares(components: np.ndarray) -> np.ndarray:
    """Return the largest share (k,) of the energy of components (k, C, rows, columns) in one Gabor function.

    A Gabor function is a wave under a Gaussian: each has a place, a width, a direction and a frequency from a fixed
    list, and any phase and strength in each colour.
    """
    rows, columns = components.shape[2:]
    flat = components.reshape(*components.shape[:2], rows * columns)
    energy = np.zeros(len(components))
    for pair in _gabors(rows, columns):
        energy = np.maximum(energy, ((flat @ pair) ** 2).sum(axis=(1, 2)))
    return energy / (flat**2).sum(axis=(1, 2))


def _gabors(rows: int, columns: int) -> list[np.ndarray]:
    """Return orthonormal bases (pixels, 1 or 2) of both phases of each Gabor function."""
    down, right = (axis.ravel() for axis in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    side, bases = max(rows, columns), []
    places = [(rows - 1) * a for a in (0.25, 0.5, 0.75)], [(columns - 1) * a for a in (0.25, 0.5, 0.75)]
    for y in places[0]:
        for x in places[1]:
            for width in (side / 4, side / 2, side):
                window = np.exp(-((down - y) ** 2 + (right - x) ** 2) / (2 * width**2))
                for cycles in (0.0, 0.5, 1.0, 2.0):
                    for turn in range(8 if cycles else 1):
                        angle = math.pi * turn / 8
                        phase = 2 * math.pi * cycles / side * (down * math.sin(angle) + right * math.cos(angle))
                        pair = np.stack([window * np.cos(phase), window * np.sin(phase)], axis=1)
                        basis, sizes, _ = np.linalg.svd(pair, full_matrices=False)
                        bases.append(basis[:, sizes > 1e-6 * sizes[0]])
    return bases


def offset_shares(model: nn.Module, inputs: Tensor) -> np.ndarray:
    """Return the largest share (layers, heads) of attention that goes to one offset, mean over pictures and queries.

    Offsets that lead out of the picture for some query are averaged over the others, and left out where these are less
    than half; the patch itself is an offset.
    """
    sums: dict[int, Tensor] = {}
    for seen in attention_trace(model, inputs):
        patches = seen.patches / seen.patches.sum(dim=-1, keepdim=True)
        total = patches.double().sum(dim=0)
        sums[seen.layer] = sums[seen.layer] + total if seen.layer in sums else total
    mean = torch.stack([sums[layer] for layer in sorted(sums)]).numpy() / len(inputs)  # (layers, heads, N, N)
    return mean_by_offset(mean, model.grid, least=0.5).max(axis=(-2, -1))


def concluded(found: dict[str, float], banks: list[np.ndarray]) -> Result:
    """Return what the measures (means over seeds) say."""
    dct, overlap = found["ViT: overlap with the lowest DCT"], found["overlap with the CNN"]
    dct_before = found["untrained ViT: overlap with the lowest DCT"]
    overlap_before = found["untrained ViT: overlap with the CNN"]
    head = found["largest share of a head's attention at one offset"]
    checks = (
        Check("overlap of the leading components with the lowest DCT", dct, ">", 0.6),
        Check("that overlap, over the one before training", dct / dct_before, ">", 3.0),
        Check("roughness, over that before training", _ratio(found, "roughness"), "<", 1.0),
        Check("overlap with the CNN's filters, over the one before training", overlap / overlap_before, ">", 2.0),
        Check("share of one Gabor function, over that before", _ratio(found, "share of one Gabor function"), ">", 1.0),
        Check("largest share of a head's attention at one offset", head, ">", CONVOLUTIONAL),
    )
    reason = (
        f"The leading {COMPONENTS} components of the patch matrix have {100 * dct:.0f} % of their energy in the lowest "
        f"waves ({100 * dct_before:.0f} % before training) and overlap with the CNN's filters by {overlap:.2f} "
        f"({overlap_before:.2f} before)."
    )
    if not checks[5].met:
        reason += f" No head became a convolution: the most at one offset is {100 * head:.0f} % of a head's attention."
    smoother = checks[2].met and dct > 1.5 * dct_before and overlap > 1.2 * overlap_before
    verdict = "confirmed" if all(check.met for check in checks) else "qualified" if smoother else "refuted"
    names = ("ViT", "untrained ViT", "CNN")
    shown = tuple(tile_components(bank) for bank in banks)
    return Result(verdict, reason, checks, found, (Grid("Leading components of the first filters", names, shown),))


def _ratio(found: dict[str, float], measure: str) -> float:
    return found[f"ViT: {measure}"] / found[f"untrained ViT: {measure}"]


def tile_components(components: np.ndarray) -> np.ndarray:
    """Return one picture of components (k, C, rows, columns) in two rows, each in its own range of colours 0..1."""
    scale = np.abs(components).max(axis=(1, 2, 3), keepdims=True)
    tiles = np.moveaxis(0.5 + 0.5 * components / np.where(scale > 0, scale, 1.0), 1, -1)
    tiles = np.pad(tiles, ((0, len(tiles) % 2), (0, 1), (0, 1), (0, 0)), constant_values=1.0)
    tiles = np.repeat(tiles, 3 // tiles.shape[-1], axis=-1)
    half = len(tiles) // 2
    return np.concatenate([np.concatenate(list(tiles[part]), axis=1) for part in (slice(half), slice(half, None))])


IDEA = Idea(
    name="same-filters",
    number="S-21",
    claim="The patch matrix learns filters like those of convolutions, and heads can become convolutions.",
    experiment="Compare the leading components of the patch matrix with waves and with a CNN's first filters, before "
    "and after training, and look for heads that attend to one offset.",
    paper="2010.11929, sec. 4.5 and fig. 7 left; 1911.03584, sec. 4",
    trained=True,
    run=run,
)
