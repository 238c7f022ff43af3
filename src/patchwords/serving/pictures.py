"""The pictures of the live page: at the sizes the models see, in memory, named by their content."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..data.evaluation import find_pictures
from ..errors import PatchwordsError, printable
from ..preprocess import Preprocess
from .limits import Limits
from .refusal import Refused, told

_NAME = 200
"""characters of a name that are kept"""


class Source(Protocol):
    """A picture somewhere."""

    @property
    def path(self) -> str:
        """Where it is; its last part is shown."""
        ...

    @property
    def read(self) -> Callable[[], bytes]:
        """What returns its bytes, or raises the PatchwordsError that says why not."""
        ...


@dataclass(frozen=True)
class Picture:
    """A picture as the models see it."""

    id: str
    """hash of the file's content"""
    name: str
    """of the file; data, never a path that is opened"""
    pixels: dict[Preprocess, Tensor]
    """uint8 (channels, rows, columns) for each way of preprocessing"""

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return sum(pixels.nbytes for pixels in self.pixels.values())


class Pictures:
    """Pictures from the command line, which stay, and uploaded ones, of which the newest stay.

    Args:
        preprocesses: of the models; every picture is decoded for each of them at once, and its file forgotten.
        given: files, folders, archives, or pictures; one that cannot be used is listed with its fault.
    """

    def __init__(
        self, preprocesses: Iterable[Preprocess], given: Iterable[str | Path | Source], limits: Limits
    ) -> None:
        self._preprocesses = tuple(dict.fromkeys(preprocesses))
        self._limits, self._lock = limits, threading.Lock()
        self._given: dict[str, Picture] = {}
        self._uploaded: dict[str, Picture] = {}
        self._faults: list[dict[str, Any]] = []
        for source in islice(_sources(given), limits.given):
            name = shown(Path(source.path).name)
            try:
                picture = self._decoded(source.read(), name)
                self._given.setdefault(picture.id, picture)
            except PatchwordsError as fault:
                self._faults.append({"id": "", "name": name, "fault": told(fault, where=name)})

    def add(self, data: bytes, name: str) -> Picture:
        """Decode an uploaded picture and keep it.

        Raises:
            DataError: it cannot be used.
        """
        picture = self._decoded(data, shown(name))
        with self._lock:
            if picture.id in self._given:
                return self._given[picture.id]
            self._uploaded.pop(picture.id, None)
            self._uploaded[picture.id] = picture
            while len(self._uploaded) > 1 and self._too_many():
                del self._uploaded[next(iter(self._uploaded))]
        return picture

    def pixels(self, identity: str, preprocess: Preprocess) -> Tensor:
        """Return the pixels of a picture as a model of `preprocess` sees it.

        Raises:
            Refused: there is no such picture, or no longer.
        """
        with self._lock:
            picture = self._given.get(identity) or self._uploaded.get(identity)
        if picture is None:
            raise Refused(404, "there is no such picture, or no longer", where="picture", fix="Drop it again")
        return picture.pixels[preprocess]

    def listing(self) -> list[dict[str, Any]]:
        """Return id and name of every picture, the given ones first; those that cannot be used with their fault."""
        with self._lock:
            whole = [*self._given.values(), *self._uploaded.values()]
        return [{"id": picture.id, "name": picture.name} for picture in whole] + self._faults

    def _decoded(self, data: bytes, name: str) -> Picture:
        pixels = {preprocess: preprocess.pixels(data, name) for preprocess in self._preprocesses}
        return Picture(hashlib.sha256(data).hexdigest()[:32], name, pixels)

    def _too_many(self) -> bool:
        size = sum(picture.nbytes for picture in self._uploaded.values())
        return len(self._uploaded) > self._limits.uploaded or size > self._limits.uploaded_bytes


def _sources(given: Iterable[str | Path | Source]) -> Iterator[Source]:
    for each in given:
        if isinstance(each, str | Path):
            yield from find_pictures([each])
        else:
            yield each


def shown(name: str) -> str:
    """Return `name` on one line, not too long, without characters that change the direction of text."""
    text = printable(name)
    return text if len(text) <= _NAME else text[: _NAME - 3] + "..."
