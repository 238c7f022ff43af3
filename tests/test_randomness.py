"""Counter-based random numbers: the published answers, uniform and independent streams, nothing remembered."""

from __future__ import annotations

import time

import numpy as np
import pytest

from patchwords.randomness import bits, derived_seed, permutation, philox, uniform

# kat_vectors of Random123 1.14, lines "philox4x32 10": counter, key, answer
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, answer):
    assert philox(np.array([words(counter)], dtype=np.uint64), tuple(words(key))).tolist() == [words(answer)]


def test_philox_of_many_counters_is_that_of_each():
    counters = np.arange(40, dtype=np.uint64).reshape(10, 4) * 0x9E3779B9 % 2**32
    together = philox(counters, (1, 2))
    assert all((philox(counters[i : i + 1], (1, 2)) == together[i]).all() for i in range(10))


def test_a_draw_depends_on_nothing_but_its_own_counters():
    all_at_once = uniform(5, "site", 3, np.arange(100), 6)
    some = np.array([71, 3, 99])
    assert (uniform(5, "site", 3, some, 6) == all_at_once[some]).all()
    assert (uniform(5, "site", 3, some, 2) == all_at_once[some, :2]).all()
    epochs = np.array([3, 4, 3])
    mixed = uniform(5, "site", epochs, some, 6)
    assert all((mixed[i] == uniform(5, "site", int(epochs[i]), some[i], 6)[0]).all() for i in range(3))


def test_draws_are_uniform():
    draws = uniform(0, "site", 0, np.arange(50_000), 4).ravel()
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]
    chi_squared = ((counts - 2000) ** 2 / 2000).sum()
    assert 50 < chi_squared < 160  # 99 degrees of freedom: mean 99, deviation 14


def test_seeds_sites_epochs_ids_and_places_are_independent():
    ids = np.arange(20_000)
    base = uniform(1, "flip", 1, ids, 2)
    others = [
        base[:, 1],
        uniform(2, "flip", 1, ids)[:, 0],
        uniform(1, "crop", 1, ids)[:, 0],
        uniform(1, "flip", 2, ids)[:, 0],
        uniform(1, "flip", 1, ids + 1)[:, 0],
        uniform(1, "flip", 1, ids + 2**32)[:, 0],
    ]
    for other in others:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 0.03
        assert (base[:, 0] == other).mean() < 1e-3


def test_streams_stay_what_they_are():
    # a change here means that no run of an earlier version can be gone on with
    assert bits(7, "order", 2, [0, 1]).tolist() == [[2394002957], [2795083285]]
    assert permutation(7, "order", 2, 12).tolist() == [8, 11, 9, 2, 6, 0, 3, 1, 7, 10, 4, 5]
    assert derived_seed(7, "weights") == 9088585557915760308


@pytest.mark.parametrize("length", [1, 2, 3, 1000])
def test_permutation_has_each_number_once(length):
    assert sorted(permutation(3, "order", 4, length).tolist()) == list(range(length))


def test_permutations_differ_by_seed_site_and_epoch():
    all_of_them = [permutation(s, site, e, 50).tolist() for s in (0, 1) for site in "ab" for e in (0, 1)]
    assert len({tuple(order) for order in all_of_them}) == 8


def test_every_place_of_a_permutation_is_equally_likely():
    first = np.array([permutation(0, "order", epoch, 10)[0] for epoch in range(2000)])
    counts = np.bincount(first, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 30  # 9 degrees of freedom


def test_derived_seeds_fit_a_generator_and_differ():
    seeds = {derived_seed(0, site, *counters) for site in ("a", "b") for counters in ((), (1,), (1, 1))}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_drawing_for_a_batch_takes_well_under_two_milliseconds():
    ids = np.arange(128)
    took = []
    for _ in range(20):
        start = time.process_time()
        uniform(0, "site", 0, ids, 16)
        took.append(time.process_time() - start)
    assert min(took) < 2e-3
