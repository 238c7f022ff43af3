"""STUDY, the folder: the question, the pictures decoded once, the checkpoints gone on from, and what is finished."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml

from .. import files
from ..data.manifest import Manifest
from ..errors import CheckpointError, ConfigError, MissingError, WriteError
from .grid import Subsets
from .plan import Plan

STUDY, DATA, PIXELS, CELLS, STARTS = "study.yaml", "data.json", "pixels.npy", "cells", "starts"
BEGUN = {DATA, PIXELS, STARTS, ".lock"}
"""what a study may have written before study.yaml"""


@dataclass(frozen=True)
class Study:
    """A study that has begun: everything a cell is computed from."""

    out: Path
    plan: Plan
    manifest: Manifest
    """every picture with its split"""
    pixels: torch.Tensor
    """(pictures, channels, rows, columns) uint8, mapped into memory: processes of one machine share it"""

    @cached_property
    def pool(self) -> np.ndarray:
        """(pictures,) numbers in the manifest of the training pictures that subsets are drawn from."""
        return self.manifest.split("train")

    @cached_property
    def subsets(self) -> Subsets:
        """Parts of `pool`."""
        hashes = [self.manifest.pictures[number].sha256 for number in self.pool.tolist()]
        return Subsets(self.manifest.labels[self.pool], hashes, self.manifest.classes)

    def cell(self, name: str) -> Path:
        """Return the file of a finished cell or trial."""
        return self.out / CELLS / f"{name}.npz"


def read_plan(out: Path) -> Plan | None:
    """Return the plan in `out`; None when no study has begun there.

    Raises:
        CheckpointError: study.yaml is damaged.
    """
    path = out / STUDY
    if not path.exists():
        return None
    return Plan.from_dict(files.read_yaml(path), str(path))


def open_study(out: Path) -> Study:
    """Return the study that has begun in `out`.

    Raises:
        MissingError: there is none. CheckpointError: a file of it was changed.
    """
    plan = read_plan(out)
    if plan is None:
        fix = "Begin one: patchwords compare --data D --models vit,cnn --out STUDY"
        raise MissingError("there is no study", where=str(out), fix=fix)
    for name, digest in plan.files.items():
        if file_hash(out / name) != digest:
            raise CheckpointError("was changed since the study began", where=str(out / name), fix="Restore it")
    manifest = Manifest.from_json(files.read_json(out / DATA), str(out / DATA))
    pixels = np.load(out / PIXELS, mmap_mode="c", allow_pickle=False)  # c: never written to, and torch need not warn
    return Study(out, plan, manifest, torch.from_numpy(pixels))


def write_plan(out: Path, plan: Plan) -> None:
    """Write study.yaml, last of all that a study needs: a folder that has it is whole."""
    with files.faults_named(out, "write"):
        (out / CELLS).mkdir(exist_ok=True)
    files.write_atomic(out / STUDY, yaml.safe_dump(plan.as_dict(), sort_keys=False))


def write_pixels(out: Path, pixels: torch.Tensor) -> None:
    """Write the pixels of all pictures so that they can be mapped into memory."""
    temporary = out / f"{files.TEMPORARY}{PIXELS}"
    with files.faults_named(out / PIXELS, "write"):
        try:
            with open(temporary, "wb") as file:
                np.lib.format.write_array(file, pixels.numpy(), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, out / PIXELS)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        files.sync_folder(out)


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with files.faults_named(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Make the folder of a study and hold it: one command leads a study on a machine, others are its workers.

    Raises:
        WriteError: another leads it, or it cannot be made. ConfigError: the folder holds something else.
    """
    with files.faults_named(out, "write"):
        if out.is_dir() and not (out / STUDY).exists():
            names = {path.name for path in out.iterdir() if not path.name.startswith(files.TEMPORARY)}
            if names - BEGUN:
                raise ConfigError("is not empty and not a study", where=str(out), fix="Give another --out")

    def busy(holder: str) -> WriteError:
        fix = f"Wait for it, or help it: patchwords compare --worker {out}"
        return WriteError("another process leads this study", where=str(out), fix=fix)

    with files.held(out, busy):
        yield
