"""`pack`: the pictures of any source as shards with an index, whole or pre-resized; goes on where it was stopped."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ..decode import ENDINGS, decode, format_of
from ..errors import ConfigError, DataError, PatchwordsError
from ..files import TEMPORARY, faults_named, read_bytes, sync_folder, write_atomic
from .shards import INDEX, Sample, ShardIndex
from .sources import Progress, Source

_AHEAD = 64
"""pictures in work at a time"""
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """How pictures are packed; by default their bytes stay what they are."""

    shard_size: int = 256
    """megabytes of a shard before the next one begins"""
    resize: int = 0
    """pixels of the shorter side of larger pictures; 0: as they are"""
    quality: int = 0
    """of JPEG, 1 to 100, for pictures that are written anew; 0: 90 where they are resized, else untouched"""
    raw: bool = False
    """uint8 pixels (rows, columns, channels) as .npy: nothing is left to decode"""

    def __post_init__(self) -> None:
        for name, low, high in (("shard_size", 1, 1 << 20), ("resize", 0, 8192), ("quality", 0, 100)):
            if not low <= getattr(self, name) <= high:
                where = f"--{name.replace('_', '-')}"
                raise ConfigError(
                    f"{getattr(self, name)} is out of range", where=where, fix=f"Allowed: {low} to {high}"
                )
        if self.raw and self.quality:
            raise ConfigError("raw pixels have no quality", where="--quality", fix="Leave out --raw or --quality")

    @property
    def untouched(self) -> bool:
        """Whether the bytes of each picture are kept."""
        return not (self.resize or self.quality or self.raw)


@dataclass(frozen=True)
class PackResult:
    """What was packed: listed = packed + rejected."""

    index: str
    shards: tuple[str, ...]
    packed: int
    rejected: tuple[tuple[str, str], ...]
    """(path, reason)"""
    size: int
    """bytes of all shards"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self) | {"listed": self.packed + len(self.rejected)}


@dataclass(frozen=True, slots=True)
class _Packed:
    """One picture, ready to be written."""

    data: bytes = b""
    ending: str = ""
    fault: str = ""


def pack(
    source: Source,
    out: str | os.PathLike[str],
    options: PackOptions | None = None,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> PackResult:
    """Write the pictures of `source` as shards OUT-000000.tar, OUT-000001.tar, ... and OUT.index.json.

    Every shard appears whole under its name; the index is written last. A call that was stopped goes on after
    the last whole shard, and the files are the same bytes as without the stop. Every picture is decoded once;
    one that cannot be is recorded with the reason.

    Args:
        source: where the pictures are.
        out: path of the set; an ending .tar is taken off.
        workers: threads; no byte depends on it.
        progress: called with (done, total) pictures.

    Raises:
        ConfigError: OUT is there already. DataError: no picture can be packed. WriteError, PermissionFault.
    """
    base = Path(os.fsdecode(out).removesuffix(".tar"))
    if not base.name:
        raise ConfigError("names no file", where=os.fsdecode(out), fix="Give OUT.tar")
    options = options or PackOptions()
    with _locked(base):
        writer = _Writer(base, source, options)
        if writer.index_path.exists():
            fix = "Give another path, or remove the shards and the index"
            raise ConfigError("is there already", where=str(writer.index_path), fix=fix)
        numbers = range(writer.resume(), len(source))
        for number, packed in _prepared(source, options, numbers, workers):
            writer.add(number, packed)
            if progress:
                progress(number + 1, len(source))
        return writer.finish()


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Make the folder of the shards, and keep other calls away from a set of this name."""
    lock = base.with_name(f"{TEMPORARY}{base.name}.lock")
    with faults_named(base.parent, "write"):
        base.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            what = "another process is packing under this name"
            raise ConfigError(what, where=str(base), fix="Wait for it, or give another path") from None
        yield
        with suppress(OSError):
            os.unlink(lock)
    finally:
        os.close(descriptor)


def _prepared(source: Source, options: PackOptions, numbers: range, workers: int) -> Iterator[tuple[int, _Packed]]:
    """Yield the numbered pictures in order, prepared by `workers` threads."""
    pending: deque[tuple[int, Future[_Packed]]] = deque()
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="pack") as threads:
        try:
            for number in numbers:
                pending.append((number, threads.submit(_prepare, source, number, options)))
                if len(pending) >= _AHEAD:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _prepare(source: Source, number: int, options: PackOptions) -> _Packed:
    """Return one picture as it is stored, or why it cannot be used."""
    try:
        data = source.read(number)
        pixels = decode(data)
        if options.untouched:
            return _Packed(data, ENDINGS[format_of(data)][0])
        return stored(pixels, options)
    except DataError as error:
        return _Packed(fault=error.what)


def stored(pixels: np.ndarray, options: PackOptions) -> _Packed:
    """Return (rows, columns, 3) pixels as they are stored: resized, then raw or JPEG."""
    rows, columns = pixels.shape[:2]
    if options.resize and min(rows, columns) > options.resize:
        size = tuple(max(1, round(side * options.resize / min(rows, columns))) for side in (rows, columns))
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        planes = functional.interpolate(planes, size, mode="bicubic", antialias=True, align_corners=False)
        pixels = planes[0].permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    if options.raw:
        np.lib.format.write_array(file, pixels, version=(1, 0), allow_pickle=False)
        return _Packed(file.getvalue(), "npy")
    Image.fromarray(pixels).save(file, "JPEG", quality=options.quality or 90)
    return _Packed(file.getvalue(), "jpg")


class _Writer:
    """Writes shards one after another; a note beside each says what is in it until the index is there."""

    def __init__(self, base: Path, source: Source, options: PackOptions) -> None:
        self.base, self.source, self.options = base, source, options
        self.index_path = base.with_name(base.name + INDEX)
        self.index = ShardIndex(options={"resize": options.resize, "quality": options.quality, "raw": options.raw})
        labels = sorted({entry.label for entry in source.entries}, key=os.fsencode)
        self.classes = {label: number for number, label in enumerate(labels)}
        request = [asdict(entry) for entry in source.entries], source.refused, asdict(options)
        self.request = hashlib.sha256(json.dumps(request).encode()).hexdigest()
        self.file: BinaryIO | None = None
        self.samples: list[Sample] = []
        self.refused: list[tuple[str, str]] = []
        self.next = 0

    def resume(self) -> int:
        """Take over the whole shards of a stopped call with the same request; return the next entry to pack."""
        while True:
            note = self._note(len(self.index.shards))
            try:
                values = json.loads(read_bytes(note))
                name, size = values["shard"]
                sound = values["request"] == self.request and os.stat(self.base.with_name(name)).st_size == size
                samples = [Sample(*row) for row in values["samples"]]
            except (OSError, PatchwordsError, ValueError, KeyError, TypeError):
                return self.next
            if not sound:
                return self.next
            self.index.shards.append((name, size))
            self.index.samples += samples
            self.index.refused += [(path, reason) for path, reason in values["refused"]]
            self.next = values["next"]

    def _note(self, shard: int) -> Path:
        return self.base.with_name(f"{TEMPORARY}{self.base.name}.{shard:06d}.json")

    def _shard(self) -> Path:
        return self.base.with_name(f"{self.base.name}-{len(self.index.shards):06d}.tar")

    def add(self, number: int, packed: _Packed) -> None:
        """Write one sample, or take note of why it is not there."""
        entry = self.source.entries[number]
        if packed.fault:
            self.refused.append((entry.path, packed.fault))
        else:
            if self.file and self.file.tell() + len(packed.data) > self.options.shard_size * 1_000_000:
                self._close()
            text = json.dumps({"label": entry.label, "split": entry.split, "path": entry.path})
            offset = self._member(f"{number:09d}.{packed.ending}", packed.data)
            self._member(f"{number:09d}.cls", str(self.classes[entry.label]).encode())
            self._member(f"{number:09d}.json", text.encode())
            place = len(self.index.shards), offset, len(packed.data), zlib.crc32(packed.data)
            self.samples.append(Sample(entry.path, entry.label, entry.split, *place))
        self.next = number + 1

    def _member(self, name: str, data: bytes) -> int:
        """Append one member and return the offset of its data."""
        info = tarfile.TarInfo(name)
        info.size = len(data)  # everything else stays 0, so that equal pictures give equal shards
        temporary = self._shard().with_name(f"{TEMPORARY}{self._shard().name}")
        with faults_named(self._shard(), "write"):
            if self.file is None:
                self.file = open(temporary, "wb")  # noqa: SIM115
            self.file.write(info.tobuf(tarfile.USTAR_FORMAT))
            offset = self.file.tell()
            self.file.write(data + bytes(-len(data) % _BLOCK))
        return offset

    def _close(self) -> None:
        """End the open shard, give it its name, and note what is in it."""
        if self.file is None:
            return
        shard = self._shard()
        with faults_named(shard, "write"):
            self.file.write(bytes(2 * _BLOCK))
            size = self.file.tell()
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            os.rename(self.file.name, shard)
            sync_folder(shard.parent)
        rows = [list(asdict(sample).values()) for sample in self.samples]
        note = {"request": self.request, "shard": (shard.name, size), "samples": rows, "refused": self.refused}
        write_atomic(self._note(len(self.index.shards)), json.dumps(note | {"next": self.next}))
        self.index.shards.append((shard.name, size))
        self.index.samples += self.samples
        self.index.refused += self.refused
        self.file, self.samples, self.refused = None, [], []

    def finish(self) -> PackResult:
        """End the last shard and write the index."""
        self._close()
        notes = [self._note(number) for number in range(len(self.index.shards))]
        self.index.refused += [*self.refused, *self.source.refused]
        rejected = tuple(sorted(self.index.refused, key=lambda pair: os.fsencode(pair[0])))
        if not self.index.samples:
            first = f"; the first is {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
            raise DataError(f"there is no picture in it that can be packed{first}", where=self.source.name)
        self.index.refused = list(rejected)
        write_atomic(self.index_path, self.index.to_json())
        for note in notes:
            with suppress(OSError):
                os.unlink(note)
        names = tuple(str(self.base.with_name(name)) for name, _ in self.index.shards)
        size = sum(size for _, size in self.index.shards)
        return PackResult(str(self.index_path), names, len(self.index.samples), rejected, size)
