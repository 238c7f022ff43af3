"""The pictures that a probe learns from and those it is measured on, split as `train` splits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import files
from ..config import DataConfig
from ..data.manifest import Manifest, Pictures, make_manifest
from ..data.sources import Source, open_source
from ..data.survey import survey
from ..errors import ConfigError, DataError, nearest
from ..overrides import parse_settings, with_fields
from ..progress import say, show_progress
from ..training.folder import DATA, read_config
from ..training.recipe import choose

SPLITTING = ("val_fraction", "test_fraction", "split_seed")
SETTINGS = (*SPLITTING, "workers", "strict", "max_rejected")
"""of the data; the others belong to the preprocessing of the checkpoint"""


@dataclass(frozen=True)
class Examples:
    """Labelled pictures in two parts."""

    manifest: Manifest
    pictures: Pictures
    train: np.ndarray
    """numbers of the pictures that may be learned from"""
    split: str
    """test or val"""
    measured: np.ndarray
    """numbers of its pictures"""
    workers: int
    """decoding threads"""
    seen_in_training: int
    """measured pictures that, byte for byte, the run of the checkpoint was trained on; 0 too where nobody knows"""

    def hashes(self, numbers: np.ndarray) -> list[str]:
        """Return the sha256 of the numbered pictures."""
        return [self.manifest.pictures[number].sha256 for number in numbers.tolist()]


def open_examples(data: str, split: str, texts: Mapping[str, str], run: Path | None = None) -> Examples:
    """Return the pictures of `data`; splits that it lacks are drawn as `train` draws them.

    Args:
        data: as for `train`.
        split: test or val; "": test where there is one.
        texts: {"data.NAME": "text"} for some of `SETTINGS`.
        run: folder that the checkpoint came from; when it was trained on this data, its splits are taken.

    Raises:
        ConfigError: no such split or setting. DataError: one class only, or nothing to measure on. And as the parts.
    """
    source = open_source(data)
    old = _manifest_of(run)
    config = _settings(source, texts, run if old and old.source == source.location else None)
    manifest = make_manifest(source, config, show_progress("checking"))
    if manifest.rejected:
        first = manifest.rejected[0]
        what = f"{len(manifest.rejected)} pictures cannot be used; the first is {first.path}: {first.reason}"
        say(f"warning: {what}")
    split = _measured_split(manifest, split)
    measured = manifest.split(split)
    learned = {picture.sha256 for picture in old.pictures if picture.split == "train"} if old else set()
    seen = sum(manifest.pictures[number].sha256 in learned for number in measured.tolist())
    if seen:
        say(f"warning: the checkpoint was trained on {seen} of the {len(measured)} pictures that are measured")
    return Examples(
        manifest, Pictures(source, manifest), manifest.split("train"), split, measured, config.workers, seen
    )


def _settings(source: Source, texts: Mapping[str, str], run: Path | None) -> DataConfig:
    """Return fractions and seed of the splits: those in `texts`, else of `run`, else of the recipe of `train`."""
    for name in texts:
        if name.removeprefix("data.") not in SETTINGS:
            fix = f"Allowed: {', '.join(f'data.{each}' for each in SETTINGS)}"
            raise ConfigError("is not a setting of a probe", where=name, fix=fix)
    stored = read_config(run) if run else None
    splitting = stored.data if stored else choose(survey(source), "cpu").run.data
    config = dataclasses.replace(DataConfig(), **{name: getattr(splitting, name) for name in SPLITTING})
    return with_fields(config, parse_settings(texts).get("data", {}), "data")


def _manifest_of(run: Path | None) -> Manifest | None:
    """Return which pictures `run` was trained on, where it says so."""
    recorded = run / DATA if run else None
    if recorded is None or not recorded.is_file():
        return None
    return Manifest.from_json(files.read_json(recorded), str(recorded))


def _measured_split(manifest: Manifest, wanted: str) -> str:
    there = [name for name in ("test", "val") if len(manifest.split(name))]
    if not there:
        raise DataError(
            "has no pictures to measure on",
            where=manifest.source,
            fix="Bring a test split, or two different pictures of a class and --data.test_fraction above 0",
        )
    if wanted and wanted not in there:
        raise ConfigError(f"there is no split {wanted!r}", where=manifest.source, fix=nearest(wanted, there))
    return wanted or there[0]
