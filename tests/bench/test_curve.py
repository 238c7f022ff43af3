"""Loss curves: fast and plain agree on real pictures, and a step that is a little wrong is told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from patchwords.bench import contestants
from patchwords.bench.contestants import Task, ours, plain
from patchwords.bench.curve import compare, digits, losses_of, measure_curve, rounded
from patchwords.cli import main

STEPS = 80


@pytest.fixture(scope="module")
def wanted() -> Iterator[list[float]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model so small is faster with one
    yield losses(plain)
    torch.set_num_threads(threads)


def losses(way) -> list[float]:
    noise = Task.of_noise("vit_nano_patch8_32", 32)
    batch_of = digits(noise)
    return losses_of(way(Task(noise.model, *batch_of(0))), batch_of, STEPS)


@pytest.fixture(scope="module")
def control(wanted: list[float]) -> list[float]:
    return losses(lambda task: plain(task, rounded(task.model)))


def test_the_fast_step_learns_as_the_plain_one(wanted: list[float], control: list[float]) -> None:
    same, learned = compare(wanted, losses(lambda task: ours(task, 1)), control)
    assert same.passed and learned.error < 0.9


def test_half_of_the_learning_rate_is_noticed(
    wanted: list[float], control: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestants, "LR", contestants.LR / 2)
    assert not compare(wanted, losses(plain), control)[0].passed


def test_the_bound_is_how_far_a_control_drifts() -> None:
    wanted, found = [1.0] * 40, [1.0] * 20 + [0.7] * 20
    assert not compare(wanted, found, control=[1.0] * 40)[0].passed
    assert compare(wanted, found, control=[0.8] * 40)[0].passed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_200_steps_of_the_model_that_is_timed() -> None:
    (row,) = measure_curve("vit_tiny_patch4_32", 128, 200)
    assert row.passed, row.checks


@pytest.mark.slow
def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "vit_micro_patch4_32", "--batch-size", "32", "--rounds", "1", "--curve", "200"]
    assert main(["bench", "step", *asked]) == 0
    assert "mean loss of every 20 steps: off by" in capsys.readouterr().out
