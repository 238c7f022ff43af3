"""What a classifier got right: accuracy, confusion, calibration, worst mistakes; and the metrics log."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import files

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Mistake:
    """One wrong answer."""

    path: str
    label: str
    predicted: str
    probability: float
    """given to the wrong class"""


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, in bins of equal width: what a reliability diagram draws (1706.04599, fig. 1)."""

    edges: np.ndarray
    """(bins + 1,) of confidence, 0..1; a bin holds its upper edge"""
    counts: np.ndarray
    """(bins,) pictures"""
    confidence: np.ndarray
    """(bins,) mean probability of the answers; nan in an empty bin"""
    accuracy: np.ndarray
    """(bins,) share of right answers; nan in an empty bin"""

    def rows(self) -> list[dict[str, Any]]:
        """Return one line for each bin; None where it is empty."""
        columns = (self.edges[:-1], self.edges[1:], self.counts, self.confidence, self.accuracy)
        names = ("above", "up_to", "count", "confidence", "accuracy")
        lines = zip(*(column.tolist() for column in columns), strict=True)
        return [{n: None if v != v else v for n, v in zip(names, line, strict=True)} for line in lines]


@dataclass(frozen=True)
class Evaluation:
    """A classifier measured on pictures with known labels."""

    correct: int
    total: int
    correct_top5: int
    loss: float
    """mean cross-entropy, nats"""
    ece: float
    """expected calibration error over 15 bins of equal width, a share in 0..1"""
    classes: tuple[str, ...]
    confusion: np.ndarray
    """(true class, predicted class) counts"""
    mistakes: tuple[Mistake, ...]
    """the most confident wrong answers, worst first"""
    calibration: Calibration
    """the bins behind `ece`"""

    @property
    def top1(self) -> float:
        """Share of pictures whose most probable class is right."""
        return self.correct / self.total if self.total else 0.0

    @property
    def top5(self) -> float:
        """Share of pictures whose right class is among the five most probable."""
        return self.correct_top5 / self.total if self.total else 0.0

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall and F1 of each class; 0 where a class was never predicted or never there."""
        rows = []
        for index, name in enumerate(self.classes):
            hit, actual, said = (
                self.confusion[index, index],
                self.confusion[index].sum(),
                self.confusion[:, index].sum(),
            )
            precision, recall = (float(hit / count) if count else 0.0 for count in (said, actual))
            f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
            rows.append({"class": name, "precision": precision, "recall": recall, "f1": f1, "support": int(actual)})
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "correct": self.correct,
            "total": self.total,
            "top1": self.top1,
            "top5": self.top5,
            "loss": self.loss,
            "ece": self.ece,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "per_class": self.per_class(),
            "calibration": self.calibration.rows(),
            "mistakes": [vars(mistake) for mistake in self.mistakes],
        }


def measure(
    logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], paths: list[str] | None = None, worst: int = 10
) -> Evaluation:
    """Return the Evaluation of `logits` against `labels`.

    Args:
        logits: (picture, class) float.
        labels: (picture,) index of the right class; an index below 0 is a class the model does not know: it
            counts as wrong and is left out of the confusion matrix and of the loss.
        paths: (picture,) names for the worst mistakes.
        worst: how many mistakes to keep.
    """
    total, known = len(labels), labels >= 0
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf) if total else logits
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    order = np.argsort(-logits, axis=1, kind="stable")
    predicted = order[:, 0] if total else np.zeros(0, dtype=np.int64)
    right = predicted == labels
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels[known], predicted[known]), 1)
    confidence = probabilities[np.arange(total), predicted]
    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:worst]
    mistakes = tuple(
        Mistake(
            path=paths[i] if paths else str(i),
            label=classes[labels[i]] if labels[i] >= 0 else "(unknown class)",
            predicted=classes[predicted[i]],
            probability=float(confidence[i]),
        )
        for i in wrong.tolist()
    )
    return Evaluation(
        correct=int(right.sum()),
        total=total,
        correct_top5=int((order[:, :5] == labels[:, None]).any(axis=1).sum()),
        loss=float(-log_probabilities[np.flatnonzero(known), labels[known]].mean()) if known.any() else 0.0,
        ece=calibration_error(confidence, right),
        classes=classes,
        confusion=confusion,
        mistakes=mistakes,
        calibration=calibrate(confidence, right),
    )


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error: |accuracy - confidence| averaged over equal-width bins by count.

    Source: Guo et al., "On calibration of modern neural networks" (1706.04599), eq. 3.
    """
    if not len(confidence):
        return 0.0
    which = _bins_of(confidence, bins)
    counts = np.bincount(which, minlength=bins)
    gaps = np.abs(np.bincount(which, right, bins) - np.bincount(which, confidence, bins))
    return float(gaps[counts > 0].sum() / len(confidence))


def calibrate(confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> Calibration:
    """Return the bins of a reliability diagram.

    Args:
        confidence: (picture,) probability of the answer.
        right: (picture,) bool.
    """
    which = _bins_of(confidence, bins)
    counts = np.bincount(which, minlength=bins)
    sums = [np.bincount(which, weights, bins) for weights in (confidence, right)]
    means = [np.divide(s, counts, out=np.full(bins, np.nan), where=counts > 0) for s in sums]
    return Calibration(np.linspace(0, 1, bins + 1), counts, *means)


def _bins_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


class MetricsLog:
    """metrics.jsonl: one JSON object a line; only what a run computes, no clock, so that it is reproducible.

    A run that goes on cuts the file back to the length it had when its state was saved.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        with files.faults_named(path, "write"):
            self._file = open(path, "ab")  # noqa: SIM115 - open for the whole run
            self._file.truncate(length)
            self._file.seek(length)

    def write(self, row: dict[str, Any]) -> None:
        """Append one line."""
        with files.faults_named(self.path, "write"):
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def sync(self) -> int:
        """Make every line durable and return the length in bytes."""
        with files.faults_named(self.path, "write"):
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file; what matters of it was made durable by `sync`."""
        with contextlib.suppress(OSError):  # a full disk was told when it was written to
            self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl as dicts."""
    return [json.loads(line) for line in files.read_bytes(path).decode().splitlines() if line]
