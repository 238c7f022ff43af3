"""Where pictures come from: one list of entries and one `read`, whatever they are stored in.

`open_source` knows the built-in sets, folders of class folders, zip and tar archives (read in place), shards, and
tables of file names and labels. Every file it meets is listed as an entry, refused with a reason, or counted
as ignored (hidden files, files that are not pictures by their name).
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import ConfigError, DataError, MissingError
from ..files import fault_of

BUILT_IN = ("digits", "cifar10")
SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""folder names and table values, in small letters -> split"""
PICTURE_NAMES = re.compile(
    r".*\.(jpe?g|jpe|jfif|a?png|webp|gif|bmp|dib|tiff?|p[npgbf]m"
    r"|hei[cf]|avif|jp2|jxl|svg|psd|ico)",  # not read, but pictures to the people who put them there
    re.I | re.S,
)
TABLE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
HIDDEN = "hidden and system files"
_HIDDEN_PATHS = re.compile(r"(.*/)?(\.(?!\.?/)|(__macosx|thumbs\.db|desktop\.ini|\$recycle\.bin)(/|$))", re.I | re.S)
_SETTLED = 2 * 10**9
"""nanoseconds: a file written to less long ago may be written to again without another time of its own"""
_WANTED = "digits, cifar10, a folder, a .zip, a .tar, or shards, or a .csv, .jsonl or .parquet table"
_COMPRESSED = re.compile(r".*\.(tar\.[a-z0-9]+|tgz|tbz2?|txz|tzst)", re.I | re.S)

Progress = Callable[[int, int], None]
"""called with (done, total)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a source, not yet looked at."""

    path: str
    """from the root of the source, parts joined by /; bytes that are not UTF-8 are surrogates (os.fsdecode)"""
    label: str
    """name of the class; "" where none is asked for"""
    split: str
    """train, val, test, or "" where the source does not say"""


@dataclass
class Listing:
    """What a folder or an archive holds, before labels are known."""

    files: dict[str, Any] = field(default_factory=dict)
    """path of each picture -> what `read` needs"""
    tables: dict[str, Any] = field(default_factory=dict)
    """path of each metadata table -> what `read` needs"""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason)"""
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, handle: Any, fault: str = "") -> None:
        """File one path: an entry-to-be, a table, refused because of `fault`, or ignored."""
        name = path[path.rfind("/") + 1 :]
        if _HIDDEN_PATHS.match(path):
            self.ignored[HIDDEN] += 1
        elif not PICTURE_NAMES.fullmatch(name):
            if name.lower() in TABLE_NAMES and not fault:
                self.tables[path] = handle
            self.ignored[os.path.splitext(name)[1].lower() or "no extension"] += 1
        elif path in self.files:
            self.refused.append((path, "another file of this name is listed already"))
        elif fault:
            self.refused.append((path, fault))
        else:
            self.files[path] = handle


class Source:
    """Pictures by number, in the order of the bytes of their paths; `read` may be called from any thread."""

    def __init__(
        self,
        name: str,
        kind: str,
        entries: Iterable[tuple[Entry, Any]],
        refused: Iterable[tuple[str, str]],
        ignored: Counter[str],
    ):
        ordered = sorted(entries, key=lambda pair: os.fsencode(pair[0].path))
        self.name = name
        """as the user gave it"""
        self.location = name
        """what opens it again from any working folder"""
        self.kind = kind
        """digits, folder, zip, tar, shards, table, file"""
        self.entries = [entry for entry, _ in ordered]
        self.refused = sorted(refused, key=lambda pair: os.fsencode(pair[0]))
        """(path, reason) of what was met and cannot be read as a picture"""
        self.ignored = ignored
        """what was passed over -> how many files"""
        self._handles = [handle for _, handle in ordered]

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def index(self) -> dict[str, int]:
        """path -> number"""
        return {entry.path: number for number, entry in enumerate(self.entries)}

    def where(self, number: int) -> str:
        """Return the name of one picture for a message."""
        return f"{self.name}/{self.entries[number].path}"

    def read(self, number: int) -> bytes:
        """Return the bytes of one picture.

        Raises:
            DataError, MissingError, PermissionFault, ReadError: naming the picture.
        """
        return self._read(self._handles[number], self.where(number))

    def _read(self, handle: Any, where: str) -> bytes:
        raise NotImplementedError

    def stamp(self, number: int) -> int:
        """Return what stays the same while the file that holds a picture is not written to; 0: not known."""
        status = self._status(self._handles[number])
        if status is None or time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _SETTLED:
            return 0
        return hash((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))

    def _status(self, handle: Any) -> os.stat_result | None:
        """Return the status of the file that holds a picture, where there is one."""


def open_source(spec: str | os.PathLike[str], *, labelled: bool = True, progress: Progress | None = None) -> Source:
    """Return the source that `spec` names.

    Args:
        spec: digits, cifar10, a folder, a .zip, a .tar, shards (NAME-{000000..000007}.tar, one of them, their
            index or their folder), or a .csv, .jsonl or .parquet table.
        labelled: False to list pictures wherever they lie, also a single file, with the label "".
        progress: called with (done, total) bytes while cifar10 is downloaded.

    Raises:
        MissingError, PermissionFault, ReadError, DataError, ConfigError: it cannot be opened.
    """
    spec = os.fsdecode(spec)
    if not spec:
        raise ConfigError("no pictures are given", where="data.source", fix=f"Give {_WANTED}")
    if spec == "digits":
        from .digits import open_digits

        return open_digits()
    if spec == "cifar10":
        from .cifar10 import open_cifar10

        return open_cifar10(progress)
    source = _open_path(spec, labelled)
    source.location = os.path.abspath(spec)
    return source


def _open_path(spec: str, labelled: bool) -> Source:
    """Return the source that lies at a path."""
    from . import archive, folder, shards

    if spec.endswith(shards.INDEX) or shards.expand(spec):
        return shards.open_shards(spec, labelled)
    try:
        mode = os.stat(spec).st_mode
    except FileNotFoundError:
        raise MissingError("no such file or folder", where=spec, fix=f"Give {_WANTED}") from None
    except (OSError, ValueError) as error:
        raise fault_of(error if isinstance(error, OSError) else OSError(str(error)), spec, "read") from None
    lower = spec.lower()
    if stat.S_ISDIR(mode):
        if packed := shards.shards_in(spec):
            return shards.open_shards(packed, labelled)
        return folder.open_folder(spec, labelled)
    if not stat.S_ISREG(mode):
        raise DataError("is neither a file nor a folder", where=spec, fix=f"Give {_WANTED}")
    if lower.endswith(".zip"):
        return archive.open_zip(spec, labelled)
    if lower.endswith(".tar"):
        return shards.open_shards(spec, labelled) if shards.is_shard(spec) else archive.open_tar(spec, labelled)
    if _COMPRESSED.fullmatch(lower):
        fix = "Decompress it to a plain .tar (such as `gunzip FILE.tar.gz`), or pack the folder as .zip"
        raise DataError("a compressed tar cannot be read in place", where=spec, fix=fix)
    if lower.endswith((".csv", ".jsonl", ".parquet")):
        return folder.open_table(spec, labelled)
    if not labelled:
        return folder.open_file(spec)
    raise DataError("is not a kind of data set that is known", where=spec, fix=f"Give {_WANTED}")


def arrange(paths: Iterable[str], labelled: bool) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return entries and refused (path, reason) from where pictures lie.

    ROOT/{train,val,test}/CLASS/... or ROOT/CLASS/..., in at most one wrapping folder. A folder called train is
    a split, not a class, when all folders beside it are splits too, or a second one is.
    """
    if not labelled:
        return [Entry(path, "", "") for path in paths], []
    split_up = {path: path.split("/") for path in paths}
    if not _has_splits(split_up.values()) and _is_wrapped(split_up.values()):
        split_up = {path: parts[1:] for path, parts in split_up.items()}
    entries, refused = [], []
    splits = _has_splits(split_up.values())
    for path, parts in split_up.items():
        split = SPLIT_NAMES.get(parts[0].lower(), "") if splits else ""
        if splits and not split:
            refused.append((path, "lies outside of the train, val and test folders"))
        elif len(parts) < 2 + splits:
            refused.append((path, "does not lie in a class folder"))
        else:
            entries.append(Entry(path, parts[1] if splits else parts[0], split))
    return entries, refused


def _has_splits(paths: Iterable[list[str]]) -> bool:
    """Say whether the top folders are splits (with class folders in them)."""
    tops = {parts[0]: False for parts in paths if len(parts) > 1}
    for parts in paths:
        if len(parts) > 2:
            tops[parts[0]] = True
    names = {SPLIT_NAMES[top.lower()] for top, deep in tops.items() if deep and top.lower() in SPLIT_NAMES}
    alone = all(top.lower() in SPLIT_NAMES for top in tops)
    return bool(names) and (alone or ("train" in names and len(names) > 1))


def _is_wrapped(paths: Iterable[list[str]]) -> bool:
    """Say whether everything lies in one folder that holds several class folders, or splits."""
    tops = {parts[0] for parts in paths}
    inner = [parts[1:] for parts in paths]
    seconds = {parts[0] for parts in inner if len(parts) > 1}
    return len(tops) == 1 and all(inner) and (len(seconds) > 1 or _has_splits(inner))
