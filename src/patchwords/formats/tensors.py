"""The named arrays of a checkpoint, read one at a time: safetensors, sharded safetensors, .npz, torch files.

Nothing in a file is run. Every array that is read is a copy of its own: a file changed or cut afterwards cannot
reach the model.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import pickle
import re
import threading
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, MissingError
from ..files import faults_named, read_json
from ..tensorfile import Shape, TensorFile

INDEX_SUFFIX = ".index.json"
_WRAPPERS = ("state_dict_ema", "model_ema", "ema", "teacher", "state_dict", "model", "module", "student")
"""entries of a training checkpoint that hold weights, the best to use first"""
_SHARDS = (".safetensors", ".bin")
_CHUNK = 1 << 18
"""bytes read at once"""
_COPY = "The file is damaged or of another kind; use a copy"


class Tensors(ABC):
    """Named arrays, their shapes known before any is read.

    Attributes:
        where: the file, for messages.
        shapes: name -> shape.
        origin: name -> the name in the file, where names were changed on the way.
        part: which entry of a training checkpoint they are, "" when the file is nothing else.
        lends: whether `lend` gives memory that is used again.
    """

    lends = False

    def __init__(self, where: str, shapes: dict[str, Shape], part: str = "") -> None:
        self.where, self.shapes, self.part = where, shapes, part
        self.origin = {name: name for name in shapes}

    @abstractmethod
    def read(self, name: str) -> Tensor:
        """Return the array `name` as it is stored, in memory of its own.

        Raises:
            CheckpointError: the file is cut or damaged there.
        """

    def lend(self, name: str) -> Tensor:
        """Return the array as `read` does, for a moment: this thread's next `lend` may take its memory again."""
        return self.read(name)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def renamed(self, names: Mapping[str, str]) -> Tensors:
        """Return the same arrays under other names.

        Args:
            names: new name -> name here.
        """
        return _Renamed(self, names)

    def stripped(self, prefix: str) -> Tensors:
        """Return the arrays with `prefix` taken off the names that have it; the others keep theirs.

        Raises:
            CheckpointError: two arrays would have one name.
        """
        names = {name.removeprefix(prefix): name for name in self}
        if len(names) != len(self.shapes):
            raise CheckpointError(f"has tensors both with and without {prefix!r}", where=self.where, fix=_COPY)
        return self.renamed(names)

    def shape_of(self, name: str, axes: int) -> Shape:
        """Return the shape of an array that must be there.

        Raises:
            CheckpointError: it is not, or has another number of axes.
        """
        if name not in self.shapes:
            raise self.fault(f"lacks {name}")
        if len(self.shapes[name]) != axes:
            raise self.fault(f"{self.origin[name]} has the shape {self.shapes[name]}, not {axes} axes")
        return self.shapes[name]

    def fault(self, what: str) -> CheckpointError:
        """Return the error that says `what` is wrong in this file."""
        return CheckpointError(what, where=self.where, fix=_COPY)


class _Renamed(Tensors):
    def __init__(self, held: Tensors, names: Mapping[str, str]) -> None:
        super().__init__(held.where, {new: held.shapes[old] for new, old in names.items()}, held.part)
        self._held, self._names, self.lends = held, dict(names), held.lends
        self.origin = {new: held.origin[old] for new, old in names.items()}

    def read(self, name: str) -> Tensor:
        return self._held.read(self._names[name])

    def lend(self, name: str) -> Tensor:
        return self._held.lend(self._names[name])


class SafetensorsFile(Tensors):
    """A .safetensors file."""

    def __init__(self, path: Path) -> None:
        self._file = TensorFile(path)
        super().__init__(str(path), self._file.shapes)

    def read(self, name: str) -> Tensor:
        return self._file.read(name)


class Shards(Tensors):
    """Several files with an index that says which tensor lies in which."""

    def __init__(self, index: Path) -> None:
        try:
            placed = {str(name): str(file) for name, file in read_json(index)["weight_map"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError("is not an index of shards", where=str(index), fix=_COPY) from error
        for file in set(placed.values()):
            if Path(file).name != file or not file.endswith(_SHARDS):
                raise CheckpointError(f"names {file!r}, which is no shard beside it", where=str(index), fix=_COPY)
        self._files = {file: open_tensors(index.parent / file) for file in sorted(set(placed.values()))}
        held = {name: file for file, tensors in self._files.items() for name in tensors}
        if held != placed:
            odd = min(name for name in held.keys() | placed.keys() if held.get(name) != placed.get(name))
            what = f"{odd} is in {held.get(odd)}, the index says {placed.get(odd)}"
            raise CheckpointError(what, where=str(index), fix=_COPY)
        self._placed = placed
        super().__init__(str(index), {name: self._files[file].shapes[name] for name, file in placed.items()})

    def read(self, name: str) -> Tensor:
        return self._files[self._placed[name]].read(name)


class NpzFile(Tensors):
    """A NumPy archive; object arrays, which hold code, are refused, and every array is checked against its CRC."""

    lends = True

    def __init__(self, path: Path) -> None:
        shapes = {}
        with faults_named(path, "read"), _sound(path):
            self._archive = zipfile.ZipFile(path)
            self._descriptor = self._archive.fp.fileno()
            for member in self._archive.namelist():
                with self._archive.open(member) as file:
                    shape, _, kind = self._header(file)
                if kind.hasobject:
                    raise CheckpointError(f"{member} holds Python objects, not numbers", where=str(path), fix=_COPY)
                shapes[member.removesuffix(".npy")] = shape
        self._path, self._lent = path, threading.local()
        super().__init__(str(path), shapes)

    @staticmethod
    def _header(file) -> tuple[Shape, bool, np.dtype]:
        version = np.lib.format.read_magic(file)
        if version[0] > 2:
            raise ValueError(f"npy version {version}")
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        return read(file)

    def read(self, name: str) -> Tensor:
        return self._read(name, lambda count: torch.empty(count, dtype=torch.uint8).numpy())

    def lend(self, name: str) -> Tensor:
        return self._read(name, self._scratch)

    def _scratch(self, count: int) -> np.ndarray:
        """Return `count` bytes, always the same ones of a thread: new memory costs more than reading into old."""
        held = getattr(self._lent, "memory", None)
        if held is None or len(held) < count:
            held = self._lent.memory = np.empty(count, np.uint8)
        return held[:count]

    def _read(self, name: str, memory: Callable[[int], np.ndarray]) -> Tensor:
        info = self._archive.getinfo(f"{name}.npy")
        with faults_named(self._path, "read"), _sound(self._path), self._archive.open(info) as file:
            shape, fortran, kind = self._header(file)
            data = memory(math.prod(shape) * kind.itemsize)
            if info.compress_type == zipfile.ZIP_STORED:
                self._read_stored(info, file.tell(), data)
            else:
                for start in range(0, len(data) + 1, _CHUNK):  # the last call sees the end, where the CRC is checked
                    piece = file.read(_CHUNK)
                    data[start : start + _CHUNK] = np.frombuffer(piece, np.uint8)
        bfloat = kind.kind == "V" and kind.itemsize == 2  # numpy has no bfloat16: JAX's is saved as raw bytes
        array = data.view(np.uint16 if bfloat else kind.newbyteorder("="))
        array = array.byteswap() if kind.byteorder == ">" else array
        tensor = torch.from_numpy(array.reshape(shape[::-1]).T if fortran else array.reshape(shape))
        return tensor.view(torch.bfloat16) if bfloat else tensor

    def _read_stored(self, info: zipfile.ZipInfo, head: int, data: np.ndarray) -> None:
        """Read an array that is not compressed, which lies `head` bytes inside its member, straight into `data`."""
        local = os.pread(self._descriptor, 30, info.header_offset)
        name, extra = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
        begin = info.header_offset + 30 + name + extra
        crc, done = zlib.crc32(os.pread(self._descriptor, head, begin)), 0
        while done < len(data):  # in parts that stay in the cache for the CRC
            got = os.preadv(self._descriptor, [data[done : done + _CHUNK]], begin + head + done)
            if not got:
                raise EOFError(f"ends inside {info.filename}")
            crc, done = zlib.crc32(data[done : done + got], crc), done + got
        if head + len(data) != info.file_size or crc != info.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")


class TorchFile(Tensors):
    """A file of torch.save, opened with `weights_only`: it may hold tensors and plain values, nothing that runs."""

    def __init__(self, path: Path, part: str = "") -> None:
        held, chosen = _unwrapped(_unpickled(path), part, str(path))
        self._held = held
        super().__init__(str(path), {name: tuple(tensor.shape) for name, tensor in held.items()}, chosen)

    def read(self, name: str) -> Tensor:
        tensor = self._held[name]
        if tensor.is_sparse or tensor.is_quantized or tensor.is_meta:
            raise self.fault(f"{name} is not a plain tensor")
        tensor = tensor.detach().contiguous()
        alone = tensor.untyped_storage().nbytes() == tensor.nbytes
        return tensor if alone else tensor.clone()


@contextlib.contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what damaged bytes raise inside the block into the one-line error that names the file."""
    try:
        yield
    except (OSError, CheckpointError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"is not a sound .npz file ({reason})", where=str(path), fix=_COPY) from None


def _unpickled(path: Path) -> object:
    """Return what torch.save wrote.

    Raises:
        CheckpointError: damaged; or it names a class or function, which could run code: says which.
    """
    with faults_named(path, "read"):
        try:
            # a Namespace is a bag of values, and training checkpoints keep their options in one
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old pickles: what is wrong is said in one line below
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            named = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(?:class|global|type) (\S+)", str(error))
            needs = f"needs {named[1].strip('.')}, which could run code" if named else "is not a file of tensors"
            fix = "Save only its state_dict, or convert it to safetensors where you trust it"
            raise CheckpointError(needs, where=str(path), fix=fix) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # it seeks where a cut file ends
                raise
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"is not a sound torch file ({reason})", where=str(path), fix=_COPY) from None


def _unwrapped(held: object, part: str, where: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a state_dict, or of the entry of a training checkpoint that holds one, and its name.

    Of several such entries the first of `_WRAPPERS` is taken, unless `part` names another.
    """
    name = ""
    while isinstance(held, Mapping):
        tensors = {key: value for key, value in held.items() if isinstance(value, Tensor) and isinstance(key, str)}
        entries = {key: value for key, value in held.items() if isinstance(value, Mapping) and _holds_tensors(value)}
        if part and part in entries:
            held, name, part = entries[part], f"{name}.{part}".strip("."), ""
            continue
        if part:
            fix = f"It has {', '.join(map(str, entries)) or 'no such entries'}"
            raise CheckpointError(f"has no entry {part!r}", where=where, fix=fix)
        if tensors:
            return tensors, name
        chosen = next((key for key in _WRAPPERS if key in entries), None)
        if chosen is None and len(entries) == 1:
            chosen = next(iter(entries))
        if chosen is None:
            fix = f"Name one with --part: {', '.join(map(str, entries))}" if entries else "Give a state_dict"
            raise CheckpointError("does not hold the weights of one model", where=where, fix=fix)
        held, name = entries[chosen], f"{name}.{chosen}".strip(".")
    raise CheckpointError("does not hold named tensors", where=where, fix="Give a state_dict")


def _holds_tensors(value: Mapping) -> bool:
    return any(
        isinstance(each, Tensor) or (isinstance(each, Mapping) and _holds_tensors(each)) for each in value.values()
    )


def open_tensors(path: Path, part: str = "") -> Tensors:
    """Return the arrays of the file `path`; its kind is read off its first bytes, not off its name.

    Args:
        part: entry of a training checkpoint, such as "model_ema"; "": the best of those there are.

    Raises:
        MissingError: no such file. CheckpointError: damaged, or of no kind that is known.
    """
    with faults_named(path, "read"):
        if not path.is_file():
            raise MissingError("no such file", where=str(path))
        if path.name.endswith(INDEX_SUFFIX):
            return Shards(path)
        with open(path, "rb") as file:
            head = file.read(9)
    if head[:2] == b"PK":
        return NpzFile(path) if _is_npz(path) else TorchFile(path, part)
    if head[8:9] == b"{":
        return SafetensorsFile(path)
    if head[:1] == b"\x80":
        return TorchFile(path, part)
    raise CheckpointError("is neither safetensors nor .npz nor a torch file", where=str(path), fix=_COPY)


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return path.suffix == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)
