"""A quick look at a data set before anything is chosen: sizes and colours of a sample of its pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..config import Size
from ..decode import decode
from ..errors import DataError, PatchwordsError
from .sources import Source

_LOOKED_AT = 256


@dataclass(frozen=True)
class Survey:
    """What a sample of the pictures looks like."""

    num_pictures: int
    """listed, in all splits"""
    num_train: int
    """listed in train, or in no split"""
    num_classes: int
    size: Size
    """median pixels (rows, columns)"""
    uniform: bool
    """all that were looked at have that size"""
    channels: int
    """1 when all that were looked at are grey, else 3"""
    mean: tuple[float, ...]
    """per channel, of values in 0..1, over those looked at, each picture counting the same"""
    std: tuple[float, ...]
    splits: tuple[str, ...]
    """the splits that the source brings"""


def survey(source: Source) -> Survey:
    """Decode pictures evenly spread over `source` and return what they look like.

    Raises:
        DataError: there is no picture, or none of those looked at can be decoded.
    """
    total = len(source)
    fix = "Put pictures into FOLDER/CLASS/, one folder for each class, with two classes or more"
    if not total:
        detail = f" that can be used; {source.refused[0][0]}: {source.refused[0][1]}" if source.refused else ""
        raise DataError(f"there are no pictures in it{detail}", where=source.name, fix=fix)
    sizes, grey, moments, fault = [], True, [], None
    for number in np.unique(np.linspace(0, total - 1, min(total, _LOOKED_AT)).astype(int)).tolist():
        try:
            pixels = decode(source.read(number))
        except PatchwordsError as error:
            fault = error
            continue
        sizes.append(pixels.shape[:2])
        grey = grey and bool((pixels == pixels[..., :1]).all())
        values = pixels.reshape(-1, 3) / 255
        moments.append((values.mean(axis=0), (values**2).mean(axis=0)))
    if not sizes:
        assert fault is not None
        raise DataError(
            f"none of the pictures looked at can be used; {source.entries[0].path}: {fault.what}",
            where=source.name,
            fix=f"See what is wrong with them: patchwords audit {source.name}",
        )
    rows, columns = (int(np.median([size[axis] for size in sizes])) for axis in (0, 1))
    mean, square = np.mean(moments, axis=0)[:, : 1 if grey else 3]
    std = np.sqrt(np.maximum(square - mean**2, 1e-4))
    splits = Counter(entry.split or "train" for entry in source.entries)
    return Survey(
        num_pictures=total,
        num_train=splits["train"],
        num_classes=len({entry.label for entry in source.entries}),
        size=(rows, columns),
        uniform=len(set(sizes)) == 1,
        channels=1 if grey else 3,
        mean=tuple(np.round(mean, 3).tolist()),
        std=tuple(np.round(std, 3).tolist()),
        splits=tuple(sorted({entry.split for entry in source.entries} - {""})),
    )
