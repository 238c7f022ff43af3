"""Pictures to measure or to predict: a split of a run, another data set, or whatever lies at a path."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..config import DataConfig
from ..errors import ConfigError, DataError, PatchwordsError, nearest
from ..preprocess import Preprocess
from .manifest import Manifest, Pictures, Rejected, make_manifest
from .sources import SPLITS, Progress, open_source


def eval_batches(
    pictures: Pictures, numbers: np.ndarray, preprocess: Preprocess, batch_size: int, workers: int = 2
) -> Iterator[Tensor]:
    """Yield uint8 pixels (batch, channel, row, column) of the numbered pictures, each once, in order."""

    def pixels(number: int) -> Tensor:
        return preprocess.pixels(pictures.read(number), pictures.where(number))

    parts = [numbers[start : start + batch_size].tolist() for start in range(0, len(numbers), batch_size)]
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode") as threads:
        ahead = [threads.submit(pixels, number) for number in parts[0]] if parts else []
        for following in [*parts[1:], []]:
            ready, ahead = ahead, [threads.submit(pixels, number) for number in following]
            yield torch.stack([future.result() for future in ready])


@dataclass(frozen=True)
class Labelled:
    """Pictures with their labels as a model numbers its classes."""

    name: str
    split: str
    paths: list[str]
    labels: np.ndarray
    """(picture,) index into the model's classes; -1: a class that the model does not know"""
    unknown_classes: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    """listed and not measured, each with its reason"""
    batches: Callable[[int], Iterator[Tensor]]
    """from a batch size to uint8 pixels, each picture once, in order"""
    pick: Callable[[np.ndarray], Iterator[Tensor]]
    """from places in `paths` to the uint8 pixels of those pictures, in batches"""


def open_labelled(
    manifest: Manifest, pictures: Pictures, preprocess: Preprocess, classes: tuple[str, ...], split: str
) -> Labelled:
    """Return one split of a manifest ("all": every picture), its labels matched to `classes` by name."""
    numbers = np.arange(len(manifest)) if split == "all" else manifest.split(split)
    known = {_name_bytes(name): number for number, name in enumerate(classes)}
    translation = np.array([known.get(_name_bytes(name), -1) for name in manifest.classes], dtype=np.int64)
    return Labelled(
        name=manifest.source,
        split=split,
        paths=[manifest.pictures[i].path for i in numbers.tolist()],
        labels=translation[manifest.labels[numbers]],
        unknown_classes=tuple(name for name in manifest.classes if _name_bytes(name) not in known),
        rejected=manifest.rejected,
        batches=partial(eval_batches, pictures, numbers, preprocess),
        pick=lambda places: eval_batches(pictures, numbers[places], preprocess, 32),
    )


def _name_bytes(name: str) -> bytes:
    """Return a class name as the bytes of its folder, however this machine's locale decodes them."""
    return name.encode("utf-8", "surrogateescape")


def labelled_of_run(run: Path, preprocess: Preprocess, classes: tuple[str, ...], split: str) -> Labelled:
    """Return a split of the pictures that `run` was trained with, as they were split then.

    Raises:
        ConfigError: there is no such split, or `run` is a bare model folder. DataError: a picture has changed.
    """
    recorded = run / "data.json"
    if not recorded.exists():
        raise ConfigError(
            "does not say which pictures it was trained with", where=str(run), fix="Name a data set: DATA"
        )
    manifest = Manifest.from_json(files.read_json(recorded), str(recorded))
    pictures = Pictures(open_source(manifest.source), manifest)
    return open_labelled(manifest, pictures, preprocess, classes, _choose(split, manifest))


def labelled_of_data(
    data: str, preprocess: Preprocess, classes: tuple[str, ...], split: str, progress: Progress | None = None
) -> Labelled:
    """Return another data set, as it is: pictures without a split are its test split."""
    source = open_source(data)
    manifest = make_manifest(source, DataConfig(), progress, complete=False)
    return open_labelled(manifest, Pictures(source, manifest), preprocess, classes, _choose(split, manifest))


def _choose(split: str, manifest: Manifest) -> str:
    there = [name for name in SPLITS if len(manifest.split(name))]
    if split and split != "all" and split not in there:
        raise ConfigError(f"there is no split {split!r}", where=manifest.source, fix=nearest(split, [*there, "all"]))
    return split or next(name for name in ("test", "val", "train") if name in there)


@dataclass(frozen=True)
class Found:
    """A picture somewhere: its name, and how to get its bytes (which may raise a PatchwordsError)."""

    path: str
    read: Callable[[], bytes]


def find_pictures(paths: Iterable[str | Path]) -> Iterator[Found]:
    """Yield every picture at `paths`: files, and all that folders and archives hold.

    What is not there or cannot be opened is yielded too, and raises when it is read.
    """
    for path in map(os.fspath, paths):
        try:
            source = open_source(path, labelled=False)
        except PatchwordsError as fault:
            yield Found(path, partial(_raise, fault))
            continue
        if not source.entries and not source.refused:
            yield Found(path, partial(_raise, DataError("there are no pictures in it", where=path)))
        for number in range(len(source)):
            yield Found(source.where(number) if source.kind != "file" else path, partial(source.read, number))
        for name, reason in source.refused:
            yield Found(f"{path}/{name}", partial(_raise, DataError(reason, where=f"{path}/{name}")))


def _raise(fault: PatchwordsError) -> bytes:
    raise fault


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
