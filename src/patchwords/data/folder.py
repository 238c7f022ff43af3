"""Pictures in a folder, or named by a table of file names and labels."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from contextlib import suppress
from typing import Any

from ..decode import MAX_BYTES
from ..errors import DataError
from ..files import fault_of, read_bytes
from .sources import PICTURE_NAMES, Entry, Listing, Source, arrange
from .table import Row, entries_of, read_table

_KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))


class FolderSource(Source):
    """Pictures that are files below one folder."""

    root = ""
    """the folder, as an absolute path"""
    folder = ""
    """the folder as the user gave it"""

    def _read(self, handle: str, where: str) -> bytes:
        return read_regular(os.path.join(self.root, handle), where)

    def _status(self, handle: str) -> os.stat_result | None:
        with suppress(OSError):
            return os.stat(os.path.join(self.root, handle))

    def where(self, number: int) -> str:
        return os.path.join(self.folder, self.entries[number].path)


def read_regular(path: str, where: str) -> bytes:
    """Return the bytes of a regular file of at most `MAX_BYTES`; never waits on a pipe or device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataError(_kind_fault(status.st_mode), where=where, fix="Remove it")
            if status.st_size > MAX_BYTES:
                what = f"the file has {status.st_size:,} bytes, more than the limit of {MAX_BYTES:,}"
                raise DataError(what, where=where, fix="Make it smaller")
            data = os.read(descriptor, status.st_size + 1)
            while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
                data += more
            return data
        finally:
            os.close(descriptor)
    except OSError as error:
        raise fault_of(error, where, "read") from None


def _kind_fault(mode: int) -> str:
    kind = next((words for test, words in _KINDS if test(mode)), "a device")
    return f"is {kind}, not a file"


def list_folder(root: str) -> Listing:
    """Return what lies below `root`; every real folder is listed once, links to folders after real ones.

    Raises:
        MissingError, PermissionFault, ReadError: `root` itself cannot be listed.
    """
    listing = Listing()
    seen: set[tuple[int, int]] = set()
    pending, linked = [""], []
    while pending or linked:
        is_link = not pending
        folder = linked.pop(0) if is_link else pending.pop()
        try:
            status = os.stat(os.path.join(root, folder))
            if (status.st_dev, status.st_ino) in seen:
                listing.refused.append((folder, "is a link to a folder that is listed already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(root, folder)) as children:
                ordered = sorted(children, key=lambda child: os.fsencode(child.name))
        except OSError as error:
            if not folder:
                raise fault_of(error, root, "read") from None
            listing.refused.append((folder, f"the folder cannot be opened: {os.strerror(error.errno or 0)}"))
            continue
        for child in ordered:
            path = f"{folder}/{child.name}" if folder else child.name
            _file_child(listing, child, path, pending, linked)
        linked.sort(key=os.fsencode)
    return listing


def _file_child(listing: Listing, child: os.DirEntry[str], path: str, pending: list[str], linked: list[str]) -> None:
    """File one member of a folder: into the listing, or its path into the folders still to be listed."""
    if not child.is_symlink() and child.is_file(follow_symlinks=False):
        listing.add(path, path)
        return
    try:
        mode = os.stat(child).st_mode
    except OSError as error:
        faults = {errno.ENOENT: "is a broken link", errno.ELOOP: "is a link that leads back to itself"}
        fault = faults.get(error.errno or 0, f"cannot be read: {os.strerror(error.errno or 0)}")
        if "." in child.name[1:]:
            listing.add(path, path, fault)
        else:
            listing.refused.append((path, fault))
        return
    hidden = child.name.startswith(".") or child.name.lower() == "__macosx"
    if not stat.S_ISDIR(mode) or hidden or PICTURE_NAMES.fullmatch(child.name):
        listing.add(path, path, "" if stat.S_ISREG(mode) else _kind_fault(mode))
    elif child.is_symlink():
        linked.append(path)
    else:
        pending.append(path)


def open_folder(root: str, labelled: bool) -> Source:
    """Return the pictures below `root`, labelled by a metadata table where there is one, else by their folder."""
    listing = list_folder(root)
    entries, refused = entries_of_listing(listing, labelled, lambda path: read_bytes(os.path.join(root, path)))
    pairs = ((entry, entry.path) for entry in entries)
    source = FolderSource(root, "folder", pairs, listing.refused + refused, listing.ignored)
    source.root, source.folder = os.path.abspath(root), root
    return source


def entries_of_listing(listing: Listing, labelled: bool, read: Any) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return entries and refused (path, reason) by the tables that lie in it, or by where the pictures lie."""
    rows: list[Row] = []
    for path in sorted(listing.tables, key=os.fsencode) if labelled else ():
        rows += read_table(read(listing.tables[path]), path)
    if not any(row.label for row in rows):
        return arrange(listing.files, labelled)
    entries, refused = entries_of(rows, labelled)
    known = listing.files.keys() | {path for path, _ in listing.refused}
    refused += [(entry.path, "is named in a table and is not there") for entry in entries if entry.path not in known]
    entries = [entry for entry in entries if entry.path in listing.files]
    named = {entry.path for entry in entries} | {path for path, _ in refused}
    refused += [(path, "is not named in the metadata table") for path in listing.files if path not in named]
    return entries, refused


def open_table(path: str, labelled: bool) -> Source:
    """Return the pictures named by a .csv, .jsonl or .parquet table with file_name, label and perhaps split."""
    needed = ("file_name", "label") if labelled else ("file_name",)
    rows = read_table(read_bytes(path), os.path.basename(path), needed=needed, where=path)
    entries, refused = entries_of(rows, labelled)
    source = FolderSource(path, "table", ((entry, entry.path) for entry in entries), refused, Counter())
    source.folder = os.path.dirname(path)
    source.root = os.path.abspath(source.folder)
    return source


def open_file(path: str) -> Source:
    """Return a source of one picture without a label."""
    entry = Entry(os.path.basename(path), "", "")
    source = FolderSource(path, "file", [(entry, os.path.abspath(path))], (), Counter())
    source.folder = os.path.dirname(path)
    source.root = os.path.abspath(source.folder)
    return source
