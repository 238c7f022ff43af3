"""What the page asks about a picture, answered by the functions of `inspection`; numbers only, no web."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..inspection.attribution import Attribution
from ..inspection.curves import Curves, measure_curves
from ..inspection.distance import summarise
from ..inspection.explanation import attribute
from ..inspection.lens import read_layers
from ..inspection.receptive import measure_receptive_field
from ..inspection.rollout import attention_rollout
from ..inspection.still import Kept, still
from ..inspection.stream import is_layer
from ..inspection.trace import LayerAttention, attention_trace
from .packed import Answer
from .questions import Question
from .refusal import Refused
from .subject import Subject


def answer(subject: Subject, picture: str, pixels: Tensor, question: Question, limit: int) -> Answer:
    """Return the answer of `subject` to `question` about a picture.

    Args:
        picture: its id, by which work is taken up again where it was left.
        pixels: uint8 (channels, rows, columns) at the size of the model.
        limit: bytes of an answer.

    Raises:
        ConfigError, Refused: the model cannot be asked that, or not so much at once.
    """
    return _ANSWERS[question.what](subject, picture, subject.input(pixels), limit=limit, **dict(question.options))


def _predict(subject: Subject, picture: str, image: Tensor, top: int, limit: int) -> Answer:
    """The most probable classes with their logits; none for a model without a head."""
    labels = []
    if subject.classes:
        with torch.inference_mode():
            logits = subject.model(image)[0].float()
        probabilities = logits.softmax(dim=0)
        for index in probabilities.argsort(descending=True, stable=True)[:top].tolist():
            told = {"index": index, "class": subject.classes[index]}
            labels.append(told | {"logit": float(logits[index]), "probability": float(probabilities[index])})
    return Answer({"labels": labels, "classes": len(subject.classes)}, {})


def _attention(subject: Subject, picture: str, image: Tensor, layers: tuple[int, int], limit: int) -> Answer:
    """All weights of some layers, and how far each head of them looks in this picture."""
    first, last = layers
    if (last - first + 1) * subject.layer_bytes > limit:
        most = max(1, limit // subject.layer_bytes)
        raise ConfigError(f"layers {first} to {last} are too many at once", where="layers", fix=f"Ask for {most}")
    weights: list[np.ndarray] = []
    pooled: dict[str, np.ndarray] = {}

    def seen() -> Iterator[LayerAttention]:
        for layer in _pass(subject, picture, image, first, last):
            if layer.layer > subject.layers:
                pooled["pool"] = layer.weights[0, :, 0].half().numpy()
            elif layer.layer >= first:
                weights.append(layer.weights[0].half().numpy())
                yield layer

    heads = summarise(seen())
    meta = {
        "layers": [first, last],
        "tokens": subject.tokens,
        "prefix": subject.prefix,
        "grid": heads.grid,
        "cell_px": heads.cell_px,
        "uniform_px": heads.uniform_px,
        "local_below": heads.local_below,
        "global_above": heads.global_above,
    }
    return Answer(meta, {"weights": np.stack(weights), "distance_px": heads.distance_px} | pooled)


def _pass(subject: Subject, picture: str, image: Tensor, first: int, last: int) -> Iterator[LayerAttention]:
    """Yield layers up to `last`; a pass that was left before `first` for the same picture is taken up again."""
    paused, subject.paused = subject.paused, None
    again = bool(paused) and paused[:2] == (picture, first)
    rest = paused[2] if again else attention_trace(subject.model, image, pool=True)
    number = 0
    for layer in rest:
        number = layer.layer
        yield layer
        if number == last < subject.layers:
            subject.paused = (picture, last + 1, rest)
            return


def _rollout(subject: Subject, picture: str, image: Tensor, fusion: str, limit: int) -> Answer:
    """Attention of all layers multiplied through, from every token to every token."""
    found = attention_rollout(subject.model, image, fusion=fusion, matrix=True)
    assert found.matrix is not None
    meta = {"fusion": fusion, "residual_share": found.residual_share, "prefix": found.tokens, "query": found.query}
    return Answer(meta, {"matrix": found.matrix[0].astype(np.float16)})


def _attribution(
    subject: Subject, picture: str, image: Tensor, method: str, target: int | None, curves: bool, limit: int
) -> Answer:
    """What speaks for a class by one method, and whether that explains anything."""
    found = _explained(subject, (picture, method, target), image)
    index = int(found.targets[0])
    meta = {
        "method": method,
        "unit": found.unit,
        "target": index,
        "class": subject.classes[index],
        "logit": float(found.logits[0]),
        "cell_px": found.cell_px,
        "curves": None,
        "explains": None,
    }
    if curves:
        measured = measure_curves(subject.model, image, [found], batch_size=subject.batch_size)
        meta |= {"curves": _told(measured), "explains": measured.explains[0]}
    return Answer(meta, {"map": found.maps[0]})


def _explained(subject: Subject, asked: tuple[str, str, int | None], image: Tensor) -> Attribution:
    """Return the attribution `asked` for: picture, method, class; the last one is at hand."""
    if subject.explained and subject.explained[0] == asked:
        return subject.explained[1]
    _, method, target = asked
    size = {"batch_size": subject.batch_size}
    options = {"integrated_gradients": size, "occlusion": size}
    targets = None if target is None else np.array([target])
    found = attribute(subject.model, image, targets, methods=[method], options=options)[0]
    subject.explained = (asked, found)
    return found


def _told(curves: Curves) -> dict[str, Any]:
    """Return the curves of one method and of the random order beside it."""
    told: dict[str, Any] = {"changed_share": curves.changed_share, "random_orders": curves.random_orders}
    for name in ("deletion", "insertion"):
        line, area = getattr(curves, name), getattr(curves, f"{name}_area")
        told |= {name: line[0, 0], f"{name}_area": area[0, 0]}
        told |= {f"random_{name}": line[1, 0], f"random_{name}_area": area[1, 0]}
    return told


def _receptive(subject: Subject, picture: str, image: Tensor, limit: int) -> Answer:
    """Which pixels move the centre token of each layer."""
    record = Kept(lambda name, value: is_layer(name) and name != "encoded" or None)
    with still(subject.model), torch.no_grad():
        subject.model(image, record)
    found = measure_receptive_field(subject.model, image, layers=list(record))
    names = ("layers", "radius50_px", "radius90_px", "uniform_radius50_px", "uniform_radius90_px", "support_share")
    return Answer({name: getattr(found, name) for name in names}, {"maps": found.maps})


def _patches(subject: Subject, picture: str, image: Tensor, target: int | None, limit: int) -> Answer:
    """What the head reads from each patch alone, layer by layer: the probability of one class."""
    try:
        found = read_layers(subject.model, image, targets=None if target is None else np.array([target]), drawn=1)
    except ConfigError as fault:
        raise Refused(404, fault.what, where=fault.where, fix=fault.fix) from None
    index = int(found.targets[0])
    meta = {"layers": found.layers, "target": index, "class": subject.classes[index]}
    return Answer(meta, {"map": found.maps[:, 0].astype(np.float32)})


_ANSWERS: dict[str, Callable[..., Answer]] = {
    "predict": _predict,
    "attention": _attention,
    "rollout": _rollout,
    "attribution": _attribution,
    "receptive": _receptive,
    "patches": _patches,
}
"""question -> the function that answers it"""
