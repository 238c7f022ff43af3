"""Numbers of a run over time, as results: every look of one kind stacked, with its step and epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..errors import ConfigError
from ..inspection.results import Row, table
from .watched import Watched


@dataclass(frozen=True)
class Training:
    """The lines of metrics.jsonl; what a line does not have is nan."""

    step: np.ndarray
    """(lines,)"""
    epoch: np.ndarray
    loss: np.ndarray
    """nats, of the training batch"""
    grad_norm: np.ndarray
    lr: np.ndarray
    val_top1: np.ndarray
    """share of right answers on the validation split"""
    val_loss: np.ndarray
    """nats"""
    val_ece: np.ndarray
    """expected calibration error"""

    @classmethod
    def of(cls, log: list[dict[str, Any]]) -> Self:
        """Return the lines as columns."""
        columns = {
            field.name: np.array([row.get(field.name, np.nan) for row in log], dtype=np.float64)
            for field in dataclasses.fields(cls)
        }
        return cls(**columns | {"step": columns["step"].astype(np.int64)})

    def rows(self) -> list[Row]:
        """Return a line for each line."""
        names = [field.name for field in dataclasses.fields(self)]
        lines = zip(*(getattr(self, name).tolist() for name in names), strict=True)
        return [{n: v for n, v in zip(names, line, strict=True) if v == v} for line in lines]


@dataclass(frozen=True)
class _Course:
    steps: np.ndarray
    """(looks,)"""
    epochs: np.ndarray
    """(looks,)"""

    def _table(self, *axes: Any, **columns: np.ndarray) -> list[Row]:
        """Return the table of arrays whose first axis is the looks; step and epoch come first in each line."""
        epochs = dict(zip(self.steps.tolist(), self.epochs.tolist(), strict=True))
        rows = table((("step", self.steps.tolist()), *axes), **columns)
        return [{"step": row["step"], "epoch": epochs[row["step"]]} | row for row in rows]


def _stacked(watched: Watched, *names: str) -> dict[str, np.ndarray]:
    """Return steps, epochs and the fields of these names, stacked; of pictures only those that every look has.

    Raises:
        ConfigError: the looks do not have them.
    """
    found = {
        "steps": np.array([look.step for look in watched.looks], dtype=np.int64),
        "epochs": np.array([look.epoch for look in watched.looks]),
    }
    for name in names:
        values = [getattr(look, name) for look in watched.looks]
        if any(value is None for value in values):
            what = "attention" if name not in ("components", "explained_share", "roughness") else "filters to follow"
            raise ConfigError(f"the model has no {what}")
        if name in ("probability", "rollout", "pooling"):
            values = [value[: watched.pictures] for value in values]
        elif name == "attention":
            values = [value[:, : watched.pictures] for value in values]
        found[name] = np.stack(values)
    return found


@dataclass(frozen=True)
class Answers(_Course):
    """What is answered to the pictures."""

    probability: np.ndarray
    """(looks, pictures, classes)"""
    labels: np.ndarray
    """(pictures,)"""
    classes: np.ndarray
    """names of the classes"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the answers of every look."""
        probes = watched.probes
        labels = probes.labels[: watched.pictures]
        return cls(**_stacked(watched, "probability"), labels=labels, classes=probes.classes)

    @property
    def of_label(self) -> np.ndarray:
        """(looks, pictures): probability of the right class."""
        return np.take_along_axis(self.probability, self.labels[None, :, None], axis=2)[..., 0]

    @property
    def right(self) -> np.ndarray:
        """(looks, pictures): whether the most probable class is the right one."""
        return self.probability.argmax(axis=2) == self.labels

    @property
    def settled(self) -> np.ndarray:
        """(pictures,): number of the look from which on every answer is right; -1: the last one is wrong."""
        wrong = ~self.right
        after = len(wrong) - wrong[::-1].argmax(axis=0)
        return np.where(wrong.any(axis=0), np.where(wrong[-1], -1, after), 0)

    def rows(self) -> list[Row]:
        """Return a line for each look, picture and class."""
        return self._table("picture", ("class", self.classes.tolist()), probability=self.probability)


@dataclass(frozen=True)
class Rolled(_Course):
    """Attention rollout of the pictures."""

    maps: np.ndarray
    """(looks, pictures, rows, columns) share of each patch in the answer, through all layers"""
    query: str
    """where it was read"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the rollout of every look."""
        stacked = _stacked(watched, "rollout")
        return cls(maps=stacked.pop("rollout"), query=watched.looks[-1].query, **stacked)

    @property
    def peaks(self) -> np.ndarray:
        """(looks, pictures): the largest share, in shares of the patches were they all alike."""
        return peaks(self.maps)

    @property
    def effective(self) -> np.ndarray:
        """(looks, pictures): exponential of the entropy of the map: as many patches alike are as widely spread."""
        flat = self.maps.reshape(*self.maps.shape[:2], -1).astype(np.float64)
        share = flat / np.maximum(flat.sum(axis=-1, keepdims=True), 1e-300)
        return np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum(axis=-1))

    def rows(self) -> list[Row]:
        """Return a line for each look, picture and patch."""
        return self._table("picture", "row", "column", rollout_share=self.maps)


@dataclass(frozen=True)
class Seen(_Course):
    """Attention of the token that answers."""

    maps: np.ndarray
    """(looks, layers, pictures, rows, columns) share of its attention, mean over the heads"""
    pooling: np.ndarray | None
    """(looks, pictures, rows, columns) of attention pooling"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the attention of every look."""
        stacked = _stacked(watched, "attention")
        pooled = all(look.pooling is not None for look in watched.looks)
        pooling = _stacked(watched, "pooling")["pooling"] if pooled else None
        return cls(maps=stacked.pop("attention"), pooling=pooling, **stacked)

    def rows(self) -> list[Row]:
        """Return a line for each look, layer and picture: where the map peaks, and how high."""
        flat = self.maps.reshape(*self.maps.shape[:3], -1)
        row, column = np.unravel_index(flat.argmax(axis=-1), self.maps.shape[3:])
        return self._table(
            "layer", "picture", peak_row=row + 1, peak_column=column + 1, peak_share=flat.max(axis=-1),
            patches_share=flat.sum(axis=-1),
        )  # fmt: skip


@dataclass(frozen=True)
class Distances(_Course):
    """How far the heads look."""

    distance_px: np.ndarray
    """(looks, layers, heads) mean attention distance, pixels"""
    entropy_nats: np.ndarray
    """(looks, layers, heads)"""
    prefix_share: np.ndarray
    """(looks, layers, heads) share of the patches' attention that goes to the tokens before them"""
    uniform_px: float
    """of even attention, pixels"""
    local_below: float
    """a head is local when its distance is less than this part of `uniform_px`"""
    global_above: float
    """a head is global when its distance is more than this part of `uniform_px`"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the distances of every look."""
        last = watched.looks[-1]
        stacked = _stacked(watched, "distance_px", "entropy_nats", "prefix_share")
        fixed = {name: getattr(last, name) for name in ("uniform_px", "local_below", "global_above")}
        return cls(**stacked, **fixed)

    @property
    def local_share(self) -> np.ndarray:
        """(looks,) share of the heads that are local."""
        return (self.distance_px < self.local_below * self.uniform_px).mean(axis=(1, 2))

    @property
    def global_share(self) -> np.ndarray:
        """(looks,) share of the heads that are global."""
        return (self.distance_px > self.global_above * self.uniform_px).mean(axis=(1, 2))

    def rows(self) -> list[Row]:
        """Return a line for each look, layer and head."""
        measured = {name: getattr(self, name) for name in ("distance_px", "entropy_nats", "prefix_share")}
        return self._table("layer", "head", **measured)


@dataclass(frozen=True)
class Filters(_Course):
    """Leading components of the first filters."""

    components: np.ndarray
    """(looks, k, C, rows, columns)"""
    explained_share: np.ndarray
    """(looks, k)"""
    roughness: np.ndarray
    """(looks, k) 0 flat, 1 noise, 2 a chequerboard"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the filters of every look."""
        return cls(**_stacked(watched, "components", "explained_share", "roughness"))

    def rows(self) -> list[Row]:
        """Return a line for each look and component."""
        return self._table("component", explained_share=self.explained_share, roughness=self.roughness)


@dataclass(frozen=True)
class Positions(_Course):
    """Numbers that sum up what is known of positions."""

    names: tuple[str, ...]
    """of the numbers"""
    values: np.ndarray
    """(looks, numbers)"""

    @classmethod
    def of(cls, watched: Watched) -> Self:
        """Return the numbers of every look."""
        names = tuple(watched.looks[-1].position)
        if not names:
            raise ConfigError("the model has no positions")
        values = np.array([[look.position[name] for name in names] for look in watched.looks])
        return cls(**_stacked(watched), names=names, values=values)

    def columns(self, names: Iterable[str]) -> np.ndarray:
        """Return the numbers of these names: (looks, names)."""
        return self.values[:, [self.names.index(name) for name in names]]

    def rows(self) -> list[Row]:
        """Return a line for each look and number."""
        return self._table(("number", self.names), value=self.values)


def peaks(maps: np.ndarray) -> np.ndarray:
    """Return the largest value of each map (..., rows, columns), in shares of the patches were they all alike."""
    return maps.max(axis=(-2, -1)) * (maps.shape[-2] * maps.shape[-1])


def names(watched: Watched) -> list[str]:
    """Return what to call each picture: its number and class."""
    return [f"picture {number} ({label})" for number, label in enumerate(labels(watched), 1)]


def labels(watched: Watched) -> list[str]:
    """Return the class of each picture."""
    return watched.probes.classes[watched.probes.labels[: watched.pictures]].tolist()


def listed(watched: Watched) -> list[Row]:
    """Return a line for each picture: its file, class and last answer."""
    probes, last = watched.probes, watched.looks[-1].probability[: watched.pictures]
    return [
        {
            "picture": number + 1,
            "file": str(probes.names[number]),
            "class": str(probes.classes[probes.labels[number]]),
            "answer": str(probes.classes[row.argmax()]),
            "probability": float(row.max()),
        }
        for number, row in enumerate(last)
    ]
