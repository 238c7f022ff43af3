"""The plan of samples: each once per epoch, every batch full, any step at once."""

from __future__ import annotations

import numpy as np
import pytest

from patchwords.data.plan import Once, Plan
from patchwords.errors import ConfigError


@pytest.mark.parametrize(("samples", "size"), [(10, 5), (10, 3), (10, 4), (7, 7), (3, 8), (1, 4), (1000, 128)])
def test_each_sample_is_seen_once_per_epoch_and_no_batch_is_short(samples, size):
    plan = Plan(0, samples, size)
    epochs = 6
    seen = [[] for _ in range(epochs)]
    for step in range(epochs * samples // size):
        epoch, positions = plan.batch(step)
        assert len(epoch) == len(positions) == size
        for each, position in zip(epoch.tolist(), positions.tolist(), strict=True):
            seen[each].append(position)
    whole = epochs * samples // size * size // samples
    assert whole >= epochs - 1 - size // samples
    for each in range(whole):
        assert sorted(seen[each]) == list(range(samples))


def test_a_batch_runs_over_the_boundary_of_epochs():
    plan = Plan(3, 10, 4)
    first, second = (np.concatenate([plan.batch(s).positions for s in range(5)])[i * 10 : i * 10 + 10] for i in (0, 1))
    assert plan.batch(2).epoch.tolist() == [0, 0, 1, 1]
    assert plan.batch(2).positions.tolist() == [*first[8:], *second[:2]]
    assert first.tolist() != second.tolist()


def test_any_step_is_found_without_those_before():
    forward = [Plan(1, 100, 32).batch(step).positions.tolist() for step in range(20)]
    plan = Plan(1, 100, 32)
    for step in (13, 2, 19, 0, 13):
        assert plan.batch(step).positions.tolist() == forward[step]


def test_order_depends_on_the_seed_and_not_on_the_batch_size():
    def order(seed, size):
        return np.concatenate([Plan(seed, 60, size).batch(step).positions for step in range(120 // size)]).tolist()

    assert order(0, 4) == order(0, 30) == order(0, 120)
    assert order(0, 4) != order(1, 4)


def test_place_in_the_data_is_epoch_and_samples_consumed():
    plan = Plan(0, 10, 4)
    assert [plan.locate(step) for step in (0, 2, 3, 5)] == [(0, 0), (0, 8), (1, 2), (2, 0)]
    assert plan.steps_per_epoch == 2.5


def test_far_epochs_are_reached_at_once():
    epoch, positions = Plan(0, 50_000, 128).batch(10**9)
    assert epoch[0] == 10**9 * 128 // 50_000
    assert len(set(positions.tolist())) == 128


def test_evaluation_sees_each_picture_once_in_order_and_ends_short():
    once = Once(10, 4)
    parts = [once.batch(step) for step in range(once.num_steps)]
    assert [len(part.positions) for part in parts] == [4, 4, 2]
    assert np.concatenate([part.positions for part in parts]).tolist() == list(range(10))
    assert Once(8, 4).num_steps == 2
    assert Once(0, 4).num_steps == 0


def test_no_picture_and_no_batch_are_refused():
    with pytest.raises(ConfigError, match="no picture"):
        Plan(0, 0, 4)
    with pytest.raises(ConfigError, match="train.batch_size"):
        Plan(0, 4, 0)
