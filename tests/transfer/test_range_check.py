"""The sweep of the learning rate: what it picks on known curves, and that it leaves no trace."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from patchwords import checkpoint
from patchwords.training import Request
from patchwords.training.setup import restarted, set_up
from patchwords.transfer.range_check import check_range, read_sweep


def quadratic(curvature: float, steps: int = 50, low: float = 1e-4, high: float = 1e3) -> tuple[list, list]:
    """Return rates and losses of noisy descent on curvature / 2 x^2 from x = 1: it diverges above 2 / curvature."""
    noise = torch.randn(steps, generator=torch.Generator().manual_seed(0)).tolist()
    rates = [low * (high / low) ** (index / (steps - 1)) for index in range(steps)]
    losses, x = [], 1.0
    for rate, error in zip(rates, noise, strict=True):
        x -= rate * curvature * (x + 0.1 * error)
        losses.append(curvature / 2 * x * x)
        if not losses[-1] < 1e6:
            break
    return rates[: len(losses)], losses


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0])
def test_picked_is_between_too_small_and_diverging(curvature: float) -> None:
    rates, losses = quadratic(curvature)
    found = read_sweep(rates, losses, usual=0.2 / curvature)
    assert 2 / curvature < found.diverging < 40 / curvature
    assert 0.02 / curvature < found.lr < 2 / curvature


def test_picked_stays_near_the_usual_rate() -> None:
    rates, losses = quadratic(1.0)
    assert read_sweep(rates, losses, usual=1e-4).lr == pytest.approx(4e-4)
    assert read_sweep(rates, losses, usual=100.0).lr == pytest.approx(25.0)
    flat = read_sweep([0.1, 1.0, 10.0], [1.0, 1.0, 1.0], usual=1.0)
    assert math.isinf(flat.diverging) and 0.25 <= flat.lr <= 4.0 and flat.as_dict()["diverging"] is None
    broken = read_sweep([0.1, 1.0, 10.0], [1.0, math.nan, math.nan], usual=1.0)
    assert broken.diverging <= 1.0 and broken.lr == 0.25


SETTINGS = {
    "model.dim": "16", "model.depth": "1", "model.num_heads": "2", "model.mlp_dim": "16", "train.steps": "8",
    "train.batch_size": "16", "train.shards": "2", "train.ema_decay": "0.9", "train.tensorboard": "false",
    "optimizer.name": "adamw", "optimizer.lr": "0.003", "augment.mixup": "0.2", "train.threads": "1",
}  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_real_sweep_leaves_no_trace(folder, tmp_path, precision: str) -> None:
    (tmp_path / "run").mkdir()
    job = set_up(Request(str(folder), settings=SETTINGS | {"train.precision": precision}), tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in job.state.tensors().items()}
    model = checkpoint.tensors_hash(job.state.model.state_dict())
    found = check_range(job, steps=30)
    assert found == check_range(job, steps=30)
    assert checkpoint.tensors_hash(job.state.tensors()) == checkpoint.tensors_hash(before)
    assert checkpoint.tensors_hash(job.state.model.state_dict()) == model and job.state.step == 0
    assert 10 < len(found.rates) <= 30 and found.rates[0] == pytest.approx(3e-5)
    assert 0.003 / 4 <= found.lr <= 0.003 * 4
    again = restarted(job, dataclasses.replace(job.run, optimizer=dataclasses.replace(job.run.optimizer, lr=found.lr)))
    assert checkpoint.tensors_hash(again.state.tensors()) == checkpoint.tensors_hash(before)
    assert {g["peak_lr"] for o in again.state.optimizers.parts for g in o.param_groups} == {found.lr}
    again.close()
    job.close()
    assert torch.isfinite(torch.tensor(found.losses[:5])).all()
