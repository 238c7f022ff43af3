"""Real pictures to check or to calibrate an export with: with labels where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.evaluation import batched, find_pictures, labelled_of_data, labelled_of_run
from ..errors import ConfigError, DataError, PatchwordsError
from ..preprocess import Preprocess

CHECKED, CALIBRATED = 1000, 64
"""most pictures that are used; of more, as many are taken at even distances"""
_BATCH = 32


@dataclass(frozen=True)
class Sample:
    """Some pictures of a data set."""

    batches: list[Tensor]
    """uint8 pixels (B, C, H, W)"""
    labels: np.ndarray | None
    """(picture,) index into the model's classes; below 0: a class it does not know; None: there are no labels"""


def draw(data: str, preprocess: Preprocess, classes: tuple[str, ...], most: int) -> Sample:
    """Return up to `most` pictures of `data`, a labelled data set or any folder, archive or file of pictures.

    Raises:
        DataError: there are none that can be read. MissingError: nothing there.
    """
    try:
        chosen = labelled_of_data(data, preprocess, classes, "")
    except (DataError, ConfigError):
        return _unlabelled(data, preprocess, most)
    places = spaced(len(chosen.labels), most)
    labels = chosen.labels[places]
    return Sample(list(chosen.pick(places)), labels if (labels >= 0).any() else None)


def draw_trained(run: Path, preprocess: Preprocess, classes: tuple[str, ...], most: int) -> Sample:
    """Return up to `most` pictures of those that `run` was trained with.

    Raises:
        ConfigError: it is no run that says which they were.
    """
    if not (run / "data.json").exists():
        raise ConfigError("needs pictures to measure ranges on", where="--precision int8", fix="Give --calibrate DATA")
    chosen = labelled_of_run(run, preprocess, classes, "train")
    places = spaced(len(chosen.labels), most)
    return Sample(list(chosen.pick(places)), chosen.labels[places])


def spaced(count: int, most: int) -> np.ndarray:
    """Return up to `most` of the numbers below `count`, at even distances."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _unlabelled(data: str, preprocess: Preprocess, most: int) -> Sample:
    found, pixels, fault = list(find_pictures([data])), [], None
    for place in spaced(len(found), most).tolist():
        try:
            pixels.append(preprocess.pixels(found[place].read(), found[place].path))
        except PatchwordsError as error:
            fault = fault or error
    if not pixels:
        raise fault or DataError("there are no pictures in it", where=data)
    return Sample([torch.stack(batch) for batch in batched(pixels, _BATCH)], None)
