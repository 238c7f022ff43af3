"""The public verbs: train, load, evaluate, predict; each command of the same name is one call of these."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import LoadedModel, load_model, predict_probabilities, ranked
from .data.evaluation import Found, batched, find_pictures, labelled_of_data, labelled_of_run
from .errors import ConfigError, DataError, PatchwordsError, printable
from .metrics import Evaluation
from .training.evaluate import evaluate as measure_model


def train(data: str, out: str | Path, *, model: str = "", preset: str = "", augment: str = "", **settings: Any):
    """Train on `data` in the folder `out`, or go on with the run that is there.

    Args:
        data: as for `patchwords train`.
        out: folder of the run.
        model, preset, augment: names; "": chosen from the data.
        settings: `train__epochs=10` is `--train.epochs 10`.

    Returns:
        TrainResult.
    """
    from .training import Request
    from .training import train as train_request

    texts = {name.replace("__", "."): _text(value) for name, value in settings.items()}
    return train_request(Request(str(data), model, preset, augment, texts), out)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def load(path: str | Path) -> LoadedModel:
    """Load a run folder or its `model/` folder.

    Returns:
        LoadedModel: unpacks to `model, classes, preprocess`; has `.predict(paths)`.

    Raises:
        MissingError: nothing there. CheckpointError: damaged or foreign; names the file.
    """
    return load_model(path)


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture, or why there is none."""

    path: str
    labels: tuple[tuple[str, float], ...]
    """(class, probability), most probable first; empty when there is a fault"""
    fault: PatchwordsError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        if self.fault:
            return {"path": self.path, "error": self.fault.as_dict()}
        return {"path": self.path, "labels": [{"class": name, "probability": p} for name, p in self.labels]}


def predict(
    loaded: LoadedModel | str | Path, paths: Iterable[str | Path], *, top: int = 5, batch_size: int = 32
) -> Iterator[Prediction]:
    """Yield a Prediction for every picture of `paths` (files, folders, archives), in order.

    A picture that cannot be read is answered with its fault, and the rest go on.

    Raises:
        ConfigError: `top` is not at least 1.
    """
    if top < 1:
        raise ConfigError(f"{top} is too small", where="--top", fix="Give 1 or more")
    loaded = loaded if isinstance(loaded, LoadedModel) else load(loaded)
    for found in batched(find_pictures(paths), batch_size):
        yield from _predict_batch(loaded, found, top)


def _predict_batch(loaded: LoadedModel, batch: list[Found], top: int) -> Iterator[Prediction]:
    pixels: list[Any] = []
    for found in batch:
        try:
            pixels.append(loaded.preprocess.pixels(found.read(), found.path))
        except PatchwordsError as fault:
            pixels.append(fault)
    good = [each for each in pixels if not isinstance(each, PatchwordsError)]
    rows = iter(predict_probabilities(loaded, torch.stack(good)) if good else [])
    for found, each in zip(batch, pixels, strict=True):
        if isinstance(each, PatchwordsError):
            yield Prediction(found.path, (), each)
        else:
            yield Prediction(found.path, tuple(ranked(next(rows), loaded.classes, top)))


def evaluate(run: str | Path, data: str = "", *, split: str = "", batch_size: int = 256) -> Evaluation:
    """Measure a run (or `model/` folder) on labelled pictures; classes are matched by name.

    Pictures of a class that the model does not know count as wrong.

    Args:
        data: a data set as for `train`; "": the run's own, as it was split then.
        split: train, val, test or all; "": test where there is one, else val, else train.

    Raises:
        DataError: no class of `data` is one the model knows. ConfigError: no such split.
    """
    loaded = load(run)
    if data:
        chosen = labelled_of_data(data, loaded.preprocess, loaded.classes, split)
    else:
        chosen = labelled_of_run(Path(run), loaded.preprocess, loaded.classes, split)
    if (chosen.labels < 0).all():
        raise DataError(
            f"has no class that the model knows; it has {_some(chosen.unknown_classes)}",
            where=chosen.name,
            fix=f"The model knows {_some(loaded.classes)}",
        )
    if chosen.unknown_classes:
        unknown = int((chosen.labels < 0).sum())
        print(
            f"warning: {unknown} pictures are of classes that the model does not know and count as wrong: "
            f"{_some(chosen.unknown_classes)}",
            file=sys.stderr,
        )
    if chosen.rejected and data:
        first = chosen.rejected[0]
        print(
            f"warning: {len(chosen.rejected)} pictures cannot be used and are not measured; the first is "
            f"{printable(first.path)}: {printable(first.reason)}",
            file=sys.stderr,
        )
    batches = chosen.batches(batch_size)
    return measure_model(loaded.model, loaded.preprocess, batches, chosen.labels, loaded.classes, chosen.paths)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(printable(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
