"""Metrics against brute force and scikit-learn."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest

from patchwords.errors import WriteError
from patchwords.metrics import MetricsLog, calibration_error, measure, read_log

CLASSES = tuple("abcdefgh")


def drawn(seed: int, count: int = 300, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) * 2
    logits[np.arange(count), labels] += 1.0
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("seed", range(3))
def test_counts_by_hand(seed):
    logits, labels = drawn(seed)
    found = measure(logits, labels, CLASSES)
    correct = top5 = 0
    confusion = np.zeros((8, 8), int)
    losses, sure, right = [], [], []
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        order = sorted(range(8), key=lambda k: -row[k])
        p = np.exp(row) / np.exp(row).sum()
        correct += order[0] == label
        top5 += label in order[:5]
        confusion[label, order[0]] += 1
        losses.append(-np.log(p[label]))
        sure.append(p.max())
        right.append(order[0] == label)
    assert (found.correct, found.total, found.correct_top5) == (correct, 300, top5)
    assert isinstance(found.correct, int) and isinstance(found.total, int)
    np.testing.assert_array_equal(found.confusion, confusion)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-12)
    error = 0.0
    for low in range(15):
        inside = [i for i, p in enumerate(sure) if low / 15 < p <= (low + 1) / 15]
        if inside:
            gap = abs(np.mean([right[i] for i in inside]) - np.mean([sure[i] for i in inside]))
            error += len(inside) / 300 * gap
    assert found.ece == pytest.approx(error, rel=1e-9)
    bins = found.calibration
    assert bins.counts.sum() == 300 and bins.edges.tolist() == [n / 15 for n in range(16)]
    for low in range(15):
        inside = [i for i, p in enumerate(sure) if low / 15 < p <= (low + 1) / 15]
        assert bins.counts[low] == len(inside)
        want = (np.mean([sure[i] for i in inside]), np.mean([right[i] for i in inside])) if inside else (np.nan,) * 2
        np.testing.assert_allclose((bins.confidence[low], bins.accuracy[low]), want, rtol=1e-12)
    assert [row["count"] for row in found.as_dict()["calibration"]] == bins.counts.tolist()
    worst = sorted((i for i in range(300) if not right[i]), key=lambda i: -sure[i])[:10]
    assert [mistake.path for mistake in found.mistakes] == [str(i) for i in worst]


def test_per_class_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, labels = drawn(5)
    labels[labels == 3] = 2  # a class that is never there
    logits[:, 6] = -50  # and one that is never said
    found = measure(logits, labels, CLASSES)
    expected = sklearn.precision_recall_fscore_support(
        labels, logits.argmax(1), labels=list(range(8)), zero_division=0.0
    )
    rows = found.per_class()
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose([row[name] for row in rows], column, atol=1e-12)
    assert [row["class"] for row in rows] == list(CLASSES)
    assert found.top1 == pytest.approx(sklearn.accuracy_score(labels, logits.argmax(1)))
    assert found.top5 == pytest.approx(sklearn.top_k_accuracy_score(labels, logits, k=5, labels=list(range(8))))


def test_calibration_of_known_answers():
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert calibration_error(np.array([0.8] * 10), np.array([True] * 8 + [False] * 2)) == pytest.approx(0, abs=1e-12)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) == 0


def test_nothing_and_unknown_classes():
    empty = measure(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), ("a", "b", "c"))
    assert (empty.correct, empty.total, empty.top1, empty.top5, empty.loss, empty.ece) == (0, 0, 0.0, 0.0, 0.0, 0.0)
    assert json.loads(json.dumps(empty.as_dict()))["confusion"] == [[0] * 3] * 3
    logits = np.array([[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0]])
    some = measure(logits, np.array([0, -1, 1]), ("a", "b", "c"), ["x", "y", "z"])
    assert (some.correct, some.total) == (1, 3) and some.confusion.sum() == 2
    assert {(m.path, m.label, m.predicted) for m in some.mistakes} == {("y", "(unknown class)", "b"), ("z", "b", "a")}
    none = measure(logits, np.array([-1, -1, -1]), ("a", "b", "c"))
    assert (none.correct, none.loss, none.confusion.sum()) == (0, 0.0, 0)


def test_ties_and_large_numbers():
    tied = measure(np.zeros((2, 3)), np.array([0, 2]), ("a", "b", "c"))
    assert tied.correct == 1 and tied.correct_top5 == 2 and tied.loss == pytest.approx(np.log(3))
    large = measure(np.array([[1e30, -1e30]]), np.array([0]), ("a", "b"))
    assert large.loss == 0 and large.ece == 0


def test_a_log_that_cannot_grow(tmp_path):
    """A full disk is one fault, told where it was met; closing does not tell it again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(WriteError, match="metrics.jsonl: cannot write: File too large. Free some space"):
            log.write({"text": "x" * 100})
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_log_is_cut_back_and_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write({"step": 1, "name": "\udcff"})
    length = log.sync()
    log.write({"step": 2})
    log.close()
    again = MetricsLog(path, length)
    again.write({"step": 3})
    again.close()
    assert [row["step"] for row in read_log(path)] == [1, 3] and read_log(path)[0]["name"] == "\udcff"
    with pytest.raises(WriteError, match="Give another path"):
        MetricsLog(tmp_path / "metrics.jsonl" / "below")
