"""Arrays on their way to the page: a line of JSON that describes them, then their bytes; and the same as .npz.

    4 bytes    N, little-endian
    N bytes    JSON {"arrays": [{"name", "dtype", "shape"}, ...], "meta": {...}}, padded with spaces
    then       each array, little-endian, rows first, padded to a multiple of 8

4 + N is a multiple of 8, so that every array starts where a typed array of the page can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..files import npz_bytes
from .plain import json_bytes

_TYPES = ("float16", "float32")
_ALIGNED = 8


@dataclass(frozen=True)
class Answer:
    """What was asked for: arrays, and what to know about them."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    """float16 or float32"""

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes, about."""
        return 1024 + sum(array.nbytes for array in self.arrays.values()) + len(json_bytes(self.meta))


def pack(answer: Answer) -> list[memoryview]:
    """Return the packed bytes in parts; arrays are not copied."""
    arrays = {name: _little(array) for name, array in answer.arrays.items()}
    told = [{"name": name, "dtype": array.dtype.name, "shape": array.shape} for name, array in arrays.items()]
    head = json_bytes({"arrays": told, "meta": answer.meta})
    head += b" " * (-(4 + len(head)) % _ALIGNED)
    parts = [memoryview(len(head).to_bytes(4, "little") + head)]
    for array in arrays.values():
        parts += [memoryview(array).cast("B") if array.size else memoryview(b""), memoryview(bytes(-array.nbytes % 8))]
    return [part for part in parts if len(part)]


def npz(answer: Answer) -> bytes:
    """Return the arrays as .npz, with `meta` as JSON text; numpy.load reads it without pickles."""
    return npz_bytes(answer.arrays | {"meta": np.asarray(json_bytes(answer.meta).decode())})


def _little(array: np.ndarray) -> np.ndarray:
    assert array.dtype.name in _TYPES, array.dtype
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")
