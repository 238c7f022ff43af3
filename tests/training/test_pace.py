"""The progress line: pictures a second, and the share of the time in which steps waited for them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from patchwords.config import RunConfig
from patchwords.training import job as job_module
from patchwords.training.job import Job, Pace
from patchwords.training.run import describe


@pytest.fixture
def job(monkeypatch):
    """Return a job of 100 epochs of 12.8 steps whose clock is `job.now` (seconds)."""
    state, loader = SimpleNamespace(step=0, steps=1280), SimpleNamespace(waited=0.0, plan=None)
    made = Job(RunConfig(), None, SimpleNamespace(device="cpu"), None, None, None, None, loader, None, state)
    loader.plan = SimpleNamespace(steps_per_epoch=12.8)
    made.now = 100.0
    monkeypatch.setattr(job_module.time, "monotonic", lambda: made.now)
    return made


def test_the_share_is_of_the_last_second_or_more(job):
    assert job.pace(0) == Pace(0.0, 0.0)
    job.now, job.loader.waited = 102.0, 0.5
    assert job.pace(4) == Pace(4 * 128 / 2, 0.25)
    job.now, job.loader.waited = 102.5, 1.0
    assert job.pace(5) == Pace(4 * 128 / 2, 0.25)  # renewed once a second
    job.now = 104.0
    assert job.pace(8) == Pace(4 * 128 / 2, 0.25)
    job.now = 105.0
    assert job.pace(10) == Pace(2 * 128, 0.0)


def test_the_progress_line_says_it(job):
    job.pace(0)
    job.now, job.loader.waited, job.state.step = 110.0, 4.2, 64
    result = SimpleNamespace(loss=torch.tensor(1.25).item())
    assert describe(job, result) == "epoch 5.0/100  loss 1.250  819 img/s  42 % waiting for data"
