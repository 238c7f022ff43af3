"""The one writer: temporary name in the same folder, write, fsync, rename, fsync the folder; sha256 throughout."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError, MissingError, PatchwordsError, PermissionFault, ReadError, WriteError

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
UNCHECKED = ("README.md",)
"""files of a folder that people may edit: they carry no sha256 and are never loaded"""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fault_of(error: OSError, path: str | os.PathLike[str], doing: str) -> PatchwordsError:
    """Return the one-line error for an operating-system failure while `doing` ("write", "read") `path`."""
    where, why = os.fsdecode(path), os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "Give a folder that you may write to" if doing == "write" else "Change its permissions"
        return PermissionFault(f"cannot {doing}: {why}", where=where, fix=fix)
    if doing == "write" and error.errno in _FULL:
        return WriteError(f"cannot write: {why}", where=where, fix="Free some space, then run the same command again")
    if error.errno == errno.ENOENT:
        return MissingError("no such file or folder", where=where)
    if doing == "write" and error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return WriteError(f"cannot write: {why}", where=where, fix="Give another path")
    return ReadError(f"cannot {doing}: {why}", where=where)


@contextlib.contextmanager
def faults_named(path: str | os.PathLike[str], doing: str) -> Iterator[None]:
    """Turn an OSError inside the block into the PatchwordsError that names `path`."""
    try:
        yield
    except OSError as error:
        raise fault_of(error, error.filename or path, doing) from error


@contextlib.contextmanager
def held(folder: Path, busy: Callable[[str], PatchwordsError]) -> Iterator[None]:
    """Make `folder`, hold it for this process, and clear what an interrupted writer left in it.

    Args:
        busy: from the number of the process that holds it to the error that is raised then.

    Raises:
        WriteError: it cannot be made.
    """
    with faults_named(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise busy(os.read(descriptor, 32).decode(errors="replace").strip() or "unknown") from None
        with faults_named(folder / ".lock", "write"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        remove_temporaries(folder)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process at a time into the block; the others wait, then find the work done."""
    with faults_named(lock, "write"):
        file = open(lock, "wb")  # noqa: SIM115 - closed below
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync_folder(folder: Path) -> None:
    """Make the renames done in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` to `path` so that at every instant the old or the new content is there, whole.

    Raises:
        WriteError, PermissionFault: nothing was changed and no temporary file is left.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    data = data.encode() if isinstance(data, str) else data
    with faults_named(path, "write"):
        try:
            _write_synced(temporary, data)
            os.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return `arrays` as .npz; numpy.load reads it without pickles, and equal arrays give equal bytes."""
    import numpy as np  # here: the command line starts without it

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON, ASCII only: names that are not UTF-8 survive."""
    return json.dumps(value, ensure_ascii=True)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of `path`, or raise the error that names it."""
    with faults_named(path, "read"), open(path, "rb") as file:
        return file.read()


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the JSON in `path`.

    Raises:
        CheckpointError: the file is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError("is not valid JSON", where=str(path), fix="The file is damaged; use a copy") from error


def read_yaml(path: Path) -> Any:
    """Return the parsed content of a YAML file, or raise CheckpointError."""
    import yaml  # here: a model can be built and used without it

    try:
        return yaml.safe_load(read_bytes(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError("is not valid YAML", where=str(path), fix="Restore it, or give another --out") from error


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{TEMPORARY}old-{folder.name}")


@dataclass(frozen=True)
class Entry:
    """What a manifest says of one file."""

    size: int
    """bytes"""
    sha256: str


def _entry(data: bytes) -> Entry:
    return Entry(len(data), hashlib.sha256(data).hexdigest())


def _manifest_bytes(entries: dict[str, Entry]) -> bytes:
    described = {name: {"bytes": entry.size, "sha256": entry.sha256} for name, entry in entries.items()}
    return json.dumps({"version": 1, "files": described}, indent=1).encode()


def write_folder(folder: Path, contents: Mapping[str, bytes], manifest: bool = True) -> None:
    """Write a folder of files with a sha256 manifest; it appears under its name whole or not at all.

    An existing `folder` is moved aside first and removed when the new one is in place; between the two
    renames `read_folder` finds the old one where it was moved.

    Args:
        folder: path of the new folder; its parent exists.
        contents: file name -> bytes.
        manifest: add `manifest.json`; without it the folder is another library's, as that library writes it.

    Raises:
        WriteError, PermissionFault: what was there before is still there, and no temporary file is left.
    """
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
    with faults_named(folder, "write"):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            os.mkdir(temporary)
            for name, data in contents.items():
                _write_synced(temporary / name, data)
            if manifest:
                checked = {name: _entry(data) for name, data in contents.items() if name not in UNCHECKED}
                _write_synced(temporary / MANIFEST, _manifest_bytes(checked))
            sync_folder(temporary)
            if folder.exists():
                remove_folder(_aside(folder))
                os.rename(folder, _aside(folder))
            os.rename(temporary, folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not folder.exists() and _aside(folder).exists():
                os.rename(_aside(folder), folder)
            raise
        sync_folder(folder.parent)
    remove_folder(_aside(folder))


def remove_folder(folder: Path) -> None:
    """Remove a folder so that no half-removed one is ever seen under its name."""
    if folder.exists():
        doomed = folder.with_name(f"{TEMPORARY}gone-{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def remove_temporaries(parent: Path) -> None:
    """Remove what an interrupted writer left in `parent`; a folder moved aside whose new one never came goes back."""
    for path in sorted(parent.glob(f"{TEMPORARY}*")):
        original = parent / path.name.removeprefix(f"{TEMPORARY}old-")
        if path.name.startswith(f"{TEMPORARY}old-") and not original.exists():
            path.rename(original)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def open_folder(folder: Path) -> tuple[Path, dict[str, Entry]]:
    """Return where a folder made by `write_folder` lies, and what its manifest says of each file.

    Raises:
        MissingError: no such folder. CheckpointError: the manifest is damaged, or a file is missing; names it.
    """
    if not folder.is_dir() and _aside(folder).is_dir():
        folder = _aside(folder)
    if not folder.is_dir():
        raise MissingError("no such folder", where=str(folder))
    if not (folder / MANIFEST).exists():
        raise CheckpointError(
            f"has no {MANIFEST}", where=str(folder), fix="It was not written by patchwords, or not whole"
        )
    raw = read_bytes(folder / MANIFEST)
    try:
        entries = {name: Entry(e["bytes"], e["sha256"]) for name, e in json.loads(raw)["files"].items()}
        sound = _manifest_bytes(entries) == raw
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound or any("/" in name or "\0" in name or name in ("", ".", "..") for name in entries):
        raise CheckpointError("is damaged", where=str(folder / MANIFEST), fix="Use a copy of the folder")
    for name in entries:
        if not (folder / name).exists():
            raise CheckpointError("is missing", where=str(folder / name), fix="Use a copy of the folder")
    return folder, entries


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return {file name: bytes} of a folder made by `write_folder`, every byte checked against its sha256.

    The bytes are read once and checked in memory: a file changed afterwards cannot reach the caller.

    Raises:
        MissingError: no such folder. CheckpointError: a file is missing, cut or changed; names it.
    """
    folder, entries = open_folder(folder)
    return {name: read_checked(folder / name, entry) for name, entry in entries.items()}


def read_checked(path: Path, entry: Entry) -> bytes:
    """Return the content of `path`, or raise CheckpointError when it is not what `entry` says."""
    data = read_bytes(path)
    require_entry(path, _entry(data), entry)
    return data


def require_entry(path: Path, found: Entry, wanted: Entry) -> None:
    """Raise CheckpointError when what was `found` in the file `path` is not what the manifest says."""
    if found != wanted:
        cut = found.size != wanted.size
        detail = f"has {found.size} bytes, not {wanted.size}" if cut else "does not match its sha256"
        raise CheckpointError(detail, where=str(path), fix="The file is damaged; use a copy")
