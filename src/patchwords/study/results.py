"""results.json, results.npz and results.csv: what every model of a study answered, the same bytes every time."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..files import npz_bytes, read_bytes, read_json, write_atomic
from ..inspection.results import Row, write_csv

JSON, NPZ, CSV = "results.json", "results.npz", "results.csv"
ARMS = ("scratch", "transfer")
DRAWS = ("subset", "bootstrap", "disjoint")
_AGAIN = "Run the same command again, or use a copy of the folder"


@dataclass(frozen=True, eq=False, kw_only=True)
class Cell:
    """One model, trained once and asked once for each test picture."""

    model: str
    """as it was named in --models"""
    size: int
    """training pictures"""
    seed: int
    """of the subset, the first weights and the order; cells of one seed belong together when models are compared"""
    lr: float
    """learning rate that was chosen on validation pictures"""
    val_top1: float
    """share of right answers on the validation pictures, 0..1"""
    correct: np.ndarray
    """(T,) bool: whether the answer to each test picture is right; the same T pictures in all cells"""
    steps: int
    samples_seen: int
    flops: float
    """of the whole training that counts: the run with the learning rate that was chosen"""
    parameters: int
    arm: str = "scratch"
    """scratch or transfer"""
    augment: str = "none"
    """level of augmentation"""
    draw: str = "subset"
    """which training pictures: subset (those of the seed), or, for bias and variance alone, bootstrap (drawn again
    with replacement) or disjoint (none in two cells)"""
    curve: tuple[tuple[int, float | None, float | None], ...] = ()
    """(samples seen, share of right validation answers, training loss in nats), in the order of training"""
    shift_consistency: float | None = None
    """share of test pictures with the same answer after a shift by one pixel, 0..1"""
    votes: np.ndarray | None = None
    """(T,) whole numbers: the class that was answered, in 0 .. K - 1; what bias and variance need"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "correct", np.ascontiguousarray(self.correct, dtype=bool))
        if self.votes is not None:
            object.__setattr__(self, "votes", np.ascontiguousarray(self.votes, dtype=np.uint16))
        object.__setattr__(self, "curve", tuple((int(seen), _plain(a), _plain(b)) for seen, a, b in self.curve))
        if self.arm not in ARMS or self.draw not in DRAWS:
            raise ValueError(f"arm {self.arm!r} is not one of {ARMS}, or draw {self.draw!r} not one of {DRAWS}")
        if self.votes is not None and self.votes.shape != self.correct.shape:
            raise ValueError(f"{len(self.votes)} votes on {len(self.correct)} pictures")

    @property
    def test_top1(self) -> float:
        """Share of right answers on the test pictures, 0..1."""
        return float(self.correct.mean())

    @property
    def key(self) -> tuple[str, str, str, int, str, int]:
        """What tells a cell from the others: arm, augment, draw, size, model, seed."""
        return (self.arm, self.augment, self.draw, self.size, self.model, self.seed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self._as_bytes() == other._as_bytes()

    __hash__ = None  # type: ignore[assignment]

    def _as_bytes(self) -> tuple[str, bytes, bytes | None]:
        return json.dumps(self.as_dict()), self.correct.tobytes(), None if self.votes is None else self.votes.tobytes()

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the answers to single pictures, for JSON."""
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        del told["correct"], told["votes"]
        return told | {"flops": float(self.flops), "curve": [list(point) for point in self.curve]}

    def row(self) -> Row:
        """Return a line of the table."""
        told = {name: value for name, value in self.as_dict().items() if name != "curve"}
        shift = "" if self.shift_consistency is None else self.shift_consistency
        return told | {"shift_consistency": shift, "test_top1": self.test_top1}


@dataclass(frozen=True)
class Results:
    """All cells of a study that are done. No times: the same study gives the same bytes.

    `question` says what was asked: plain values, for JSON. The report shows every entry and knows these: `data`,
    `models`, `sizes`, `seeds`, `match` (epochs, flops, params or time), `rates` (the learning rates to choose from).
    """

    question: dict[str, Any]
    classes: tuple[str, ...]
    cells: tuple[Cell, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "cells", tuple(sorted(self.cells, key=lambda cell: cell.key)))
        if len({cell.key for cell in self.cells}) < len(self.cells):
            raise ValueError("two cells of the same model, size, seed, arm, augmentation and draw")
        if len({cell.correct.shape for cell in self.cells}) > 1:
            raise ValueError("cells that were tested on different pictures")

    @property
    def pictures(self) -> int:
        """Test pictures."""
        return len(self.cells[0].correct) if self.cells else 0

    def rows(self) -> list[Row]:
        """Return a line for each cell."""
        return [cell.row() for cell in self.cells]

    def write(self, folder: Path) -> None:
        """Write results.npz, results.json and results.csv into the folder; equal results give equal bytes.

        Raises:
            WriteError, PermissionFault: a file cannot be written.
        """
        arrays = npz_bytes(self._arrays())
        told = {
            "version": 1,
            "question": self.question,
            "classes": list(self.classes),
            "pictures": self.pictures,
            "answers_sha256": hashlib.sha256(arrays).hexdigest(),
            "cells": [cell.as_dict() for cell in self.cells],
        }
        write_atomic(folder / NPZ, arrays)
        write_atomic(folder / JSON, json.dumps(told, indent=1, allow_nan=False) + "\n")
        write_csv(folder / CSV, self)  # type: ignore[arg-type]

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the answers: one bit a picture, and for votes as many bits as the number of classes needs."""
        empty = np.zeros((0, self.pictures), dtype=bool)
        correct = np.stack([cell.correct for cell in self.cells]) if self.cells else empty
        given = [number for number, cell in enumerate(self.cells) if cell.votes is not None]
        votes = np.stack([self.cells[number].votes for number in given]) if given else empty.astype(np.uint16)
        planes = np.arange(max(1, int(votes.max(initial=0)).bit_length()))[:, None]
        split = (votes[:, None] >> planes) & 1
        return {
            "correct": np.packbits(correct, axis=-1),
            "voters": np.array(given, dtype=np.int32),
            "votes": np.packbits(split.astype(bool), axis=-1),
        }


def read_results(path: Path) -> Results:
    """Return what `Results.write` wrote.

    Args:
        path: the folder, or its results.json.

    Raises:
        MissingError: it is not there. CheckpointError: a file is damaged, or they do not belong together.
    """
    path = path / JSON if path.is_dir() else path
    told, arrays = read_json(path), read_bytes(path.with_name(NPZ))
    if not isinstance(told, dict) or told.get("version") != 1:
        raise CheckpointError("is not a results file of patchwords", where=str(path), fix=_AGAIN)
    if told.get("answers_sha256") != hashlib.sha256(arrays).hexdigest():
        raise CheckpointError(f"does not belong to this {JSON}", where=str(path.with_name(NPZ)), fix=_AGAIN)
    try:
        with np.load(io.BytesIO(arrays), allow_pickle=False) as packed:
            return _unpacked(told, {name: packed[name] for name in packed.files})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as fault:
        raise CheckpointError(f"is damaged: {fault}", where=str(path), fix=_AGAIN) from fault


def _unpacked(told: dict[str, Any], arrays: dict[str, np.ndarray]) -> Results:
    pictures = int(told["pictures"])
    if any(-(-pictures // 8) != arrays[name].shape[-1] for name in ("correct", "votes")):
        raise ValueError("not as many answers as test pictures")
    correct = np.unpackbits(arrays["correct"], axis=-1, count=pictures).astype(bool)
    split = np.unpackbits(arrays["votes"], axis=-1, count=pictures).astype(np.uint16)
    votes = (split << np.arange(split.shape[1], dtype=np.uint16)[:, None]).sum(axis=1, dtype=np.uint16)
    given = dict(zip(arrays["voters"].tolist(), votes, strict=True))
    cells = tuple(
        Cell(**each, correct=right, votes=given.get(number))
        for number, (each, right) in enumerate(zip(told["cells"], correct, strict=True))
    )
    return Results(told["question"], tuple(told["classes"]), cells)


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
