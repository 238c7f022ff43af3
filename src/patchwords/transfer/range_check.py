"""A learning rate found by trying: it rises from step to step, and where the loss falls fast is where to train."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..data.loader import Batch
from ..training.job import Job
from ..training.step import Shard, StepResult, accumulate_gradients, clip_gradients, weighted_loss

STEPS = 40
BELOW, ABOVE = 100.0, 100.0
"""the sweep runs from the usual rate divided by this to the usual rate times this"""
NEAR = 4.0
"""what is picked is at most this many times the usual rate, and at least one in as many"""
BELOW_DIVERGENCE = 8.0
"""what is picked is at most the rate at which the loss begins to rise, over this"""
RISEN = 0.25
"""share of the fall so far by which the smoothed loss must rise to be called diverging"""
LOOKED_AT = 64
"""pictures on which the loss is measured after each step: always the same, as batches differ more than steps do"""
SMOOTH = 2
"""steps on either side over which the loss is averaged"""


@dataclass(frozen=True)
class RangeCheck:
    """What a sweep of the learning rate found."""

    rates: tuple[float, ...]
    """(steps,) learning rate of each step"""
    losses: tuple[float, ...]
    """(steps,) mean cross-entropy, nats, after each step, over the same pictures"""
    usual: float
    """the rate that would have been taken"""
    steepest: float
    """rate at which the smoothed loss falls fastest"""
    diverging: float
    """rate at which it begins to rise; infinity: it never does"""
    lr: float
    """what was picked"""

    @property
    def reason(self) -> str:
        """The same in words."""
        rises = f"rises from {self.diverging:.2g} on" if math.isfinite(self.diverging) else "never rises"
        return f"lr {self.lr:.2g}: the loss falls fastest at {self.steepest:.2g}, {rises}; usual {self.usual:.2g}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = asdict(self)
        return values | {"diverging": self.diverging if math.isfinite(self.diverging) else None}


def check_range(job: Job, steps: int = STEPS) -> RangeCheck:
    """Return a RangeCheck of the job's own model, pictures and optimizer; the job's state is put back as it was.

    The rate rises geometrically around that of the settings (the range test of Smith, 1506.01186, sec. 3.3, with
    geometric steps), from the state before the first step, over the first batches of the run.
    """
    state, usual = job.state, job.run.optimizer.lr
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    ratio = (BELOW * ABOVE) ** (1 / (steps - 1))
    factors = [ratio**index / BELOW for index in range(steps)]
    rates, losses = [], []
    looked_at = shown_pictures(job)
    try:
        for factor, batch in zip(factors, job.loader.batches(0, steps), strict=True):
            take_step(job, batch, factor)
            rates.append(factor * usual)
            losses.append(loss_on(job, looked_at))
            if not math.isfinite(losses[-1]) or losses[-1] > 2 * max(losses[0], 0.1) + min(losses):
                break
            state.step += 1
    finally:
        state.optimizers.clear()
        state.load_tensors(before, 0)
    return read_sweep(rates, losses, usual)


def take_step(job: Job, batch: Batch, factor: float) -> None:
    """Move the weights once, at `factor` of the peak learning rates; a gradient that is not finite moves nothing."""
    state = job.state
    measured = accumulate_gradients(state, job.shards(batch)), clip_gradients(state)
    if not StepResult(measured, factor * job.run.optimizer.lr).finite:
        return
    state.optimizers.set_learning_rate(factor)
    state.optimizers.step(state.lanes)
    state.round_weights()


def shown_pictures(job: Job) -> list[Shard]:
    """Return the first training pictures as the model would see them in evaluation, in portions of a shard."""
    numbers = job.manifest.split("train")
    numbers = numbers[:: max(1, len(numbers) // LOOKED_AT)][:LOOKED_AT]
    labels = torch.from_numpy(job.manifest.labels[numbers])
    classes, device = len(job.manifest.classes), job.decision.device
    shards, start = [], 0
    for pixels in job.pixel_batches(numbers, job.run.train.batch_size):
        images = job.preprocess.normalize(pixels.to(device)).to(job.decision.dtype)
        targets = torch.nn.functional.one_hot(labels[start : start + len(pixels)], classes).float().to(device)
        shards.append(Shard(images, targets, torch.ones(len(pixels), device=device)))
        start += len(pixels)
    return shards


@torch.no_grad()
def loss_on(job: Job, shards: list[Shard]) -> float:
    """Return the mean cross-entropy of the model as it is."""
    model = job.state.model.eval()
    total = sum((weighted_loss(model(shard.images), shard) for shard in shards), torch.zeros(()))
    model.train()
    return float(total) / sum(len(shard.images) for shard in shards)


def read_sweep(rates: list[float], losses: list[float], usual: float) -> RangeCheck:
    """Return what a sweep says.

    Picked is the rate of the steepest fall, but not above an eighth of the rate from which the loss rises, and within
    a factor of four of the usual one: a sweep of some tens of steps shows what breaks a model better than what is best
    for it.
    """
    smoothed = [mean(losses[max(0, i - SMOOTH) : i + SMOOTH + 1]) for i in range(len(losses))]
    diverging, lowest, top = math.inf, math.inf, smoothed[0]
    for rate, loss in zip(rates, smoothed, strict=True):
        if not math.isfinite(loss) or loss > lowest + max(RISEN * (top - lowest), 0.02 * top):
            diverging = rate
            break
        lowest = min(lowest, loss)
    sound = [i for i in range(1, len(rates)) if rates[i] < diverging] or [0]
    steepest = rates[min(sound, key=lambda i: smoothed[i] - smoothed[max(i - 1, 0)])]
    picked = min(steepest, diverging / BELOW_DIVERGENCE)
    picked = min(max(picked, usual / NEAR), usual * NEAR)
    picked = float(f"{picked:.2g}")
    return RangeCheck(tuple(rates), tuple(losses), usual, steepest, diverging, picked)


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
