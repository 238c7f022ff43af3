"""Splits that a data set does not bring: stratified, seeded, and identical pictures always together."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence

from ..randomness import permutation


def make_splits(
    hashes: Sequence[str], labels: Sequence[str], given: Sequence[str], fractions: dict[str, float], seed: int
) -> list[str]:
    """Return the split of each picture: the given one, or, where a split is missing, one drawn from train.

    Drawn by content, so that neither file names nor their order matter; pictures of the same content are
    drawn together. Test is drawn before validation. Of each class with two different pictures or more at
    least one is drawn, and at least one stays.

    Args:
        hashes: sha256 of each picture.
        labels: class name of each picture.
        given: train, val, test or "" (which counts as train) of each picture.
        fractions: split -> share of the pictures that are in train when it is drawn; 0 draws nothing.
        seed: 0 .. 2**32 - 1.
    """
    splits = [split or "train" for split in given]
    for name in ("test", "val"):
        if name not in splits and fractions[name] > 0:
            pool = [i for i, split in enumerate(splits) if split == "train"]
            for i in _draw(hashes, labels, pool, fractions[name], seed, name):
                splits[i] = name
    return splits


def _draw(
    hashes: Sequence[str], labels: Sequence[str], pool: Sequence[int], fraction: float, seed: int, name: str
) -> list[int]:
    """Return the members of `pool` that are drawn for the split `name`."""
    same: defaultdict[str, list[int]] = defaultdict(list)
    for i in pool:
        same[hashes[i]].append(i)
    classes: defaultdict[bytes, list[list[int]]] = defaultdict(list)
    for digest in sorted(same):  # a group with conflicting labels counts for the first of them
        classes[min(os.fsencode(labels[i]) for i in same[digest])].append(same[digest])
    drawn: list[int] = []
    for label, groups in sorted(classes.items()):
        site = f"split/{name}/{hashlib.sha256(label).hexdigest()}"
        wanted = max(1, int(fraction * sum(map(len, groups)) + 0.5))
        taken = 0
        for position in permutation(seed, site, 0, len(groups))[: len(groups) - 1].tolist():
            if taken >= wanted:
                break
            drawn += groups[position]
            taken += len(groups[position])
    return drawn
