"""One safetensors file, read tensor by tensor, each into memory of its own.

The safetensors library maps the file into memory: a model loaded so changes, or dies, with its file. Here every
tensor is a copy, read straight to where it stays, and the sha256 of the whole file is taken on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError
from .files import Entry, faults_named, require_entry

Shape = tuple[int, ...]

_HEADER_LIMIT = 100_000_000
"""bytes, that of the safetensors library"""
_HUGE_PAGE = 1 << 21
_KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_COPY = "The file is damaged or of another kind; use a copy"


class TensorFile:
    """A .safetensors file whose header has been read and checked.

    Attributes:
        path: the file.
        shapes: name -> shape, in the order of the bytes.

    Raises:
        CheckpointError: not such a file, or cut; MissingError, PermissionFault: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with faults_named(path, "read"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._descriptor)
            size = os.fstat(self._descriptor).st_size
            head = os.pread(self._descriptor, 8, 0)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > min(_HEADER_LIMIT, size - 8):
                raise CheckpointError("is not a safetensors file, or cut", where=str(path), fix=_COPY)
            raw = os.pread(self._descriptor, length, 8)
        self._head = head + raw
        self._entries = self._parsed(raw, size)
        self.shapes: dict[str, Shape] = {name: shape for name, (_, shape, _, _) in self._entries.items()}

    def read(self, name: str) -> Tensor:
        """Return the tensor `name` in the type in which it is stored.

        Raises:
            CheckpointError: the file has been cut since it was opened.
        """
        kind, shape, begin, count = self._entries[name]
        tensor = new_tensor(shape, kind)
        memory, done = _bytes_of(tensor), 0
        with faults_named(self.path, "read"):
            while done < count:  # one call reads 2 GiB at most
                got = os.preadv(self._descriptor, [memory[done:]], len(self._head) + begin + done)
                if not got:
                    raise CheckpointError(f"ends inside {name}", where=str(self.path), fix=_COPY)
                done += got
        return tensor

    def read_checked(self, entry: Entry) -> dict[str, Tensor]:
        """Return every tensor, once the bytes that were read are those that `entry` tells the sha256 of.

        The sha256 is taken in a second thread while the next tensor is read.
        """
        digest = hashlib.sha256(self._head)
        with ThreadPoolExecutor(1, "sha256") as thread:
            tensors = {}
            for name in self._entries:
                tensors[name] = self.read(name)
                thread.submit(digest.update, _bytes_of(tensors[name]))
        count = len(self._head) + sum(count for _, _, _, count in self._entries.values())
        require_entry(self.path, Entry(count, digest.hexdigest()), entry)
        return tensors

    def _parsed(self, raw: bytes, size: int) -> dict[str, tuple[torch.dtype, Shape, int, int]]:
        """Return name -> (type, shape, first byte, bytes); together they must fill the file exactly."""
        entries = {}
        try:
            for name, entry in json.loads(raw).items():
                if name == "__metadata__":
                    continue
                kind, shape, (begin, end) = _KINDS[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
                whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
                if not whole or end - begin != math.prod(shape) * kind.itemsize:
                    raise ValueError(f"{name} of shape {shape} in bytes {begin} to {end}")
                entries[name] = (kind, shape, begin, end - begin)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"has a damaged header ({error})", where=str(self.path), fix=_COPY) from None
        entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
        self._require_filled(((name, begin, count) for name, (_, _, begin, count) in entries.items()), size)
        return entries

    def _require_filled(self, places: Iterable[tuple[str, int, int]], size: int) -> None:
        end = 0
        for name, begin, count in places:
            if begin != end:
                what = f"{name} does not lie behind the tensor before it"
                raise CheckpointError(what, where=str(self.path), fix=_COPY)
            end += count
        if len(self._head) + end != size:
            what = f"has {size} bytes, its header describes {len(self._head) + end}"
            raise CheckpointError(what, where=str(self.path), fix=_COPY)


def new_tensor(shape: Shape, kind: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor of any values, where the system can do so in huge pages.

    In the usual pages of 4 KiB, being given the memory of a large tensor takes about as long as copying the numbers in.
    """
    count = math.prod(shape) * kind.itemsize
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or count < _HUGE_PAGE:
        return torch.empty(shape, dtype=kind)
    memory = mmap.mmap(-1, count + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -np.frombuffer(memory, np.uint8).ctypes.data % _HUGE_PAGE
    with contextlib.suppress(OSError):  # a system without them
        memory.madvise(advice, start, count // _HUGE_PAGE * _HUGE_PAGE)  # whole ones: no memory beyond the tensor
    return torch.frombuffer(memory, dtype=kind, count=math.prod(shape), offset=start).view(shape)


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())
