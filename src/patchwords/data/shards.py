"""Shards: plain tar files with a common base name for the members of a sample, and an index of where each picture is.

The layout is that of the webdataset package: `000000123.jpg`, `000000123.cls` (the number of the class) and
`000000123.json` (label, split, path) follow each other. `NAME.index.json` lies beside the shards
`NAME-000000.tar` ... of a set, so that any picture is found without reading what lies before it.
Shards of others have no index: they are listed once, and the list is kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import tarfile
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..decode import MAX_BYTES
from ..errors import DataError, MissingError, PatchwordsError
from ..files import fault_of, faults_named, read_bytes, write_atomic
from .sources import PICTURE_NAMES, SPLIT_NAMES, SPLITS, Entry, Source

FORMAT = "patchwords shards"
VERSION = 1
INDEX = ".index.json"
_SHARD = re.compile(r"(.*?)-?(\d+)\.tar", re.S)
_BRACES = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*\.tar)", re.S)
_MOST = 1_000_000
_AGAIN = "Fetch the shards again, or pack them again"


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a set of shards."""

    path: str
    """of the picture that was packed, from the root of its source"""
    label: str
    split: str
    """train, val, test or "" """
    shard: int
    """number in `ShardIndex.shards`"""
    offset: int
    """of its bytes in the shard"""
    size: int
    crc: int
    """CRC-32 of its bytes; -1: not known"""


@dataclass
class ShardIndex:
    """What a set of shards holds."""

    shards: list[tuple[str, int]] = field(default_factory=list)
    """(file name, bytes)"""
    samples: list[Sample] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of what was listed and could not be packed"""
    options: dict[str, Any] = field(default_factory=dict)
    """what was done to the pictures: resize, quality, raw"""

    def to_json(self) -> str:
        """Return the content of an index file, with a checksum of its own."""
        content = {
            "options": self.options,
            "shards": self.shards,
            "samples": [list(asdict(sample).values()) for sample in self.samples],
            "refused": self.refused,
        }
        return json.dumps({"format": FORMAT, "version": VERSION, "sha256": _digest(content)} | content) + "\n"

    @classmethod
    def from_json(cls, text: bytes, where: str) -> ShardIndex:
        """Return the index that `to_json` wrote.

        Raises:
            DataError: it is not one, was cut or changed, or names files outside of its folder.
        """
        try:
            values = json.loads(text)
            content = {name: values[name] for name in ("options", "shards", "samples", "refused")}
            sound = values["format"] == FORMAT and values["version"] == VERSION
            sound = sound and _digest(content) == values["sha256"]
            index = cls(
                [(str(name), int(size)) for name, size in values["shards"]],
                [Sample(*row) for row in values["samples"]],
                [(str(path), str(reason)) for path, reason in values["refused"]],
                values["options"],
            )
            sound = sound and all(os.path.basename(name) == name for name, _ in index.shards)
            sound = sound and all(index._holds(sample) for sample in index.samples)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            sound = False
        if not sound:
            raise DataError("is not an index of shards, or was cut or changed", where=where, fix=_AGAIN)
        return index

    def _holds(self, sample: Sample) -> bool:
        name, size = self.shards[sample.shard]
        texts = all(isinstance(text, str) for text in (sample.path, sample.label, sample.split))
        inside = texts and sample.shard >= 0 and sample.offset >= 0 and 0 <= sample.size <= MAX_BYTES
        return inside and sample.offset + sample.size <= size and sample.split in ("", *SPLITS)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


class ShardSource(Source):
    """Pictures that lie in shards; a shard is opened when its first picture is read."""

    def __init__(self, name: str, folder: str, index: ShardIndex, labelled: bool) -> None:
        pairs = (
            (Entry(s.path, s.label if labelled else "", s.split if labelled else ""), number)
            for number, s in enumerate(index.samples)
        )
        super().__init__(name, "shards", pairs, index.refused, Counter())
        self.folder, self.shards = folder, index
        self._descriptors: dict[int, int] = {}
        self._checked = bytearray(len(index.samples))
        self._lock = threading.Lock()
        for file, size in filter(any, index.shards):
            _require_whole(os.path.join(folder, file), size)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)

    def _descriptor(self, shard: int) -> int:
        with self._lock:
            if shard not in self._descriptors:
                path = os.path.join(self.folder, self.shards.shards[shard][0])
                with faults_named(path, "read"):
                    self._descriptors[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return self._descriptors[shard]

    def _status(self, handle: int) -> os.stat_result:
        return os.fstat(self._descriptor(self.shards.samples[handle].shard))

    def _read(self, handle: int, where: str) -> bytes:
        from .archive import read_exactly

        sample = self.shards.samples[handle]
        data = read_exactly(self._descriptor(sample.shard), sample.size, sample.offset, where)
        if sample.crc >= 0 and not self._checked[handle]:  # once: it tells of damage, not of change
            if zlib.crc32(data) != sample.crc:
                raise DataError("the shard is damaged there (its checksum does not fit)", where=where, fix=_AGAIN)
            self._checked[handle] = 1
        return data


def _require_whole(path: str, size: int) -> None:
    """Raise the error that names a shard that is gone or has another size than its index says."""
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise fault_of(error, path, "read") from None
    if found != size:
        what = f"has {found:,} bytes where its index says {size:,}: it is cut short or was changed"
        raise DataError(what, where=path, fix=_AGAIN)


def expand(spec: str) -> list[str] | None:
    """Return the files of NAME-{000000..000007}.tar; None when there are no such braces."""
    match = _BRACES.fullmatch(spec)
    if not match:
        return None
    first, last = int(match[2]), int(match[3])
    if not first <= last < first + _MOST:
        raise DataError("is not a range of shards", where=spec, fix="Write NAME-{000000..000007}.tar")
    return [f"{match[1]}{number:0{len(match[2])}d}{match[4]}" for number in range(first, last + 1)]


def rejoined(arguments: Sequence[str]) -> list[str]:
    """Return command line arguments with shards that the shell has listed one by one as one {first..last} again."""
    result: list[str] = []
    run: list[tuple[str, str]] = []

    def flush() -> None:
        if len(run) > 1:
            result.append(f"{run[0][0]}{{{run[0][1]}..{run[-1][1]}}}.tar")
        else:
            result.extend(f"{stem}{digits}.tar" for stem, digits in run)
        run.clear()

    for argument in arguments:
        match = re.fullmatch(r"(.*?)(\d{4,})\.tar", argument, re.S)
        follows = match and run and match[1] == run[-1][0] and len(match[2]) == len(run[-1][1])
        if not (follows and int(match[2]) == int(run[-1][1]) + 1):
            flush()
        if match:
            run.append((match[1], match[2]))
        else:
            result.append(argument)
    flush()
    return result


def index_beside(shard: str) -> str:
    """Return where the index of a shard would lie."""
    match = _SHARD.fullmatch(shard)
    return f"{match[1] if match else shard.removesuffix('.tar')}{INDEX}"


def is_shard(path: str) -> bool:
    """Say whether a tar is a shard: it has an index, or its first members are a picture and its label."""
    if os.path.isfile(index_beside(path)):
        return any(name == os.path.basename(path) for name, _ in _index_at(index_beside(path)).shards)
    try:
        with tarfile.open(path, "r:") as archive:
            names = [info.name for info in (archive.next() for _ in range(8)) if info and info.isreg()]
    except (tarfile.TarError, OSError, ValueError, EOFError, struct.error):
        return False
    keys = {_key(name)[0] for name in names if PICTURE_NAMES.fullmatch(name)}
    return any(_key(name) in ((key, "cls"), (key, "json")) for name in names for key in keys)


def shards_in(folder: str) -> str | None:
    """Return what opens the shards that a folder is made of: its only index, or itself; None for other folders."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        return None
    indices = [name for name in names if name.endswith(INDEX)]
    if len(indices) == 1:
        return os.path.join(folder, indices[0])
    if not indices and names and all(_SHARD.fullmatch(name) for name in names):
        return folder
    if indices:
        what = f"holds {len(indices)} sets of shards"
        raise DataError(what, where=folder, fix=f"Give one of them, such as {os.path.join(folder, min(indices))}")
    return None


def open_shards(spec: str, labelled: bool) -> Source:
    """Return the pictures in shards: an index file, one shard, or NAME-{000000..000007}.tar.

    Raises:
        DataError: a shard is cut short or damaged, or an index does not fit.
    """
    if spec.endswith(INDEX):
        return ShardSource(spec, os.path.dirname(spec), _index_at(spec), labelled)
    paths = expand(spec) or [spec]
    if os.path.isdir(spec):
        paths = [os.path.join(spec, name) for name in sorted(os.listdir(spec)) if not name.startswith(".")]
    if missing := [path for path in paths if not os.path.isfile(path)]:
        raise MissingError("no such shard", where=missing[0], fix="Name the shards that are there")
    folder = os.path.dirname(paths[0])
    if os.path.isfile(index_beside(paths[0])):
        index = _only(_index_at(index_beside(paths[0])), [os.path.basename(path) for path in paths], spec)
    else:
        index = _listed(paths)
    return ShardSource(spec, folder, index, labelled)


def _index_at(path: str) -> ShardIndex:
    return ShardIndex.from_json(read_bytes(path), path)


def _only(index: ShardIndex, names: list[str], spec: str) -> ShardIndex:
    """Return the part of an index that is about some of its shards."""
    known = {name: number for number, (name, _) in enumerate(index.shards)}
    if strange := [name for name in names if name not in known]:
        raise DataError(f"the index beside it does not know {strange[0]}", where=spec, fix=_AGAIN)
    if len(names) == len(known):
        return index
    wanted = {known[name] for name in names}
    # the names of the others become empty, so that numbers stay what they are
    shards = [row if number in wanted else ("", 0) for number, row in enumerate(index.shards)]
    return ShardIndex(shards, [sample for sample in index.samples if sample.shard in wanted], [], index.options)


def _key(name: str) -> tuple[str, str]:
    """Return the base name that the members of a sample share and the rest, as webdataset splits them."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _listed(paths: list[str]) -> ShardIndex:
    """Return the index of shards that came without one, from the cache where they were listed before."""
    from .cifar10 import cache_folder

    states = [(os.path.abspath(p), (status := os.stat(p)).st_size, status.st_mtime_ns) for p in paths]
    kept = cache_folder() / "shards" / f"{_digest({'shards': states, 'version': VERSION})}.json"
    try:
        return ShardIndex.from_json(kept.read_bytes(), str(kept))
    except (OSError, PatchwordsError):
        pass
    index = ShardIndex([(os.path.basename(path), size) for path, (_, size, _) in zip(paths, states, strict=True)])
    for number, path in enumerate(paths):
        _list_shard(path, number, index)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, index.to_json())
    except (OSError, PatchwordsError):  # a list that cannot be kept is made again
        pass
    return index


def _list_shard(path: str, number: int, index: ShardIndex) -> None:
    """Add the samples of one shard to `index`.

    Raises:
        DataError: it is no tar, or is damaged or cut short.
    """
    groups: dict[str, dict[str, tuple[int, int] | bytes]] = {}
    size = index.shards[number][1]
    try:
        options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
        with faults_named(path, "read"), tarfile.open(path, "r:", **options) as archive:
            while info := archive.next():
                archive.members.clear()
                if info.isreg() and info.offset_data + info.size > size:
                    raise tarfile.ReadError("cut short")
                _file_member(archive, info, groups, path, index)
    except (tarfile.TarError, ValueError, EOFError, struct.error, OverflowError, RecursionError):
        raise DataError("the shard is damaged or cut short", where=path, fix=_AGAIN) from None
    stem = os.path.basename(path).removesuffix(".tar")
    for key, parts in groups.items():
        _file_sample(f"{stem}/{key}", parts, number, index)


def _file_member(
    archive: tarfile.TarFile, info: tarfile.TarInfo, groups: dict[str, Any], path: str, index: ShardIndex
) -> None:
    """Take note of one member of a shard: where a picture lies, or what a label says."""
    name = f"{os.path.basename(path)}/{info.name}"
    unsafe = info.name.startswith("/") or ".." in info.name.split("/")
    key, ending = _key(info.name)
    if info.isdir():
        return
    if unsafe or not info.isreg() or info.issparse() or info.size > MAX_BYTES:
        reason = "its name leads outside of the archive" if unsafe else "is a link, a device, sparse or too large"
        index.refused.append((name, reason))
    elif ending in ("cls", "json") and info.size < 1 << 20:
        file = archive.extractfile(info)
        groups.setdefault(key, {})[ending] = file.read() if file else b""
    elif PICTURE_NAMES.fullmatch(f"x.{ending}") or ending == "npy":
        groups.setdefault(key, {})[f".{ending}"] = (info.offset_data, info.size)


def _file_sample(path: str, parts: dict[str, Any], shard: int, index: ShardIndex) -> None:
    """Add one sample, or refuse it with a reason."""
    label, split = _label_of(parts)
    pictures = [ending for ending in parts if ending.startswith(".")]
    for ending in pictures:
        if len(pictures) > 1:
            index.refused.append((path + ending, "the sample has several pictures"))
        elif not label:
            index.refused.append((path + ending, "has no label in its .cls or .json"))
        else:
            index.samples.append(Sample(path + ending, label, split, shard, *parts[ending], -1))


def _label_of(parts: dict[str, Any]) -> tuple[str, str]:
    """Return (label, split) of a sample, each "" where it is not said."""
    try:
        values = json.loads(parts.get("json", b"{}"))
    except (ValueError, RecursionError):
        values = {}
    values = values if isinstance(values, dict) else {}
    label = values.get("label")
    if not isinstance(label, str | int):
        label = parts.get("cls", b"").decode("utf-8", "surrogateescape").strip()
    split = SPLIT_NAMES.get(str(values.get("split", "")).lower(), "")
    return str(label), split
