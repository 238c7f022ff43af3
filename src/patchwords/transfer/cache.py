"""Features that were computed before, kept in the user's cache folder by the hash of all that they follow from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .. import files
from ..data.cifar10 import cache_folder
from ..errors import PatchwordsError

LIMIT = 2 * 2**30
"""bytes that the folder may hold; beyond, what was not used for longest is removed"""
_SUFFIX = ".safetensors"


class FeatureCache:
    """A folder of safetensors files, one for each key; never a reason to fail.

    Every byte of a file is accounted for when it is read: one that is not what was written is named on standard
    error and not used. A folder that cannot be used is named once.

    Args:
        folder: where; None: PATCHWORDS_CACHE, else the user's cache folder.
        limit: bytes in all.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = cache_folder() / "features" if folder is None else folder
        self.limit = limit
        self._told = False

    def path(self, key: str) -> Path:
        """Return where the features of `key` (hexadecimal digits) are kept."""
        return self.folder / f"{key}{_SUFFIX}"

    def load(self, key: str) -> Tensor | None:
        """Return the features kept under `key`; None when there are none, or they are damaged."""
        path = self.path(key)
        if not path.exists():
            return None
        try:
            data = files.read_bytes(path)
        except PatchwordsError as fault:
            self._tell(fault)
            return None
        features = _unpacked(key, data)
        if features is None:
            print(f"warning: {path}: is damaged; its features are computed again", file=sys.stderr)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return features

    def save(self, key: str, features: Tensor) -> None:
        """Keep `features` under `key`, and remove the oldest when there is too much."""
        data = _packed(key, features)
        if len(data) > self.limit:
            return
        try:
            with files.faults_named(self.folder, "write"):
                self.folder.mkdir(parents=True, exist_ok=True)
            files.write_atomic(self.path(key), data)
        except PatchwordsError as fault:
            self._tell(fault)
            return
        with contextlib.suppress(OSError):  # another process may be removing the same files
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        kept = {path: path.stat() for path in self.folder.glob(f"*{_SUFFIX}")}  # hidden ones, half written, too
        total = sum(each.st_size for each in kept.values())
        for path in sorted(kept, key=lambda each: kept[each].st_mtime_ns):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= kept[path].st_size

    def _tell(self, fault: PatchwordsError) -> None:
        if not self._told:
            print(f"warning: {fault.line()}; features are not kept", file=sys.stderr)
        self._told = True


def _packed(key: str, features: Tensor) -> bytes:
    """Return the file: its one note is the sha256 of the key and of the numbers."""
    features = features.detach().float().cpu().contiguous()
    digest = hashlib.sha256(f"{key} {tuple(features.shape)}\n".encode() + features.numpy().tobytes())
    return safetensors.torch.save({"features": features}, metadata={"sha256": digest.hexdigest()})


def _unpacked(key: str, data: bytes) -> Tensor | None:
    """Return the features of a file, or None unless packing them again gives the file, byte for byte."""
    try:
        features = safetensors.torch.load(data)["features"]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sound = features.dtype == torch.float32 and _packed(key, features) == data
    return features if sound else None
