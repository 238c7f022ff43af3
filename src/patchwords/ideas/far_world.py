"""A world without end in which the label is a relation between two distant patches, and a local hint is often right."""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import generator, normal

SIDE, PATCH = 20, 4
"""pixels of a picture and of a mark; the marks that decide lie in opposite corners, 12 pixels apart"""
CLASSES = 4
HINT = 0.7
"""share of the pictures whose hint is right; the others' is one of the wrong ones"""
NOISE, BOLD = 0.5, 2.0
"""standard deviation of the background and of the hint; the marks in the corners have 1"""


def marks(seed: int) -> Tensor:
    """Return the marks of a world (3, CLASSES, PATCH, PATCH): of either corner, and hints; mean 0, deviation 1."""
    drawn = normal(seed, "far world marks", 3, CLASSES, PATCH, PATCH, dtype=torch.float32)
    drawn -= drawn.mean(dim=(2, 3), keepdim=True)
    return drawn / drawn.std(dim=(2, 3), keepdim=True)


def far_pictures(seed: int, sample: int, count: int) -> tuple[Tensor, Tensor]:
    """Return pictures of the world `seed`, the same for the same `sample`.

    In the first patch and in the last one stands one of `CLASSES` marks each. The label is the sum of their numbers
    modulo `CLASSES`: one of them alone says nothing of it. A hint is drawn somewhere between the corners; its number
    is the label in `HINT` of the pictures.

    Returns:
        pictures (B, 1, SIDE, SIDE); labels (B,).
    """
    random = generator(seed, f"far world {sample}")
    first, last = torch.randint(CLASSES, (2, count), generator=random)
    labels = (first + last) % CLASSES
    wrong = torch.randint(1, CLASSES, (count,), generator=random)
    hints = (labels + wrong * (torch.rand(count, generator=random) >= HINT)) % CLASSES
    kinds = marks(seed)
    pictures = NOISE * torch.randn(count, 1, SIDE, SIDE, generator=random)
    pictures[:, 0, :PATCH, :PATCH] = kinds[0, first]
    pictures[:, 0, -PATCH:, -PATCH:] = kinds[1, last]
    places = PATCH + torch.randint(SIDE - 3 * PATCH + 1, (2, count, 1, 1), generator=random)
    window = torch.arange(PATCH)
    rows = torch.arange(count)[:, None, None]
    pictures[rows, 0, places[0] + window[:, None], places[1] + window] = BOLD * kinds[2, hints]
    return pictures, labels
