"""The list of what a data set is: every picture with size, sha256, label by name and split; made once, hashed, kept.

Listed = used + rejected, always: every picture is read and decoded once, and one that cannot be used is
recorded with the reason. Nothing ever stands in for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import DataConfig
from ..decode import DECODE_RULE, decode
from ..errors import CheckpointError, DataError, PatchwordsError
from .sources import SPLITS, Progress, Source
from .splits import make_splits

if TYPE_CHECKING:
    import torch

    from ..preprocess import Preprocess

_CHUNK = 64
"""pictures handed to a thread at a time"""
_LAYOUT = "Put pictures into FOLDER/train/CLASS/ or FOLDER/CLASS/, with two classes or more"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that is used."""

    path: str
    """from the root of the source; bytes that are not UTF-8 are surrogates (os.fsdecode)"""
    size: int
    """bytes"""
    sha256: str
    """of the file"""
    label: int
    """number of its class in `Manifest.classes`"""
    split: str
    """train, val or test"""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One picture that was listed and is not used."""

    path: str
    reason: str
    sha256: str = ""
    """of the file, where it could be read"""


@dataclass(frozen=True)
class Manifest:
    """A data set as it was found: which pictures, which labels, which splits."""

    source: str
    """what opens it again: its absolute path, or digits, cifar10"""
    classes: tuple[str, ...]
    """sorted by the bytes of the name"""
    pictures: tuple[Picture, ...]
    """sorted by the bytes of the path"""
    rejected: tuple[Rejected, ...] = ()
    made: tuple[str, ...] = ()
    """splits that the source does not bring and that were drawn from train"""
    split_seed: int = 0
    decode_rule: int = DECODE_RULE

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def hash(self) -> str:
        """sha256 over the decode rule, the classes and the pictures in order; not over where the source lies."""
        content = [self.decode_rule, self.classes, [_row(picture) for picture in self.pictures]]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def labels(self) -> np.ndarray:
        """(pictures,) int64: the class of each picture."""
        return np.array([picture.label for picture in self.pictures], dtype=np.int64)

    def split(self, name: str) -> np.ndarray:
        """Return the numbers of the pictures of train, val or test, ascending, int64."""
        return np.array([i for i, picture in enumerate(self.pictures) if picture.split == name], dtype=np.int64)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """{split: {class: pictures}}, for the splits that have any."""
        found = Counter((picture.split, picture.label) for picture in self.pictures)
        return {
            split: {name: found[split, label] for label, name in enumerate(self.classes)}
            for split in SPLITS
            if any((split, label) in found for label in range(len(self.classes)))
        }

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain values; `json.dumps` keeps names that are not UTF-8 (as escapes)."""
        return {
            "version": 1,
            "hash": self.hash,
            "source": self.source,
            "decode_rule": self.decode_rule,
            "classes": list(self.classes),
            "made_splits": list(self.made),
            "split_seed": self.split_seed,
            "pictures": [_row(picture) for picture in self.pictures],
            "rejected": [asdict(rejected) for rejected in self.rejected],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any] | str | bytes, where: str = "data.json") -> Manifest:
        """Return the manifest that `to_json` wrote.

        Raises:
            CheckpointError: it is not one, or its content does not have the hash it states.
        """
        try:
            values = json.loads(values) if isinstance(values, str | bytes) else values
            manifest = cls(
                source=values["source"],
                classes=tuple(values["classes"]),
                pictures=tuple(Picture(*row) for row in values["pictures"]),
                rejected=tuple(Rejected(**row) for row in values["rejected"]),
                made=tuple(values["made_splits"]),
                split_seed=values["split_seed"],
                decode_rule=values["decode_rule"],
            )
            sound = manifest.hash == values["hash"]
        except (ValueError, TypeError, KeyError, RecursionError):
            sound = False
        if not sound:
            raise CheckpointError("is not a data manifest, or was changed", where=where, fix="Use a copy of the run")
        return manifest


def _row(picture: Picture) -> list[str | int]:
    return [picture.path, picture.size, picture.sha256, picture.label, picture.split]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found when one entry of a source was read and decoded."""

    size: int
    """bytes"""
    sha256: str
    fault: str
    """why it cannot be used; "" where it can"""
    reaction: str = ""
    """what to do about the fault"""


def scan(
    source: Source,
    workers: int = 0,
    *,
    keep: Preprocess | None = None,
    inspect: Callable[[int, bytes], None] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Finding], np.ndarray | None]:
    """Read and decode every entry of `source` once, and return a finding for each, in order.

    Args:
        source: where the pictures are.
        workers: threads; the result does not depend on it.
        keep: also return the pixels in this preprocessing, uint8 (entries, channels, rows, columns); rows of
            entries that cannot be used are undefined.
        inspect: called with (number, bytes) of each entry that can be used, from the thread that decoded it.
        progress: called with (done, total) entries.
    """
    pixels = np.empty((len(source), keep.channels, *keep.image_size), np.uint8) if keep else None

    def look(number: int) -> Finding:
        data = b""
        try:
            data = source.read(number)
            if keep is not None and pixels is not None:
                pixels[number] = keep.pixels(data).numpy()
            else:
                decode(data)
            if inspect:
                inspect(number, data)
        except PatchwordsError as error:
            digest = hashlib.sha256(data).hexdigest() if data else ""
            return Finding(len(data), digest, error.what, error.fix)
        return Finding(len(data), hashlib.sha256(data).hexdigest(), "")

    return _in_chunks(look, len(source), workers, progress), pixels


def _in_chunks(look: Callable[[int], Any], total: int, workers: int, progress: Progress | None) -> list[Any]:
    """Return [look(0), look(1), ...] from `workers` threads."""
    results: list[Any] = []
    chunks = [range(start, min(start + _CHUNK, total)) for start in range(0, total, _CHUNK)]

    def collect(found: Any) -> None:
        for chunk in found:
            results.extend(chunk)
            if progress:
                progress(len(results), total)

    if workers < 1:
        collect([look(number) for number in chunk] for chunk in chunks)
        return results
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            collect(threads.map(lambda chunk: [look(number) for number in chunk], chunks))
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def make_manifest(
    source: Source,
    config: DataConfig,
    progress: Progress | None = None,
    *,
    findings: list[Finding] | None = None,
    complete: bool = True,
) -> Manifest:
    """Return the manifest of `source`: every picture read and decoded, splits made where they are missing.

    Args:
        source: where the pictures are.
        config: fractions and seed of the splits, threads, and how much may be rejected.
        progress: called with (done, total) pictures.
        findings: of `scan`, where that was done already.
        complete: ask for what training needs: a train split, two classes, no class that train lacks; and make
            missing splits. False takes a data set as it is (pictures without a split are test).

    Raises:
        DataError: empty, too much is rejected, one class only, or val or test have classes that train lacks.
    """
    if not source.entries and not source.refused:
        raise DataError("there are no pictures in it", where=source.name, fix=_LAYOUT)
    if findings is None:
        findings, _ = scan(source, config.workers, progress=progress)
    pairs = list(zip(source.entries, findings, strict=True))
    rejected = [Rejected(entry.path, found.fault, found.sha256) for entry, found in pairs if found.fault]
    rejected += [Rejected(path, reason) for path, reason in source.refused]
    rejected.sort(key=lambda item: os.fsencode(item.path))
    _check_rejected(source, config, rejected)
    used = [(entry, found) for entry, found in pairs if not found.fault]
    labels = [entry.label for entry, _ in used]
    splits = [entry.split for entry, _ in used]
    if complete:
        fractions = {"test": config.test_fraction, "val": config.val_fraction}
        splits = make_splits([found.sha256 for _, found in used], labels, splits, fractions, config.split_seed)
        _check_classes(source, labels, splits)
    splits = [split or "test" for split in splits]
    classes = tuple(sorted(set(labels), key=os.fsencode))
    numbers = {name: number for number, name in enumerate(classes)}
    pictures = (
        Picture(entry.path, found.size, found.sha256, numbers[entry.label], split)
        for (entry, found), split in zip(used, splits, strict=True)
    )
    given = {entry.split for entry in source.entries}
    made = tuple(name for name in SPLITS if complete and name in splits and name not in given)
    return Manifest(source.location, classes, tuple(pictures), tuple(rejected), made, config.split_seed)


def _check_rejected(source: Source, config: DataConfig, rejected: list[Rejected]) -> None:
    if not rejected:
        return
    listed = len(source.entries) + len(source.refused)
    first = f"{rejected[0].path}: {rejected[0].reason}"
    count = f"{len(rejected)} of {listed} pictures cannot be used; the first is {first}"
    if config.strict:
        raise DataError(count, where=source.name, fix="Mend or remove them, or leave out data.strict")
    if len(rejected) == listed:
        what = f"none of its {listed} pictures can be used; the first is {first}"
        raise DataError(what, where=source.name, fix=_LAYOUT)
    if len(rejected) > config.max_rejected * listed:
        fix = f"Mend or remove them, or raise data.max_rejected, now {config.max_rejected:g}"
        raise DataError(count, where=source.name, fix=fix)


def _check_classes(source: Source, labels: list[str], splits: list[str]) -> None:
    known = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    if not known:
        what = f"has no pictures for training, only {' and '.join(sorted(set(splits)))}"
        raise DataError(what, where=source.name, fix=_LAYOUT)
    for name in ("val", "test"):
        strange = {label for label, split in zip(labels, splits, strict=True) if split == name} - known
        if strange:
            names = ", ".join(sorted(strange, key=os.fsencode)[:10]) + (", ..." if len(strange) > 10 else "")
            fix = "Add pictures of them to train, or remove them; names must be the same in every split"
            raise DataError(
                f"{name} has classes ({len(strange)}) that train lacks: {names}", where=source.name, fix=fix
            )
    if len(known) < 2:
        fix = f"There is nothing to tell apart. {_LAYOUT}"
        raise DataError(f"has one class only, {known.pop()}", where=source.name, fix=fix)


def make_manifest_with_pixels(
    source: Source, config: DataConfig, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[Manifest, torch.Tensor]:
    """Return the manifest and the pixels of its pictures, each read and decoded only once.

    Returns:
        the manifest, and uint8 (pictures, channels, rows, columns) in its order.
    """
    import torch

    findings, pixels = scan(source, config.workers, keep=preprocess, progress=progress)
    assert pixels is not None
    manifest = make_manifest(source, config, findings=findings)
    if any(found.fault for found in findings):
        pixels = pixels[[not found.fault for found in findings]]
    return manifest, torch.from_numpy(pixels)


class Pictures:
    """The pictures of a manifest, read from a source that is open again and checked against it.

    Raises:
        DataError: the source lacks a picture of the manifest.
    """

    def __init__(self, source: Source, manifest: Manifest) -> None:
        self.source, self.manifest = source, manifest
        missing = [picture.path for picture in manifest.pictures if picture.path not in source.index]
        if missing:
            what = f"{len(missing)} pictures that were there are gone; the first is {missing[0]}"
            raise DataError(what, where=source.name, fix="Bring them back, or start a new run")
        self._numbers = [source.index[picture.path] for picture in manifest.pictures]
        self._stamps = array("q", bytes(8 * len(self._numbers)))
        """of the files when their pictures were found to be those of the manifest"""

    def __len__(self) -> int:
        return len(self._numbers)

    def where(self, number: int) -> str:
        """Return the name of one picture for a message."""
        return self.source.where(self._numbers[number])

    def read(self, number: int) -> bytes:
        """Return the bytes of one picture; may be called from any thread.

        Raises:
            DataError: they are not the bytes that the manifest was made from. And as `Source.read`.
        """
        data = self.source.read(self._numbers[number])
        stamp = self.source.stamp(self._numbers[number])
        if stamp and stamp == self._stamps[number]:  # the hash costs as much as a resize
            return data
        if hashlib.sha256(data).hexdigest() != self.manifest.pictures[number].sha256:
            fix = "Bring the old picture back, or start a new run"
            raise DataError("was changed since the run began", where=self.where(number), fix=fix)
        self._stamps[number] = stamp
        return data


def load_pixels(
    pictures: Pictures, preprocess: Preprocess, workers: int = 0, progress: Progress | None = None
) -> torch.Tensor:
    """Return all pictures as the model sees them in evaluation, uint8 (pictures, channels, rows, columns).

    Raises:
        DataError: a picture is gone or was changed since the manifest was made.
    """
    import torch

    pixels = torch.empty((len(pictures), preprocess.channels, *preprocess.image_size), dtype=torch.uint8)

    def load(number: int) -> None:
        pixels[number] = preprocess.pixels(pictures.read(number), pictures.where(number))

    _in_chunks(load, len(pictures), workers, progress)
    return pixels
