"""Features as colours: the three principal components of the patch tokens, found over all pictures together.

As in DINOv2 (2304.07193, fig. 1): what is alike has the same colour in every picture. There the first component also
tells figure from ground by a threshold, and the colours are those of the figure alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import in_range
from ..errors import ConfigError
from .results import Progress, Row, table
from .still import Kept, as_input, batches, still
from .stream import as_tokens, choose, place
from .trace import Pictures

CUT = (1.0, 99.0)
"""percentiles of a component that become 0 and 1"""


@dataclass(frozen=True)
class Components:
    """The leading components of the patch tokens of some pictures."""

    colours: np.ndarray
    """(pictures, rows, columns, 3) red, green, blue in 0..1: first, second, third component; black off the figure"""
    explained_share: np.ndarray
    """(3,) share of the variance of the tokens that were coloured"""
    foreground: np.ndarray | None
    """(pictures, rows, columns) bool: the figure; None: not asked for"""
    layer: str
    """name of the record"""

    def rows(self) -> list[Row]:
        """Return one line for each patch of each picture."""
        values = {name: self.colours[..., number] for number, name in enumerate(("first", "second", "third"))}
        return table(["picture", "row", "column"], **values)


def measure_components(
    model: nn.Module,
    images: Pictures,
    *,
    layer: str = "encoded",
    foreground: float | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Components:
    """Colour the patches of `images` by their tokens; arguments as of `colour_tokens`.

    Args:
        images: normalised pictures, all of one size.
        layer: name of the record whose tokens are looked at.

    Raises:
        ConfigError: no such layer.
    """
    with still(model), torch.no_grad():
        found = [_tokens(model, as_input(model, batch), layer) for batch in batches(images, batch_size, progress)]
    return colour_tokens(np.concatenate(found), foreground=foreground, layer=layer)


def _tokens(model: nn.Module, images: Tensor, layer: str) -> np.ndarray:
    names: dict[str, None] = {}

    def keep(name: str, value: Any) -> Tensor | None:
        names[name] = None
        return as_tokens(value) if name == layer else None

    record = Kept(keep)
    model(images, record)
    choose([layer], names, ())
    prefix, grid = place(model, images.shape[2:], record[layer].shape[1])
    return record[layer][:, prefix:].unflatten(1, grid).float().cpu().numpy()


def colour_tokens(tokens: np.ndarray, *, foreground: float | None = None, layer: str = "") -> Components:
    """Return the colours of `tokens` (pictures, rows, columns, D).

    The sign of a component is such that its largest weight is positive; its values run from 0 to 1 between the
    percentiles `CUT`. Equal input gives equal colours.

    Args:
        foreground: threshold on the first component in 0..1. The figure is the side that has less of the border of
            the pictures; the components are then found again on the figure alone. None: no figure.

    Raises:
        ConfigError: fewer than 2 tokens, or 3 channels; a threshold outside 0..1.
    """
    flat = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    if len(flat) < 2 or flat.shape[1] < 3:
        raise ConfigError(f"tokens of shape {tokens.shape} have no three components", where="layer")
    values, explained = _project(flat)
    if foreground is None:
        return Components(_scaled(values).reshape(*tokens.shape[:3], 3), explained, None, layer)
    in_range("foreground", foreground, 0.0, 1.0)
    figure = _figure(_scaled(values)[:, 0].reshape(tokens.shape[:3]), foreground)
    colours = np.zeros((*tokens.shape[:3], 3), np.float32)
    if figure.sum() > 1:
        values, explained = _project(flat[figure.ravel()])
        colours[figure] = _scaled(values)
    return Components(colours, explained, figure, layer)


def _project(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the three leading components (n, 3) of `flat` (n, D) and their shares of the variance (3,)."""
    centred = flat - flat.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(3)])
    total = max(float(variances.sum()), np.finfo(np.float64).tiny)
    return centred @ axes, (variances[::-1][:3].clip(min=0) / total).astype(np.float32)


def _scaled(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, CUT, axis=0)
    return ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1).astype(np.float32)


def _figure(first: np.ndarray, threshold: float) -> np.ndarray:
    above = first > threshold
    border = np.ones(first.shape[1:], bool)
    border[1:-1, 1:-1] = False
    return ~above if above[:, border].mean() > above.mean() else above
