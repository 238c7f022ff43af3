"""Answers: labels for pictures and measured accuracy, by a checkpoint or an exported file, through any engine."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import LoadedModel, predict_probabilities, ranked
from .data.evaluation import Found, Labelled, batched, find_pictures, labelled_of_data, labelled_of_run
from .errors import ConfigError, DataError, PatchwordsError, printable
from .export.choose import Wish, choose
from .export.engine import Engine, answering
from .export.read import is_exported
from .export.read import read as read_exported
from .formats import load
from .metrics import Evaluation
from .training.evaluate import evaluate as measure_model
from .views import AveragedViews


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
    loaded: LoadedModel | str | Path,
    paths: Iterable[str | Path],
    *,
    top: int = 5,
    batch_size: int = 32,
    engine: str = "torch",
    precision: str = "",
    device: str = "auto",
    trusted: bool = False,
    views: int = 1,
    **options: Any,
) -> Iterator[Prediction]:
    """Yield a Prediction for every picture of `paths` (files, folders, archives), in order.

    A picture that cannot be read is answered with its fault, and the rest go on.

    Args:
        loaded: anything that `load` reads, what it returned, or a file that `export` wrote.
        engine: torch, onnx, openvino, or auto: the fastest that is installed and answers alike (docs/export.md).
        precision: fp32 (default) or bf16; of an exported file: its own.
        device: of torch: cpu, cuda, mps; auto: the fastest there is.
        trusted: read a .pt2 file, which can run code that is in it.
        views: of each picture, whose probabilities are averaged: 1, 2 (mirrored too) or 6 (both also moved by a pixel).
        options: as for `load`.

    Raises:
        ConfigError: `top` is not at least 1, or the model has no head, or there is no such engine.
        CheckError: the engine answers otherwise than torch.
    """
    if top < 1:
        raise ConfigError(f"{top} is too small", where="--top", fix="Give 1 or more")
    wish = Wish(engine, precision, device, trusted)
    model = _opened(loaded, wish, options)
    found = list(find_pictures(paths)) if engine == "auto" else find_pictures(paths)
    if not isinstance(model.model, Engine):
        count = len(found) if isinstance(found, list) else 0
        model = _engaged(model, wish, count, batch_size)
    model = dataclasses.replace(model, model=AveragedViews(model.model, views))
    for part in batched(found, batch_size):
        yield from _predict_batch(model, part, top)


def _opened(checkpoint: LoadedModel | str | Path, wish: Wish, options: Mapping[str, Any]) -> Any:
    """Return a model with classes: a checkpoint as it is loaded, or an exported file through its own runtime."""
    if isinstance(checkpoint, LoadedModel):
        return _with_classes(checkpoint)
    if not is_exported(checkpoint) or Path(checkpoint).is_dir():
        return _with_classes(load(checkpoint, **options))
    if options:
        fix = "Export the checkpoint again with it"
        raise ConfigError("an exported file cannot be changed", where=f"--{next(iter(options))}", fix=fix)
    found = read_exported(checkpoint, trusted=wish.trusted)
    wish.require_device(found.name)
    if wish.engine not in ("auto", "torch", found.name) or wish.precision not in ("", found.description.precision):
        what = f"is answered by {found.name} in {found.description.precision}"
        raise ConfigError(what, where=str(checkpoint), fix="Leave out --engine and --precision, or give the checkpoint")
    return answering(found)


def _engaged(loaded: LoadedModel, wish: Wish, pictures: int, batch_size: int) -> LoadedModel:
    """Return `loaded` as it is answered by the engine that is wished for."""
    wish.check()
    plain = (wish.engine, wish.precision or "fp32", wish.require_device(wish.engine)) == ("torch", "fp32", "cpu")
    return loaded if plain else answering(choose(loaded, wish, pictures, batch_size))


def _with_classes(loaded: LoadedModel) -> LoadedModel:
    """Return `loaded`, or raise ConfigError when it has no head to answer with."""
    if not loaded.classes:
        fix = "Give it a head: patchwords tune CHECKPOINT DATA --out RUN"
        raise ConfigError("has no head, so it has no classes to choose from", where="CHECKPOINT", fix=fix)
    return loaded


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


def evaluate(
    run: str | Path,
    data: str = "",
    *,
    split: str = "",
    batch_size: int = 256,
    report: str | Path = "",
    engine: str = "torch",
    precision: str = "",
    device: str = "auto",
    trusted: bool = False,
    views: int = 1,
    **options: Any,
) -> Evaluation:
    """Measure a run (or any checkpoint) on labelled pictures; classes are matched by name.

    Pictures of a class that the model does not know count as wrong.

    Args:
        data: a data set as for `train`; "": the run's own, as it was split then.
        split: train, val, test or all; "": test where there is one, else val, else train.
        report: HTML file to write, with confusion, calibration and the worst mistakes.
        engine, precision, device, trusted, views: as for `predict`.
        options: as for `load`.

    Raises:
        DataError: no class of `data` is one the model knows. ConfigError: no such split, or the model has no head.
        CheckError: the engine answers otherwise than torch.
    """
    if report:
        from .report.evaluation import check_page, write_evaluation

        check_page(Path(report))
    wish = Wish(engine, precision, device, trusted)
    loaded = _opened(run, wish, options)
    exported = isinstance(loaded.model, Engine)
    if report and exported:
        raise ConfigError("draws what the model looks at", where="--report", fix="Give the checkpoint, not its export")
    if data:
        chosen = labelled_of_data(data, loaded.preprocess, loaded.classes, split)
    else:
        chosen = labelled_of_run(Path(run), loaded.preprocess, loaded.classes, split)
    _tell(chosen, loaded.classes, named=bool(data))
    batches = chosen.batches(batch_size)
    model = loaded if exported else _engaged(loaded, wish, len(chosen.labels), batch_size)
    dtype = torch.uint8 if isinstance(model.model, Engine) else torch.float32
    averaged = AveragedViews(model.model, views)
    measured = measure_model(
        averaged, model.preprocess, batches, chosen.labels, model.classes, chosen.paths, dtype=dtype
    )
    if report:
        write_evaluation(Path(report), measured, loaded, str(run), chosen)
    return measured


def _tell(chosen: Labelled, classes: tuple[str, ...], named: bool) -> None:
    """Warn of pictures that count as wrong or are not measured; raise DataError when the model knows no class."""
    if (chosen.labels < 0).all():
        raise DataError(
            f"has no class that the model knows; it has {_some(chosen.unknown_classes)}",
            where=chosen.name,
            fix=f"The model knows {_some(classes)}",
        )
    if chosen.unknown_classes:
        unknown = int((chosen.labels < 0).sum())
        print(
            f"warning: {unknown} pictures are of classes that the model does not know and count as wrong: "
            f"{_some(chosen.unknown_classes)}",
            file=sys.stderr,
        )
    if chosen.rejected and named:
        first = chosen.rejected[0]
        print(
            f"warning: {len(chosen.rejected)} pictures cannot be used and are not measured; the first is "
            f"{printable(first.path)}: {printable(first.reason)}",
            file=sys.stderr,
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(printable(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
