"""The training step: the one that `train` takes, checked against autograd in float32, then timed."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F

from ..config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from ..cost import cost_of
from ..models import create_model
from ..training.lanes import Lanes
from ..training.step import Shard, TrainState, train_step
from .peak import measure_peak
from .timing import Check, Row, alternate

LOSS_BOUND, GRADIENT_BOUND = 0.01, 0.05
CLASSES = 10


def measure_step(
    name: str, batch_size: int, rounds: int, shards: int = 2, peers: bool = False, **options: int
) -> list[Row]:
    """Return checks and times of the bfloat16 step of a model of the zoo, with AdamW, on a CPU."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES, **options).train()
    torch.nn.init.normal_(model.head.weight, std=0.02)  # a head of zeros would hide every gradient below it
    images = torch.randn(batch_size, 3, *model.config.image_size)
    labels = torch.randint(0, CLASSES, (batch_size,))
    plain = copy.deepcopy(model)
    wanted = F.cross_entropy(plain(images), labels)
    wanted.backward()
    shards = shards if batch_size % shards == 0 else 1
    state = _state(model, batch_size, shards)
    targets = F.one_hot(labels, CLASSES).float()
    parts = zip(images.bfloat16().chunk(shards), targets.chunk(shards), strict=True)
    batch = [Shard(part, target, torch.ones(len(part))) for part, target in parts]
    try:
        loss = train_step(state, batch, names=list).loss
        true = torch.cat([p.grad.flatten() for p in plain.parameters()])
        got = torch.cat([state.weights[n].grad.flatten() for n, _ in plain.named_parameters()])
        checks = (
            Check("loss as in float32", abs(loss - wanted.item()), LOSS_BOUND),
            Check("gradient as in float32", ((got - true).norm() / true.norm()).item(), GRADIENT_BOUND),
        )
        case, side = f"step {name}, batch {batch_size}", f"patchwords bf16, shards={shards}"
        if not all(check.passed for check in checks):
            return [Row(case, side, checks, (), None)]
        seconds = alternate({"ours": lambda: train_step(state, batch, names=list)}, rounds)["ours"]
    finally:
        state.lanes.close()
    rate = batch_size * cost_of(model.config).training_flops / min(seconds)
    return [Row(case, side, checks, seconds, rate / measure_peak(torch.bfloat16), batch_size)]


def _state(model: torch.nn.Module, batch_size: int, shards: int) -> TrainState:
    run = replace(
        RunConfig(),
        optimizer=OptimizerConfig(lr=1e-4, weight_decay=0.0, clip_norm=0.0),
        schedule=ScheduleConfig(name="constant", warmup_epochs=0.0),
        train=TrainConfig(batch_size=batch_size, shards=shards),
    )
    state = TrainState(model, run, steps=10**6, warmup_steps=0, dtype=torch.bfloat16)
    state.lanes = Lanes(min(shards, torch.get_num_threads()))
    return state
