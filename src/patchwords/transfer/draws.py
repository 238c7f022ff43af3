"""Which pictures a few-shot repeat sees: n of each class, drawn by content, the few among the many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from ..randomness import permutation


class Draws:
    """The training pictures of each class in an order of their own for every repeat.

    The first n of an order are the n-shot draw, so 5 shots contain the 1 shot. An order is a function of (seed,
    repeat), the name of the class and the contents of its pictures, not of their names, and not of other classes.

    Args:
        labels: (N,) in 0 .. K - 1.
        hashes: sha256 of each picture.
        classes: names of the K classes.
        seed: 0 .. 2**32 - 1.
    """

    def __init__(self, labels: np.ndarray, hashes: Sequence[str], classes: Sequence[str], seed: int) -> None:
        self.classes, self.seed = tuple(classes), seed
        order = np.array(sorted(range(len(labels)), key=lambda number: hashes[number]), dtype=np.int64)
        self._members = [order[labels[order] == label] for label in range(len(self.classes))]

    def short(self, shots: int) -> tuple[str, ...]:
        """Return the classes that have fewer than `shots` pictures; all of theirs are drawn."""
        return tuple(name for name, members in zip(self.classes, self._members, strict=True) if len(members) < shots)

    def numbers(self, repeat: int, shots: int | None = None) -> np.ndarray:
        """Return the numbers of the pictures drawn, class after class; all of them without `shots`."""
        parts = []
        for name, members in zip(self.classes, self._members, strict=True):
            site = f"probe/{hashlib.sha256(os.fsencode(name)).hexdigest()}"
            parts.append(members[permutation(self.seed, site, repeat, len(members))[:shots]])
        return np.concatenate(parts)
