"""What the page may ask about a picture: the parameters of each question, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..architecture import one_of
from ..errors import ConfigError, nearest
from ..inspection.rollout import FUSIONS
from .refusal import Refused
from .subject import Subject

_MOST_DIGITS = 9


@dataclass(frozen=True)
class Question:
    """One question about a picture, checked; equal questions have equal answers."""

    what: str
    """a key of `PARAMETERS`"""
    options: tuple[tuple[str, Any], ...]
    """keywords of the function of that name in answers.py"""


def read_question(what: str, given: Mapping[str, str], subject: Subject) -> Question:
    """Return the question of `what` with the parameters `given` in an address.

    Raises:
        ConfigError: an unknown parameter, or a value that is not allowed. Refused: this model cannot be asked that.
    """
    readers = PARAMETERS[what]
    for name in given:
        if name not in readers:
            raise ConfigError(f"{name!r} is no parameter of {what}", where=name[:40], fix=nearest(name, readers))
    _check_asked(what, subject)
    return Question(what, tuple((name, read(given.get(name, ""), subject)) for name, read in readers.items()))


def _check_asked(what: str, subject: Subject) -> None:
    if what in ("attention", "rollout") and not subject.attends:
        raise Refused(404, "the model has no attention to look at", where="model", fix="Ask for its receptive field")
    if what in ("attribution", "patches") and not subject.classes:
        raise Refused(404, "the model has no head, so there is no class to ask about", where="model")


def _layers(text: str, subject: Subject) -> tuple[int, int]:
    """Return first and last layer, from 1, of `a-b`, `a` or nothing, which is all of them."""
    if not text:
        return 1, subject.layers
    first, dash, last = text.partition("-")
    low = _number(first, "layers", 1, subject.layers)
    return low, _number(last, "layers", low, subject.layers) if dash else low


def _fusion(text: str, subject: Subject) -> str:
    one_of("fusion", text or FUSIONS[0], FUSIONS)
    return text or FUSIONS[0]


def _method(text: str, subject: Subject) -> str:
    one_of("method", text or subject.methods[0], subject.methods)
    return text or subject.methods[0]


def _target(text: str, subject: Subject) -> int | None:
    """Return a class, from 0; None: the most probable."""
    return _number(text, "target", 0, len(subject.classes) - 1) if text else None


def _top(text: str, subject: Subject) -> int:
    return _number(text or "20", "top", 1, 1_000_000)


def _curves(text: str, subject: Subject) -> bool:
    return _number(text or "1", "curves", 0, 1) == 1


def _number(text: str, where: str, low: int, high: int) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and low <= int(text) <= high:
        return int(text)
    raise ConfigError(f"{text[:40]!r} is not allowed", where=where, fix=f"Give a number from {low} to {high}")


PARAMETERS: dict[str, dict[str, Callable[[str, Subject], Any]]] = {
    "predict": {"top": _top},
    "attention": {"layers": _layers},
    "rollout": {"fusion": _fusion},
    "attribution": {"method": _method, "target": _target, "curves": _curves},
    "receptive": {},
    "patches": {"target": _target},
}
"""question -> parameter -> how its text is read"""
