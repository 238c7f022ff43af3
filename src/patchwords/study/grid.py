"""Which pictures a cell learns from: nested subsets with the classes' own shares, a function of (seed, size)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from ..errors import ConfigError
from ..randomness import permutation, uniform


class Subsets:
    """Parts of the training pictures.

    All parts hold the classes in the shares of the whole, to within one picture, and at least one picture of each
    class. What is drawn depends on the seed, the names of the classes and the contents of the pictures, not on file
    names, their order, or on other seeds and sizes.

    Args:
        labels: (N,) in 0 .. K - 1.
        hashes: sha256 of each picture.
        classes: names of the K classes.
    """

    def __init__(self, labels: np.ndarray, hashes: Sequence[str], classes: Sequence[str]) -> None:
        by_content = np.array(sorted(range(len(labels)), key=lambda number: hashes[number]), dtype=np.int64)
        self._members = [by_content[labels[by_content] == label] for label in range(len(classes))]
        self._sites = [hashlib.sha256(os.fsencode(name)).hexdigest() for name in classes]
        self.total = len(labels)
        """pictures there are"""
        self.smallest = sum(len(members) > 0 for members in self._members)
        """size below which a class would have no picture"""

    def require(self, size: int, draws: int = 1) -> None:
        """Raise ConfigError when there are not `draws` parts of `size` pictures with every class in each."""
        if size < self.smallest:
            fix = f"Give {self.smallest} or more: one of each class"
            raise ConfigError(f"{size} pictures cannot hold {self.smallest} classes", where="--sizes", fix=fix)
        if size > self.total:
            fix = f"Give at most {self.total}, or all"
            raise ConfigError(f"there are {self.total} training pictures, not {size}", where="--sizes", fix=fix)
        fewest = min(len(members) for members in self._members if len(members))
        if size * draws > self.total or fewest < draws > 1:
            what = f"{draws} times {size} different pictures cannot be had from {self.total}, {fewest} in a class"
            raise ConfigError(what, where="--disjoint", fix="Give fewer, or --bootstrap")

    def nested(self, seed: int, size: int) -> np.ndarray:
        """Return the pictures of a subset, (size,) int64; those of a smaller size come first in a larger one."""
        return interleaved(self._shuffled("study/subset", seed))[:size]

    def bootstrap(self, number: int, size: int) -> np.ndarray:
        """Return `size` pictures drawn with replacement inside each class, (size,) int64."""
        counts = class_counts([len(members) for members in self._members], size)
        parts = []
        for members, site, count in zip(self._members, self._sites, counts, strict=True):
            draws = uniform(number, f"study/bootstrap/{site}", size, np.arange(count))[:, 0]
            parts.append(members[np.floor(draws * len(members)).astype(np.int64)])
        return np.concatenate(parts)

    def disjoint(self, number: int, size: int, draws: int) -> np.ndarray:
        """Return part `number` of `draws` parts that share no picture, (size,) int64."""
        dealt = [members[number::draws] for members in self._shuffled("study/disjoint", 0)]
        return interleaved(dealt)[:size]

    def _shuffled(self, site: str, seed: int) -> list[np.ndarray]:
        named = zip(self._members, self._sites, strict=True)
        return [members[permutation(seed, f"{site}/{name}", 0, len(members))] for members, name in named]


def interleaved(members: Sequence[np.ndarray]) -> np.ndarray:
    """Return all members of all classes in one order of which every beginning has the classes' shares.

    The r-th of n members, r from 0, stands at (r + 1/2) / n (Webster's rule); the first of each class before all.
    """
    places = np.concatenate([_places(len(part)) for part in members])
    classes = np.concatenate([np.full(len(part), number) for number, part in enumerate(members)])
    return np.concatenate(members)[np.lexsort((classes, places))]


def class_counts(totals: Sequence[int], size: int) -> list[int]:
    """Return how many of each class are among the first `size` of `interleaved`."""
    classes = interleaved([np.full(total, number) for number, total in enumerate(totals)])[:size]
    return np.bincount(classes, minlength=len(totals)).tolist()


def _places(total: int) -> np.ndarray:
    places = (np.arange(total) + 0.5) / max(total, 1)
    places[:1] = 0.0
    return places
