"""The page of `eval`: accuracy, confusion, calibration, every class, and the worst mistakes, each with its map."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .. import figures, files
from ..checkpoint import LoadedModel
from ..data.evaluation import Labelled
from ..errors import PatchwordsError, WriteError
from ..figures.accuracy import wilson
from ..figures.overlay import as_rgb, lit
from ..inspection.explanation import attribute
from ..metrics import Evaluation
from .finding import Drawing, Number, Sheet, percent, plural
from .markup import frame, paragraph, picture, sheet, text
from .page import figure_block, key_numbers
from .survey import drawn, short_path

LARGEST_PX = 240
"""of a picture on the page"""
_METHODS = {"gradient_rollout": "gradient rollout", "grad_cam": "Grad-CAM"}
_CLASSES = {"class": "class", "precision": "precision", "recall": "recall", "f1": "F1", "support": "pictures"}
_MISTAKES = {"place": "place", "file": "file", "label": "class", "predicted": "taken for", "probability": "probability"}


def check_page(path: Path) -> None:
    """Raise WriteError when no page can be written at `path`, before anything is measured."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise WriteError(what, where=str(path), fix="Give a file, such as report.html")


def write_evaluation(path: Path, measured: Evaluation, loaded: LoadedModel, name: str, chosen: Labelled) -> None:
    """Write the page of `measured` to the file `path`.

    Raises:
        WriteError, PermissionFault: it cannot be written.
    """
    files.write_atomic(path, evaluation_page(measured, loaded, name, chosen))


def evaluation_page(measured: Evaluation, loaded: LoadedModel, name: str, chosen: Labelled) -> str:
    """Return the page of a model measured on the pictures of `chosen`."""
    title, room = f"{Path(name).name} on the {chosen.split} pictures of {Path(chosen.name).name}", [8_000_000]
    drawings = (
        Drawing(
            "confusion",
            "What is taken for what: rows are the true class.",
            lambda f: figures.draw_confusion(measured, f),
        ),
        Drawing("reliability", "Right answers by confidence.", lambda f: figures.draw_reliability(measured, f)),
        Drawing(
            "accuracy", "Classes, least found first, with 95 % intervals.", lambda f: figures.draw_accuracy(measured, f)
        ),
    )
    made = {each.name: figure_block(drawn(each), room) for each in drawings if measured.total}
    parts = [
        f'<header><h1>{text(title)}</h1><button type="button" id="theme" hidden>dark or light</button></header><main>',
        _summary(measured, chosen),
        _section("Confusion", "confusion", made, "A healthy one: nearly everything on the diagonal."),
        _section(
            "Calibration", "reliability", made, "A healthy one: bars that end on the diagonal (1706.04599, fig. 1)."
        ),
        _section("Classes", "accuracy", made, "", sheet(Sheet("Every class", measured.per_class(), _CLASSES))),
        _mistakes(measured, loaded, chosen),
        "</main>",
    ]
    return frame(title, "\n".join(parts))


def _summary(measured: Evaluation, chosen: Labelled) -> str:
    low, high = wilson(measured.correct, measured.total) if measured.total else (float("nan"),) * 2
    told = [
        f"{measured.correct} of {plural(measured.total, 'picture')} right: {percent(measured.top1)} "
        f"(95 % interval {percent(low)} to {percent(high)}).",
        _calibrated(measured),
    ]
    if chosen.unknown_classes:
        names = ", ".join(chosen.unknown_classes[:5]) + (", …" if len(chosen.unknown_classes) > 5 else "")
        told.append(f"{int((chosen.labels < 0).sum())} pictures are of classes that the model does not know: {names}.")
    numbers = (
        Number("pictures", measured.total),
        Number("right", measured.correct),
        Number("top-1", measured.top1, "", "share of the pictures"),
        Number("top-5", measured.top5, "", "share whose class is among the five most probable"),
        Number("loss", measured.loss, "nats"),
        Number("expected calibration error", measured.ece, "", "0: as often right as it says"),
    )
    says = "".join(paragraph(each) for each in told)
    return f'<section><div class="says"><h3>This model</h3>{says}</div>{key_numbers(numbers)}</section>'


def _calibrated(measured: Evaluation) -> str:
    bins = measured.calibration
    filled = bins.counts > 0
    if not filled.any():
        return "There is nothing to measure calibration on."
    gap = float(np.average((bins.confidence - bins.accuracy)[filled], weights=bins.counts[filled]))
    kind = (
        "surer than it is right"
        if gap > 0.02
        else "less sure than it is right"
        if gap < -0.02
        else "as sure as it is right"
    )
    return f"On average it is {kind}: the expected calibration error is {percent(measured.ece)}."


def _section(title: str, name: str, made: dict[str, str], healthy: str, more: str = "") -> str:
    told = f'<p class="healthy">{text(healthy)}</p>' if healthy else ""
    return f'<section id="{name}"><h2>{title}</h2>{made.get(name, paragraph("No pictures."))}{told}{more}</section>'


def _mistakes(measured: Evaluation, loaded: LoadedModel, chosen: Labelled) -> str:
    """Return the worst mistakes: each picture, and lit where it speaks for the wrong answer."""
    if not measured.mistakes:
        return f'<section id="mistakes"><h2>Worst mistakes</h2>{paragraph("There are none.")}</section>'
    places = {path: place for place, path in enumerate(chosen.paths)}
    numbers = np.array([places[mistake.path] for mistake in measured.mistakes])
    pixels = torch.cat(list(chosen.pick(numbers)))
    said = [loaded.classes.index(mistake.predicted) for mistake in measured.mistakes]
    maps, told = _maps(loaded, pixels, said)
    rows, tiles = [], []
    for place, (mistake, picture_pixels) in enumerate(zip(measured.mistakes, pixels, strict=True), start=1):
        shown = _enlarged(as_rgb(picture_pixels.permute(1, 2, 0).numpy()))
        images = picture(_png(shown), f"mistake {place}", "pixels")
        if maps is not None:
            images += picture(_png(lit(shown, maps[place - 1])), f"what speaks for {mistake.predicted}", "pixels")
        words = f"{place}. {mistake.label} taken for {mistake.predicted}, {percent(mistake.probability)}"
        tiles.append(
            f'<li><div class="pair">{images}</div>{paragraph(words)}{paragraph(short_path(mistake.path), "notes")}</li>'
        )
        rows.append({"place": place, "file": mistake.path} | {k: getattr(mistake, k) for k in list(_MISTAKES)[2:]})
    more = sheet(Sheet("Worst mistakes, most certain first", rows, _MISTAKES, open=False))
    return (
        f'<section id="mistakes"><h2>Worst mistakes</h2>{paragraph(told, "shows")}'
        f'<ul class="tiles">{"".join(tiles)}</ul>{more}</section>'
    )


def _maps(loaded: LoadedModel, pixels: torch.Tensor, said: Sequence[int]) -> tuple[np.ndarray | None, str]:
    """Return a map of what speaks for the answer to each picture, and how it was made; None where there is none."""
    attends = bool(len(getattr(loaded.model, "blocks", ())))
    method = "gradient_rollout" if attends else "grad_cam"
    images = loaded.preprocess.normalize(pixels)
    try:
        (found,) = attribute(loaded.model, images, np.asarray(said), methods=[method])
    except PatchwordsError as fault:
        return None, f"The most certain wrong answers. No maps: {fault.line()}."
    return (
        found.patches,
        f"The most certain wrong answers, each lit where it speaks for that answer ({_METHODS[method]}).",
    )


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Return a picture of at most LARGEST_PX a side; small ones grow by whole factors."""
    from PIL import Image

    longest = max(pixels.shape[:2])
    if longest > LARGEST_PX:
        size = tuple(max(1, round(side * LARGEST_PX / longest)) for side in pixels.shape[1::-1])
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    times = LARGEST_PX // longest
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
