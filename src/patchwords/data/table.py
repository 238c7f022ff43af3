"""Tables of file names and labels: .csv, .jsonl and .parquet with `file_name`, `label` and perhaps `split`."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DataError, nearest
from .sources import SPLIT_NAMES, Entry

_NEEDED = "A table needs the columns file_name and label, and may have split (train, val, test)"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    path: str
    """from the root of the source; "" where it leads outside of the table's folder"""
    given: str
    """file_name as written"""
    label: str
    split: str
    """train, val, test or "" """


def read_table(data: bytes, path: str, *, needed: Iterable[str] = (), where: str = "") -> list[Row]:
    """Return the rows of a table; none when it has no file_name column.

    Args:
        data: the whole file.
        path: of the table from the root of the source; its ending says the kind, file names start at its folder.
        needed: columns that must be there.
        where: name of the file for a message.

    Raises:
        DataError: not a table, or without the columns; names the line.
        ConfigError: parquet without pyarrow.
    """
    where = where or path
    readers = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
    columns, rows = readers[path.rsplit(".", 1)[-1].lower()](data, where)
    for name in needed:
        if name not in columns:
            raise DataError(f"has no column {name}; it has {', '.join(columns) or 'none'}", where=where, fix=_NEEDED)
    if "file_name" not in columns:
        return []
    folder = posixpath.dirname(path)
    return [_row(values, folder, f"{where}, row {number}") for number, values in enumerate(rows, start=1)]


def _row(values: dict[str, Any], folder: str, where: str) -> Row:
    given, label, split = (_text(values.get(name)) for name in ("file_name", "label", "split"))
    if not given:
        raise DataError("has no file_name", where=where, fix=_NEEDED)
    if split and split.lower() not in SPLIT_NAMES:
        raise DataError(f"{split!r} is not a split", where=where, fix=nearest(split, SPLIT_NAMES))
    joined = posixpath.normpath(posixpath.join(folder, given))
    outside = given.startswith("/") or joined.split("/")[0] == ".." or "\0" in given
    named_by_folder = SPLIT_NAMES.get(folder.split("/")[0].lower(), "")
    return Row("" if outside else joined, given, label, SPLIT_NAMES.get(split.lower(), named_by_folder))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def entries_of(rows: Iterable[Row], labelled: bool) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return entries and refused (path, reason) of table rows."""
    entries: dict[str, Entry] = {}
    refused = []
    for row in rows:
        if not row.path:
            refused.append((row.given, "leads outside of the table's folder"))
        elif labelled and not row.label:
            refused.append((row.path, "has no label in the table"))
        elif row.path in entries:
            refused.append((row.path, "is named twice in the table"))
        else:
            entries[row.path] = Entry(row.path, row.label if labelled else "", row.split)
    return list(entries.values()), refused


def _read_csv(data: bytes, where: str) -> tuple[list[str], Iterator[dict[str, Any]]]:
    text = data.decode("utf-8-sig", "surrogateescape")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = list(reader)
    except csv.Error as error:
        raise DataError(f"is not a table: {error}", where=f"{where}, line {reader.line_num}", fix=_NEEDED) from None
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise DataError("has more values than the header", where=f"{where}, row {number}", fix=_NEEDED)
    return columns, iter(rows)


def _read_jsonl(data: bytes, where: str) -> tuple[list[str], Iterator[dict[str, Any]]]:
    rows = []
    columns: dict[str, None] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig", "surrogateescape"))
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError("is not a JSON object", where=f"{where}, line {number}", fix=_NEEDED)
        rows.append(row)
        columns.update(dict.fromkeys(row))
    return list(columns), iter(rows)


def _read_parquet(data: bytes, where: str) -> tuple[list[str], Iterator[dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        fix = "pip install pyarrow, or save the table as .csv"
        raise ConfigError("reading parquet needs pyarrow", where=where, fix=fix) from None
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        columns = file.schema_arrow.names
        table = file.read(columns=[name for name in ("file_name", "label", "split") if name in columns])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"is not a parquet table: {' '.join(str(error).split())[:100]}", where=where) from None
    return list(columns), iter(table.to_pylist())
