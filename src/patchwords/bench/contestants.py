"""Ways to take one training step of one model on one batch: plain, ours, timm's as its script does it, timm's tuned.

All start from the same weights and move them with AdamW (learning rate LR, no weight decay, no clipping): forward,
backward, gradients added in float32, their norm, the move of the float32 weights. A step returns the loss before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from ..device import DTYPES
from ..models import create_model
from ..training.decision import compile_for
from ..training.lanes import Lanes
from ..training.step import Shard, TrainState, train_step
from .peers import timm_twin
from .timing import OURS

CLASSES, LR = 10, 1e-4
TIMM, TUNED = "timm as it runs", "timm tuned"
"""how the names of the peers' ways begin"""


@dataclass(frozen=True)
class Task:
    """What every contestant trains on."""

    model: nn.Module
    """float32, in training mode; nobody changes it"""
    images: Tensor
    """(B, C, H, W) float32"""
    labels: Tensor
    """(B,)"""

    @classmethod
    def of_noise(cls, name: str, batch_size: int, **options: int) -> Task:
        """Return a model of the zoo and a batch of random pictures, on the GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = create_model(name, num_classes=CLASSES, **options).train()
            nn.init.normal_(model.head.weight, std=0.02)  # a head of zeros would hide every gradient below it
            images = torch.randn(batch_size, 3, *model.config.image_size)
            labels = torch.randint(0, CLASSES, (batch_size,))
        return cls(model.to(device), images.to(device), labels.to(device))


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to take a step."""

    side: str
    step: Callable[[], float]
    gradients: Callable[[], list[Tensor]]
    """of the last step, in the order of the model's parameters"""
    feed: Callable[[Tensor, Tensor], None]
    """changes the batch to these images and labels of the same shapes"""
    close: Callable[[], None] = lambda: None


def plain(task: Task, model: nn.Module | None = None) -> Contestant:
    """Return the step by autograd in float32, of our model or of another with the same parameters."""
    model = copy.deepcopy(task.model) if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    batch = [task.images, task.labels]

    def step() -> float:
        loss = F.cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Contestant("float32 by autograd", step, lambda: _gradients(model.parameters()), _feeder(batch))


def ours(
    task: Task,
    shards: int,
    compiled: bool = False,
    lanes: int | None = None,
    recompute: bool = False,
    precision: str = "bf16",
) -> Contestant:
    """Return the step of `patchwords train`: the function that training calls, with its checks.

    Args:
        shards: virtual shards, one after another in each lane.
        lanes: shards computed side by side; None: as many as training takes.
        recompute: compute activations again in the backward pass.
        precision: bf16 or fp32.
    """
    dtype = DTYPES[precision]
    size, on_cpu = len(task.images), task.images.device.type == "cpu"
    run = replace(
        RunConfig(),
        optimizer=OptimizerConfig(lr=LR, weight_decay=0.0, clip_norm=0.0),
        schedule=ScheduleConfig(name="constant", warmup_epochs=0.0),
        train=TrainConfig(batch_size=size, shards=shards),
    )
    state = TrainState(copy.deepcopy(task.model), run, steps=10**6, warmup_steps=0, dtype=dtype)
    state.lanes = Lanes(lanes or (min(shards, torch.get_num_threads()) if on_cpu else 1))
    state.model.set_checkpointing(recompute)
    if compiled:
        state.forward = compile_for(state.model, task.images.device.type)
    batch: list[Shard] = []

    def feed(images: Tensor, labels: Tensor) -> None:
        targets, weights = F.one_hot(labels, CLASSES).float(), torch.ones(size, device=labels.device)
        parts = zip(images.to(dtype).chunk(shards), targets.chunk(shards), weights.chunk(shards), strict=True)
        batch[:] = [Shard(*part) for part in parts]

    def step() -> float:
        with state.lanes.between():
            return train_step(state, batch, names=list).loss

    feed(task.images, task.labels)
    names = [name for name, _ in task.model.named_parameters()]
    return Contestant(
        f"{OURS} {precision}, shards={shards}{', compiled' * compiled}{', recomputed' * recompute}",
        step,
        lambda: _gradients(state.weights[name] for name in names),
        feed,
        state.lanes.close,
    )


def timm_as_it_runs(task: Task, compiled: bool) -> Contestant:
    """Return the step of timm's train.py with --amp --amp-dtype bfloat16 --opt adamw --fused, and --torchcompile."""
    return under_autocast(f"{TIMM}, {'compiled' if compiled else 'eager'}", timm_twin(task.model), task, compiled)


def under_autocast(side: str, model: nn.Module, task: Task, compiled: bool = False) -> Contestant:
    """Return the step of a model with float32 weights, cast to bfloat16 anew in each operation."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0, fused=True)
    forward = torch.compile(model, dynamic=False) if compiled else model
    batch, device = [task.images, task.labels], task.images.device.type

    def step() -> float:
        with torch.autocast(device, torch.bfloat16):
            loss = F.cross_entropy(forward(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Contestant(side, step, lambda: _gradients(model.parameters()), _feeder(batch))


def timm_tuned(task: Task, micro: int, compiled: bool) -> Contestant:
    """Return the step of timm's model made as fast as its options and torch's allow.

    Plain attention, bfloat16 weights with float32 masters, micro-batches whose gradients are added in float32.
    """
    model = timm_twin(task.model, fused_attention=task.images.is_cuda)
    masters = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(masters, lr=LR, weight_decay=0.0, fused=True)
    parameters = list(model.bfloat16().parameters())
    forward = compile_for(model, task.images.device.type) if compiled else model
    portions: list[tuple[Tensor, Tensor]] = []

    def feed(images: Tensor, labels: Tensor) -> None:
        portions[:] = zip(images.bfloat16().split(micro), labels.split(micro), strict=True)

    def step() -> float:
        total = 0.0
        for number, (images, labels) in enumerate(portions):
            loss = F.cross_entropy(forward(images).float(), labels) / len(portions)
            gradients = torch.autograd.grad(loss, parameters)
            if number == 0:
                for master, gradient in zip(masters, gradients, strict=True):
                    master.grad = gradient.float()
            else:
                torch._foreach_add_([master.grad for master in masters], list(gradients))
            total += loss.item()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(parameters, masters)
        return total

    feed(task.images, task.labels)
    side = f"{TUNED}, {'compiled' if compiled else 'eager'}, micro-batches of {micro}"
    return Contestant(side, step, lambda: _gradients(masters), feed)


def _gradients(weights) -> list[Tensor]:
    return [weight.grad for weight in weights]


def _feeder(batch: list[Tensor]) -> Callable[[Tensor, Tensor], None]:
    def feed(images: Tensor, labels: Tensor) -> None:
        batch[:] = images, labels

    return feed
