"""Subsets: nested, with the classes' own shares, functions of seed and size, apart from validation and test."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from patchwords.errors import ConfigError
from patchwords.study.grid import Subsets, class_counts

CLASSES = ("ant", "bee", "cat")
COUNTS = (50, 30, 7)


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 2], COUNTS))


@pytest.fixture
def subsets(labels: np.ndarray) -> Subsets:
    return Subsets(labels, [content(number) for number in range(len(labels))], CLASSES)


def test_a_smaller_subset_is_the_beginning_of_a_larger_one(subsets: Subsets) -> None:
    whole = subsets.nested(3, 87)
    assert sorted(whole) == list(range(87))
    for size in (3, 10, 40, 86):
        assert np.array_equal(subsets.nested(3, size), whole[:size])


def test_classes_keep_their_shares_within_one_picture_and_none_is_missing(subsets: Subsets, labels: np.ndarray) -> None:
    for size in range(3, 88):
        counts = np.bincount(labels[subsets.nested(0, size)], minlength=3)
        assert counts.min() >= 1
        assert np.all(abs(counts - size * np.array(COUNTS) / 87) <= 1.0), (size, counts)


def test_equal_classes_have_equal_parts_where_it_comes_out_even() -> None:
    labels = np.tile(np.arange(10), 40)
    even = Subsets(labels, [content(number) for number in range(400)], [str(number) for number in range(10)])
    assert np.bincount(labels[even.nested(0, 50)]).tolist() == [5] * 10
    assert np.bincount(labels[even.disjoint(1, 50, 4)]).tolist() == [5] * 10


def test_seeds_draw_different_pictures_and_the_same_seed_the_same(subsets: Subsets) -> None:
    assert np.array_equal(subsets.nested(1, 20), subsets.nested(1, 20))
    assert set(subsets.nested(1, 20)) != set(subsets.nested(2, 20))


def test_what_is_drawn_depends_on_contents_not_on_their_order(subsets: Subsets, labels: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(len(labels))
    moved = Subsets(labels[order], [content(number) for number in order.tolist()], CLASSES)
    assert np.array_equal(order[moved.nested(5, 30)], subsets.nested(5, 30))
    assert np.array_equal(order[moved.bootstrap(5, 30)], subsets.bootstrap(5, 30))


def test_bootstrap_draws_with_replacement_inside_classes(subsets: Subsets, labels: np.ndarray) -> None:
    drawn = subsets.bootstrap(0, 87)
    assert np.bincount(labels[drawn]).tolist() == list(COUNTS)
    assert 0.5 < len(set(drawn.tolist())) / 87 < 0.8  # 1 - 1/e of them
    assert not np.array_equal(drawn, subsets.bootstrap(1, 87))


def test_disjoint_parts_share_no_picture(subsets: Subsets, labels: np.ndarray) -> None:
    subsets.require(17, 5)
    parts = [subsets.disjoint(number, 17, 5) for number in range(5)]
    assert len(set(np.concatenate(parts).tolist())) == 85
    assert all(set(labels[part]) == {0, 1, 2} for part in parts)


def test_class_counts_are_those_of_the_subsets(subsets: Subsets, labels: np.ndarray) -> None:
    for size in (3, 20, 55):
        assert class_counts(COUNTS, size) == np.bincount(labels[subsets.nested(9, size)], minlength=3).tolist()


@pytest.mark.parametrize(
    ("size", "draws", "words"),
    [(2, 1, "cannot hold 3 classes"), (88, 1, "there are 87 training pictures"), (30, 3, "3 times 30"), (4, 8, "7 in")],
)
def test_what_cannot_be_drawn_is_refused(subsets: Subsets, size: int, draws: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        subsets.require(size, draws)
