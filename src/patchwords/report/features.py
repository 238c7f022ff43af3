"""What tokens and pictures are to the model: exhibits of the logit lens, of components as colours, of neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import figures
from ..figures.text import layer_name
from ..inspection.components import measure_components
from ..inspection.lens import Lens, read_layers
from ..inspection.nearest import find_nearest, measure_features
from .finding import Drawing, Finding, Number, Sheet, figures_of, percent, plural
from .subject import Report, Subject

NEIGHBOURS = 5


def see_lens(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Read the answer out of every layer, of all pictures, and out of each patch of those that are shown."""
    found = read_layers(subject.model, subject.batches(progress, 16), subject.labels, drawn=subject.shown)
    shown = subject.drawable()
    answers = ", ".join(_class(subject, int(target)) for target in found.targets)
    drawing = Drawing(
        "lens",
        f"Answers by layer; below, the probability that each patch by itself gives to the model's answer ({answers}).",
        lambda figure: figures.draw_lens(
            found, figure, pictures=shown, classes=subject.classes, most_pictures=len(shown)
        ),
    )
    heads = {"layer": "layer", "agreement": "as the model", "mean_rank": "rank of the answer"}
    heads["mean_probability"] = "its probability"
    if subject.labels is not None:
        heads |= {"accuracy": "right", "patch_accuracy": "patches right"}
    numbers = (
        Number("agreement after the first block", _after_first(found.agreement), "", "answers as the model does"),
        *(
            (Number("right after the last layer", float(found.accuracy[-1]), "", f"{plural(len(subject), 'picture')}"),)
            if subject.labels is not None
            else ()
        ),
    )
    notes = () if subject.labels is not None else ("No labels are known: agreement with the whole model is shown.",)
    sheets = (Sheet("Layer by layer", found.rows(), heads),)
    return Finding({"lens": found}, (drawing,), _told_of_lens(found), numbers, sheets, notes)


def _class(subject: Subject, number: int) -> str:
    return subject.classes[number] if number < len(subject.classes) else f"class {number}"


def _after_first(values: np.ndarray) -> float:
    return float(values[min(1, len(values) - 1)])


def _told_of_lens(found: Lens) -> tuple[str, ...]:
    decided = next((name for name, share in zip(found.layers, found.agreement, strict=True) if share >= 0.9), "")
    told = [
        f"Nine of ten pictures have their final answer from {layer_name(decided)} on."
        if decided
        else "No layer but the last answers nine of ten pictures as the whole model does."
    ]
    told.append(
        f"Read after the first block the model would agree with itself on {percent(_after_first(found.agreement))} of "
        "the pictures."
    )
    if np.isfinite(found.accuracy).all():
        told.append(
            f"The last layer is right on {percent(float(found.accuracy[-1]))} of the pictures; its patches by "
            f"themselves on {percent(float(found.patch_accuracy[-1]))}."
        )
    return tuple(told)


def see_components(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Colour the patches of all pictures by their three leading components."""
    found = measure_components(subject.model, subject.batches(progress, 16))
    count = min(len(subject), 3 * subject.shown)
    drawing = Drawing(
        "components",
        f"The first {plural(count, 'picture')} and their patches, coloured by what {plural(len(subject), 'picture')} "
        "have in common.",
        lambda figure: figures.draw_components(
            found, figure, pictures=subject.drawable(count), names=subject.names(count), most_pictures=count
        ),
    )
    share = found.explained_share
    says = (
        f"Three components hold {percent(float(share.sum()))} of the variance of the patch tokens "
        f"({', '.join(percent(float(each)) for each in share)}): what has one colour is alike to the model.",
    )
    numbers = tuple(
        Number(f"{name} component", float(each), "", f"share of the variance, shown as {colour}")
        for name, colour, each in zip(("first", "second", "third"), ("red", "green", "blue"), share, strict=True)
    )
    return Finding({"components": found}, (drawing,), says, numbers)


def see_nearest(subject: Subject, other: Subject | None, progress: Report) -> Finding:
    """Find the pictures most alike to those that are shown, among the training pictures or the others."""
    gallery = subject.gallery
    pixels, paths = (gallery.pixels, gallery.paths) if gallery else (subject.pixels, subject.paths)
    subject.require_pictures(1 if gallery else 2)
    queries = measure_features(subject.model, subject.images())
    features = queries
    normalize, parts = subject.loaded.preprocess.normalize, []
    for start in range(0, len(pixels), 32):
        parts.append(measure_features(subject.model, normalize(pixels[start : start + 32])))
        progress(min(start + 32, len(pixels)), len(pixels))
    features = np.concatenate(parts)
    own = None if gallery else np.arange(len(queries))
    found = find_nearest(queries, features, min(NEIGHBOURS, len(features) - (gallery is None)), leave_out=own)
    wanted = {int(number) for number in found.indices.ravel()}
    around = {number: np.ascontiguousarray(pixels[number].permute(1, 2, 0).numpy()) for number in wanted}
    labels = gallery.labels if gallery else subject.labels
    rows = [
        {
            "picture": query + 1,
            "neighbour": place + 1,
            "name": Path(paths[number]).name,
            "class": _label(subject, labels, number),
            "similarity": float(found.similarity[query, place]),
        }
        for (query, place), number in np.ndenumerate(found.indices)
    ]
    what = gallery.what if gallery else f"the other {plural(len(subject) - 1, 'picture')}"
    titles = {number: _label(subject, labels, number) or Path(paths[number]).name for number in wanted}
    drawing = Drawing(
        "nearest",
        f"Each picture, and those nearest to it of {what}.",
        lambda figure: figures.draw_nearest(
            found, figure, queries=subject.drawable(), pictures=around, query_names=_titles(subject), names=titles
        ),
    )
    heads = {"picture": "picture", "neighbour": "neighbour", "name": "file", "class": "class", "similarity": "cosine"}
    sheets = (Sheet("Every neighbour", rows, heads, filter="picture", open=False),)
    best = float(found.similarity[:, 0].mean())
    numbers = (Number("cosine of the nearest", best, "", "mean over the pictures shown; 1: the same"),)
    return Finding({"nearest": found}, (drawing,), _told_of_nearest(subject, found, labels, what), numbers, sheets)


def _label(subject: Subject, labels: np.ndarray | None, number: int) -> str:
    return subject.classes[labels[number]] if labels is not None and labels[number] >= 0 else ""


def _titles(subject: Subject) -> list[str]:
    """Return what stands above the pictures shown: their classes where they are known, else their files."""
    return [_label(subject, subject.labels, number) or name for number, name in enumerate(subject.names())]


def _told_of_nearest(subject: Subject, found, labels: np.ndarray | None, what: str) -> tuple[str, ...]:
    told = [
        f"Among {what}, the nearest has a cosine of {figures_of(float(found.similarity[:, 0].min()))} to "
        f"{figures_of(float(found.similarity[:, 0].max()))}."
    ]
    if labels is not None and subject.labels is not None:
        own = subject.labels[: len(found.indices)]
        same = labels[found.indices] == own[:, None]
        told.append(
            f"{int(same[own >= 0].sum())} of {int((own >= 0).sum()) * found.indices.shape[1]} neighbours are of the "
            "picture's own class."
        )
    return tuple(told)
