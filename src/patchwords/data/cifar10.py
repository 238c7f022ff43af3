"""CIFAR-10: 50,000 + 10,000 pictures of 32x32 in 10 classes, from a local copy, the cache or its home page.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). The binary version is
fetched (a record is one label byte and 3,072 pixel bytes; the other version is a pickle), checked by
sha256, and written once as a zip of PNG files, which is then read in place as any other data set.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import os
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DataError, ReadError
from ..files import alone, faults_named
from .folder import FolderSource
from .sources import Progress, Source, open_source

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
"""the environment variable PATCHWORDS_CIFAR10_URL names another place with the same file"""
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
"""of cifar-10-binary.tar.gz, 170,052,171 bytes"""
STORE = "cifar10.zip"
_ARCHIVE = "cifar-10-binary.tar.gz"
_LOCAL = (STORE, "cifar10", "cifar-10")
_RECORD = 1 + 3 * 32 * 32
_TIMEOUT_SECONDS = 60
_REMOVE = "Remove it, then run the same command again"


def cache_folder() -> Path:
    """Return where fetched data sets are kept: PATCHWORDS_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("PATCHWORDS_CACHE") or os.path.join(home, "patchwords"))


def open_cifar10(progress: Progress | None = None) -> Source:
    """Return CIFAR-10 with its train and test splits.

    Looked for in PATCHWORDS_DATA (a zip, a folder of class folders, or a folder that holds one of them as
    cifar10.zip or cifar10/), then in the cache; else downloaded.

    Raises:
        ReadError: it cannot be downloaded; the same command again goes on where it stopped.
        DataError: what was downloaded is something else.
    """
    local = _local_copy()
    if local is None:
        local = cache_folder() / STORE
        with faults_named(local.parent, "write"):
            local.parent.mkdir(parents=True, exist_ok=True)
        with alone(local.parent / f"{STORE}.lock"):
            if not local.exists():
                archive = local.parent / _ARCHIVE
                download(os.environ.get("PATCHWORDS_CIFAR10_URL") or URL, archive, SHA256, progress)
                build_store(archive, local)
                archive.unlink(missing_ok=True)
    source = open_source(local)
    source.name = source.location = "cifar10"
    if isinstance(source, FolderSource):
        source.folder = "cifar10"
    return source


def _local_copy() -> Path | None:
    given = os.environ.get("PATCHWORDS_DATA", "")
    if not given:
        return None
    if os.path.isfile(given) or os.path.isdir(os.path.join(given, "train")):
        return Path(given)
    return next((Path(given, name) for name in _LOCAL if os.path.exists(os.path.join(given, name))), None)


def download(url: str, target: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetch `url` to `target`, going on where an earlier try stopped, and check its sha256.

    Args:
        url: http or https.
        target: file to write; until it is whole and checked it is called `target`.part.
        sha256: that the file must have.
        progress: called with (done, total) bytes; total is 0 where the server does not say.

    Raises:
        ReadError: the connection failed or ended early; what came is kept.
        DataError: another sha256; what came is removed.
        WriteError: it cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    with faults_named(part, "write"):
        part.touch()
    if _hash_of(part) != sha256:
        _fetch(url, part, progress)
    found = _hash_of(part)
    if found != sha256:
        part.unlink()
        what = f"what came from {url} is another file (its sha256 is {found}, not {sha256})"
        raise DataError(what, where=str(target), fix="Try again later, or put a copy into the folder PATCHWORDS_DATA")
    with faults_named(target, "write"):
        os.replace(part, target)


def _fetch(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what it lacks of `url`; from the start where the server cannot go on."""
    have = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with contextlib.ExitStack() as stack:
            try:
                answer = stack.enter_context(urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS))
            except urllib.error.HTTPError as error:
                if error.code == 416:  # nothing lies beyond what we have, and that is not the file
                    part.write_bytes(b"")
                raise
            if answer.status != 206:
                have = 0
            total = have + int(answer.headers.get("Content-Length") or -have)
            with faults_named(part, "write"):
                file = stack.enter_context(open(part, "r+b" if have else "wb"))
                file.seek(have)
            while block := answer.read(2**18):
                with faults_named(part, "write"):
                    file.write(block)
                have += len(block)
                if progress:
                    progress(have, total)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        fix = "The same command again goes on from there; or put a copy into the folder PATCHWORDS_DATA"
        raise ReadError(f"cannot be downloaded ({reason}); {have:,} bytes are kept", where=url, fix=fix) from None
    if total and have < total:
        fix = "The same command again goes on from there"
        raise ReadError(f"the download ended after {have:,} of {total:,} bytes", where=url, fix=fix)


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with faults_named(path, "read"), open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def build_store(archive: Path, store: Path) -> None:
    """Write the pictures of the binary version as {train,test}/CLASS/NUMBER.png in a zip, stored.

    Raises:
        DataError: the archive is not the binary version. WriteError: the store cannot be written.
    """
    contents = _read_archive(archive)
    temporary = store.with_name(f".tmp-{store.name}")
    try:
        classes = contents["batches.meta.txt"].decode().split()
        with faults_named(store, "write"):
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
                for number in range(1, 6):
                    _store_batch(target, "train", contents[f"data_batch_{number}.bin"], classes, number)
                _store_batch(target, "test", contents["test_batch.bin"], classes, 1)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, store)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(f"is not the binary version of CIFAR-10 ({error})", where=str(archive), fix=_REMOVE) from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_archive(archive: Path) -> dict[str, bytes]:
    """Return {file name: bytes} of a tar.gz of a few files."""
    try:
        with tarfile.open(archive, "r:gz") as members:
            files = {os.path.basename(info.name): members.extractfile(info) for info in members if info.isreg()}
            return {name: file.read() for name, file in files.items() if file}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        what = f"is not a whole tar.gz archive ({' '.join(str(error).split())[:80]})"
        raise DataError(what, where=str(archive), fix=_REMOVE) from None


def _store_batch(target: zipfile.ZipFile, split: str, data: bytes, classes: list[str], batch: int) -> None:
    """Append the records of one batch file; `batch` makes their numbers run on."""
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    pictures = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    first = (batch - 1) * len(records)
    for number, (label, pixels) in enumerate(zip(records[:, 0].tolist(), pictures, strict=True), start=first):
        png = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(png, "PNG")
        target.writestr(zipfile.ZipInfo(f"{split}/{classes[label]}/{number:05d}.png"), png.getvalue())
