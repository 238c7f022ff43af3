"""`hf:owner/name`: the files of a model of the Hugging Face Hub, from its cache where they are there already.

    hf:owner/name                      the newest version
    hf:owner/name@v1.0                 a branch, a tag or a commit
    hf:owner/name:weights/B_16.npz     one file where a repository has several models; @revision goes before the colon

huggingface_hub does the work, with its cache, its settings and its token: HF_HOME, HF_TOKEN, HF_ENDPOINT,
HF_HUB_OFFLINE. What is fetched: the descriptions beside the weights, and one set of weights, safetensors before all
others. A version that is there whole is used without the network when there is none; a commit, always.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType

from ..errors import ConfigError, MissingError, PatchwordsError, PermissionFault, ReadError
from ..files import MANIFEST, fault_of

SCHEME = "hf:"
_SHAPE = "Give hf:owner/name, hf:owner/name@revision or hf:owner/name:file"
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"(?!.*\.\.)(?!.*//)[A-Za-z0-9_](?:[\w./+-]*[\w+-])?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DESCRIPTIONS = ("config.json", "preprocessor_config.json", MANIFEST, "README.md")
"""fetched whenever they are there; all small"""
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
_INDEX = ".index.json"
_WEIGHTS = ("model.safetensors", "*.safetensors", "*.npz", "pytorch_model.bin", "*.bin", "*.pth", "*.pt")
"""what is taken for the weights, the best first: pickles only when there is nothing else"""
_TOKEN = "set HF_TOKEN to a token from huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Name:
    """The parts of `hf:owner/name@revision:file`."""

    repository: str
    """owner/name"""
    revision: str = ""
    """"": the main branch"""
    file: str = ""
    """path in the repository; "": the model at its top"""

    def __str__(self) -> str:
        revision, file = self.revision and f"@{self.revision}", self.file and f":{self.file}"
        return f"{SCHEME}{self.repository}{revision}{file}"


def is_name(text: str | Path) -> bool:
    """Return whether `text` is meant as a name of the hub."""
    return str(text).startswith(SCHEME)


def parse(text: str) -> Name:
    """Return the parts of `text`.

    Raises:
        ConfigError: it is no such name.
    """
    rest, colon, file = text.removeprefix(SCHEME).partition(":")
    repository, at, revision = rest.partition("@")
    parts = repository.split("/")
    sound = len(parts) == 2 and all(_PART.fullmatch(p) and "--" not in p and ".." not in p for p in parts)
    if not is_name(text) or not sound or (at and not _REVISION.fullmatch(revision)):
        raise ConfigError("is not a name of the hub", where=text, fix=_SHAPE)
    if colon and (not file or not file.isprintable() or {"", ".", ".."} & set(file.split("/")) or "\\" in file):
        raise ConfigError(f"{file!r} is not a path in a repository", where=text, fix=_SHAPE)
    return Name(repository, revision, file)


def fetch(text: str) -> Path:
    """Return the folder of a model of the hub on this machine, or its file when `text` names one.

    Raises:
        ConfigError: no such name, several models where no file is named, or huggingface_hub is not installed.
        MissingError: no such model, version or file. PermissionFault: it asks for a token, or for another one.
        ReadError: the hub does not answer and the model is not in the cache, or the transfer broke.
    """
    name, hub = parse(text), _library()
    with _quiet(hub), _faults_named(hub, name):
        if _COMMIT.fullmatch(name.revision) and (found := _cached(hub, name)):
            return found  # a commit never changes
        try:
            files = _listed(hub, name)
        except Exception as error:
            if not _is_unreachable(hub, error):
                raise
            if found := _cached(hub, name):
                return found
            raise
        wanted = chosen(files, name)
        asked = {"revision": name.revision or None, "allow_patterns": [glob.escape(file) for file in wanted]}
        folder = Path(hub.snapshot_download(name.repository, library_name="patchwords", **asked))
        missing = [file for file in wanted if not (folder / file).is_file()]
        if missing:
            raise ReadError(f"{missing[0]} did not arrive", where=str(name), fix="Run the same command again")
        return folder / name.file if name.file else folder


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.utils
    except ImportError:
        fix = "Install it: pip install 'patchwords[hub]'"
        raise ConfigError("huggingface_hub is not installed", where=SCHEME, fix=fix) from None
    return huggingface_hub


# Which files -----------------------------------------------------------------------------------------


def chosen(files: list[str], name: Name) -> list[str]:
    """Return those of a repository's `files` that make up the model that `name` means.

    Raises:
        MissingError: there is none. ConfigError: there are several.
    """
    if name.file and name.file not in files:
        near = [file for file in files if PurePosixPath(file).suffix == PurePosixPath(name.file).suffix]
        fix = f"It has {_some(near)}" if near else f"It has {_some(files)}"
        raise MissingError(f"has no file {name.file}", where=str(name), fix=fix)
    folder = name.file.rpartition("/")[0]
    beside = [file for file in files if file.rpartition("/")[0] == folder]
    weights = _parts_of(name.file, beside) if name.file else _best(beside, name)
    return sorted({*weights, *(file for file in _descriptions(name) if file in beside)})


def _descriptions(name: Name) -> list[str]:
    """Return where descriptions lie that belong to the weights: in their folder."""
    folder, slash, _ = name.file.rpartition("/")
    return [f"{folder}{slash}{each}" for each in _DESCRIPTIONS]


def _best(files: list[str], name: Name) -> list[str]:
    """Return the files of the best weights among `files`, all of one folder."""
    for pattern in _WEIGHTS:
        found = sorted(file for file in files if PurePosixPath(_stem(file)).match(pattern))
        if len({_stem(file) for file in found}) > 1:
            fix = f"Name one: {SCHEME}{name.repository}:FILE"
            raise ConfigError(f"holds several models: {_some(found)}", where=str(name), fix=fix)
        if found:
            return _parts_of(found[0], files)
    fix = f"It has {_some(files)}" if files else "It is empty"
    raise MissingError("holds no weights that can be read (safetensors, npz, bin, pth)", where=str(name), fix=fix)


def _stem(file: str) -> str:
    """Return the name of the weights that `file` is one shard of, or its own."""
    shard = _SHARD.fullmatch(file)
    return shard[1] + shard[3] if shard else file


def _parts_of(file: str, files: list[str]) -> list[str]:
    """Return `file`, and when it is a shard or an index all shards and the index."""
    stem = _stem(file.removesuffix(_INDEX))
    if stem == file:
        return [file]
    return [each for each in files if each == stem + _INDEX or (_SHARD.fullmatch(each) and _stem(each) == stem)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


# The hub and its cache -------------------------------------------------------------------------------


def _listed(hub: ModuleType, name: Name) -> list[str]:
    """Return the files of the repository, as the hub lists them now."""
    seconds = hub.constants.HF_HUB_ETAG_TIMEOUT
    info = hub.HfApi(library_name="patchwords").model_info(
        name.repository, revision=name.revision or None, timeout=seconds
    )
    return [each.rfilename for each in info.siblings or ()]


def _cached(hub: ModuleType, name: Name) -> Path | None:
    """Return what `fetch` returns when the cache has all of it, else None."""
    try:
        small = [glob.escape(file) for file in _descriptions(name)]  # of these the hub's library knows whether all came
        asked = {"revision": name.revision or None, "local_files_only": True, "allow_patterns": small}
        folder = Path(hub.snapshot_download(name.repository, **asked))
        present = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        shards = [file for file in chosen(present, name) if _SHARD.fullmatch(file)]
    except (OSError, PatchwordsError):  # the hub's "not in the cache" is an OSError
        return None
    if shards and {len(shards)} != {int(_SHARD.fullmatch(file)[2]) for file in shards}:
        return None
    return folder / name.file if name.file else folder


def _is_unreachable(hub: ModuleType, error: Exception) -> bool:
    """Return whether `error` says nothing about the model, only that the hub gave no answer."""
    if isinstance(error, PatchwordsError):
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status >= 500 or status == 429


@contextlib.contextmanager
def _quiet(hub: ModuleType) -> Iterator[None]:
    """Keep progress bars off unless somebody watches, and warnings away: what matters is raised."""
    tools, level = hub.utils, hub.utils.logging.get_verbosity()
    decided = hub.constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or tools.are_progress_bars_disabled()
    hide = not decided and not sys.stderr.isatty()
    tools.logging.set_verbosity_error()
    if hide:
        tools.disable_progress_bars()
    try:
        yield
    finally:
        tools.logging.set_verbosity(level)
        if hide:
            tools.enable_progress_bars()


@contextlib.contextmanager
def _faults_named(hub: ModuleType, name: Name) -> Iterator[None]:
    """Turn whatever goes wrong between here and the hub into the one line that helps.

    Which classes a transfer can raise has changed with every generation of huggingface_hub (requests, httpx, xet):
    so all are taken, after the ones that it documents.
    """
    try:
        yield
    except PatchwordsError:
        raise
    except Exception as error:
        raise _fault(hub, name, error) from error


def _fault(hub: ModuleType, name: Name, error: Exception) -> PatchwordsError:
    """Return the fault that `error` of the hub's library means."""
    errors, where = hub.errors, str(name)
    headers = getattr(getattr(error, "response", None), "headers", {})
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, errors.GatedRepoError):
        page = f"{hub.constants.ENDPOINT}/{name.repository}"
        fix = f"Ask for access at {page}, then {_TOKEN}"
        return PermissionFault("is gated: its owner lets people in one by one", where=where, fix=fix)
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingError(
            f"has no version {name.revision or 'main'}", where=where, fix="Give a branch, tag or commit"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return MissingError("lists a file that it does not have", where=where, fix="Run the same command again")
    if status == 401 and "invalid credentials" in headers.get("X-Error-Message", "").lower():
        return PermissionFault("the hub does not know this token", where=where, fix=f"Check it, or {_TOKEN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = f"Check the name; if it is private, {_TOKEN} that may read it"
        return MissingError("no such model on the hub", where=where, fix=fix)
    if status in (401, 403):
        return PermissionFault("the hub does not hand it out", where=where, fix=f"For a private one {_TOKEN}")
    if isinstance(error, OSError) and error.errno and (error.filename or error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return fault_of(error, error.filename or hub.constants.HF_HUB_CACHE, "write")
    if hub.constants.HF_HUB_OFFLINE:
        fix = "Unset HF_HUB_OFFLINE, or fetch it once with a network"
        return ReadError("is not in the cache, and the hub is switched off", where=where, fix=fix)
    reason = f"HTTP {status}" if status else f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    what = f"cannot be fetched from {hub.constants.ENDPOINT} and is not in the cache whole ({reason})"
    return ReadError(what, where=where, fix="Check the network, then run the same command again; it goes on from there")
