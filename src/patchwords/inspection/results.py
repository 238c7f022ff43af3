"""What every inspection returns: frozen numbers with units, as tables (CSV) and as arrays (NPZ).

A result is a frozen dataclass of numpy arrays (float32 or whole numbers) and plain values. Units are in the names:
`_px` pixels of the picture, `_share` in 0..1, `_nats`. Arrays are indexed from 0; tables count from 1, as the paper's
figures do: layers 1..L (eq. 2; layer 0 is the embedding z_0), heads, pictures, rows and columns of patches.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np

from ..errors import printable
from ..files import npz_bytes, write_atomic

Progress = Callable[[int, int], None]
"""called with (steps done, steps in all) while long work goes on"""
Row = dict[str, str | int | float]
"""one line of a table: column -> value"""

_FORMULA = ("=", "+", "-", "@")
"""first characters that spreadsheets take for a formula"""


class Result(Protocol):
    """A frozen dataclass of one inspection."""

    __dataclass_fields__: Any

    def rows(self) -> list[Row]:
        """Return the numbers as one long table, a measured thing a line."""
        ...


def table(axes: Sequence[str | tuple[str, Sequence[str | int]]], **columns: np.ndarray) -> list[Row]:
    """Return the long table of arrays of one shape: a line for each element, the axes first.

    Args:
        axes: a name for each axis of the arrays, counted from 1, or (name, labels) to say what stands there instead.
        columns: name -> array; all of one shape, with as many axes as are named.

    Example:
        >>> table(["layer", ("head", ["a", "b"])], distance_px=np.array([[1.5, 2.0]]))
        [{'layer': 1, 'head': 'a', 'distance_px': 1.5}, {'layer': 1, 'head': 'b', 'distance_px': 2.0}]
    """
    shape = next(iter(columns.values())).shape
    names = [axis if isinstance(axis, str) else axis[0] for axis in axes]
    labels = [
        range(1, count + 1) if isinstance(axis, str) else axis[1] for axis, count in zip(axes, shape, strict=True)
    ]
    places = [dict(zip(names, place, strict=True)) for place in product(*labels)]
    values = [array.ravel().tolist() for array in columns.values()]
    if any(array.shape != shape for array in columns.values()):
        raise ValueError(f"columns of different shapes: { {name: a.shape for name, a in columns.items()} }")
    measured = zip(*values, strict=True)
    return [place | dict(zip(columns, numbers, strict=True)) for place, numbers in zip(places, measured, strict=True)]


def arrays(result: Result) -> dict[str, np.ndarray]:
    """Return every field of `result` as an array without objects.

    Fields of a result inside a result are named `outer.inner`, entries of a dict `field.key`; None is left out.
    """
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return dict(_flatten(fields))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, np.ndarray]]:
    found = []
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            found += _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            array = np.asarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"{prefix}{name} is no array of numbers or text")
            found.append((prefix + name, array))
    return found


def write_npz(path: str | os.PathLike[str], result: Result) -> None:
    """Write `arrays(result)`; numpy.load reads it without pickles, and equal results give equal bytes.

    Raises:
        WriteError, PermissionFault: nothing was changed.
    """
    write_atomic(path, npz_bytes(arrays(result)))


def write_csv(path: str | os.PathLike[str], result: Result) -> None:
    """Write `result.rows()` as CSV (UTF-8); numbers with 9 digits, so that a float32 survives.

    Text comes from users (names of classes and files): a spreadsheet shall not run it, so that an apostrophe is put
    before what begins with = + - @, and control characters are escaped.

    Raises:
        WriteError, PermissionFault: nothing was changed.
    """
    rows = result.rows()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(row.get(name, "")) for name in columns] for row in rows)
    write_atomic(path, buffer.getvalue())


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if not isinstance(value, str):
        return str(int(value))
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
