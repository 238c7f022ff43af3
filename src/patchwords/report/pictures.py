"""Which pictures are looked at: those that were named, or a fixed sample of a run's own; each read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..data.evaluation import find_pictures
from ..data.manifest import Manifest, Pictures
from ..data.sources import BUILT_IN, Source, open_source
from ..errors import DataError, PatchwordsError
from ..preprocess import Preprocess
from ..randomness import permutation
from .subject import Report

RECORD = "data.json"
"""of a run folder: which pictures it was trained, validated and tested on"""


@dataclass(frozen=True)
class Candidate:
    """A picture that may be looked at."""

    path: str
    read: Callable[[], bytes]
    label: str = ""
    """name of its class; "": unknown"""


@dataclass(frozen=True)
class Sample:
    """Pictures that were read."""

    what: str
    """in words: 128 of the 10000 test pictures of cifar10.zip"""
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    """names of their classes; "": unknown"""
    pixels: tuple[Tensor, ...]
    """for each preprocessing (pictures, C, H, W) uint8"""
    faults: tuple[PatchwordsError, ...]
    """of pictures that could not be read"""


def named_pictures(paths: Iterable[str | os.PathLike[str]], classes: Sequence[str]) -> tuple[list[Candidate], str]:
    """Return the pictures at `paths`, and what they are in words.

    A data set is taken with its labels when the model knows one of its classes; of its splits test, else val, else
    train. What cannot be opened is a candidate too, and raises when it is read.
    """
    found: list[Candidate] = []
    told = []
    for path in map(os.fspath, paths):
        labelled, split = _labelled(path, frozenset(classes))
        some = labelled or [Candidate(each.path, each.read) for each in find_pictures([path])]
        found += some
        count = f"the {len(some)} {split}pictures" if len(some) != 1 else f"the {split}picture"
        told.append(f"{count} of {Path(path).name}" if len(some) != 1 or labelled else Path(path).name)
    return found, ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")


def _labelled(path: str, classes: frozenset[str]) -> tuple[list[Candidate], str]:
    """Return the pictures of a data set and the name of their split; none where it is none that the model knows."""
    try:
        source = open_source(path)
    except PatchwordsError:
        return [], ""
    if not classes & {entry.label for entry in source.entries}:
        return [], ""
    splits = {entry.split for entry in source.entries}
    split = next(name for name in ("test", "val", "", "train") if name in splits)
    numbers = [number for number, entry in enumerate(source.entries) if entry.split == split]
    return [_of_source(source, number) for number in numbers], f"{split} " if split else ""


def _of_source(source: Source, number: int) -> Candidate:
    where = source.entries[number].path if source.kind in BUILT_IN else source.where(number)
    return Candidate(where, partial(source.read, number), source.entries[number].label)


def pictures_of_run(run: Path, wanted: Sequence[str] = ("test", "val")) -> tuple[list[Candidate], str]:
    """Return the pictures of a run's first split of `wanted` that it has, and what they are; none for other folders.

    Raises:
        PatchwordsError: the run says which pictures it had, and they are not there any more.
    """
    recorded = run / RECORD
    if not recorded.is_file():
        return [], ""
    manifest = Manifest.from_json(files.read_json(recorded), str(recorded))
    split = next((name for name in wanted if len(manifest.split(name))), "")
    if not split:
        return [], ""
    pictures = Pictures(open_source(manifest.source), manifest)
    found = []
    for number in manifest.split(split).tolist():
        picture = manifest.pictures[number]
        found.append(Candidate(picture.path, partial(pictures.read, number), manifest.classes[picture.label]))
    kind = "training" if split == "train" else split
    return found, f"the {len(found)} {kind} pictures of {Path(manifest.source).name}"


def read_sample(
    candidates: Sequence[Candidate],
    told: str,
    preprocesses: Sequence[Preprocess],
    count: int,
    seed: int,
    progress: Report,
    site: str = "inspect",
) -> Sample:
    """Return `count` of the candidates, decoded for each preprocessing.

    When there are more than `count`, they are drawn: which ones, and in which order, is a function of (seed, number of
    candidates). One that cannot be read is named in `faults`, and another takes its place.

    Raises:
        DataError: none can be read.
    """
    drawn = len(candidates) > count
    order = permutation(seed, site, 0, len(candidates)).tolist() if drawn else range(len(candidates))
    wanted = min(count, len(candidates))
    kept: list[Candidate] = []
    pixels: list[list[Tensor]] = []
    faults: list[PatchwordsError] = []
    for number in order:
        if len(kept) == wanted:
            break
        candidate = candidates[number]
        try:
            data = candidate.read()
            pixels.append([preprocess.pixels(data, candidate.path) for preprocess in preprocesses])
        except PatchwordsError as fault:
            faults.append(fault)
            continue
        kept.append(candidate)
        progress(len(kept), wanted)
    if not kept:
        what = f"none of the {len(faults)} pictures can be read; the first: {faults[0].line()}"
        raise faults[0] if len(faults) == 1 else DataError(what)
    stacked = tuple(torch.stack([each[number] for each in pixels]) for number in range(len(preprocesses)))
    what = f"{len(kept)} of {told}, drawn with seed {seed}" if drawn else told
    paths = tuple(candidate.path for candidate in kept)
    return Sample(what, paths, tuple(candidate.label for candidate in kept), stacked, tuple(faults))


def numbered(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return for each name of a class its number in `classes`, -1 where it is not there; by the bytes of the names."""
    known = {os.fsencode(name): number for number, name in enumerate(classes)}
    return np.array([known.get(os.fsencode(label), -1) if label else -1 for label in labels], dtype=np.int64)
