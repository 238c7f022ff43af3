"""One optimizer step: gradients of the virtual shards in a fixed order, a check, a move, an average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import RunConfig
from ..errors import CheckpointError, NonFiniteError
from ..models.lora import merged
from ..randomness import derived_seed
from . import optim
from .lanes import Lanes


@dataclass(frozen=True)
class Shard:
    """A fixed part of a batch, ready for the model."""

    images: Tensor
    """(picture, channel, row, column) normalised, in the compute type"""
    targets: Tensor
    """(picture, class) probabilities, float32"""
    weights: Tensor
    """(picture,) float32: 0 for a picture that could not be read"""


@dataclass(frozen=True)
class StepResult:
    """What one step measured; an accelerator has it when it is done, and is waited for by who asks."""

    measured: tuple[Tensor, Tensor]
    """loss and norm of the gradient, where they were computed"""
    lr: float

    @property
    def loss(self) -> float:
        """Return the mean loss of the batch."""
        return self.measured[0].item()

    @property
    def grad_norm(self) -> float:
        """Return the norm of its gradient, before clipping."""
        return self.measured[1].item()

    @property
    def finite(self) -> bool:
        """Return whether both are finite numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class TrainState:
    """Everything a step reads and changes; saved whole, so that a run goes on where it stopped.

    `weights` are float32 and are what the optimizer moves. When the model computes in bfloat16 it holds a
    rounded copy of them; otherwise they are the model's own parameters. Parameters of the model that do not
    require a gradient rest: they are in no part of the state.
    """

    def __init__(self, model: nn.Module, run: RunConfig, steps: int, warmup_steps: int, dtype: torch.dtype) -> None:
        self.weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters() if p.requires_grad}
        resting = {n: p for n, p in model.named_parameters() if not p.requires_grad}
        self.frozen = {n: p.detach().clone() for n, p in resting.items()} if dtype != torch.float32 else {}
        self.model = model.to(dtype)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.ema = {n: w.detach().clone() for n, w in self.weights.items()} if run.train.ema_decay else {}
        no_weight_decay = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
        self.optimizers = optim.build_optimizers(
            run.optimizer, self.weights, no_weight_decay, layer_scales(model, run, self.weights)
        )
        self.forward: Callable[[Tensor], Any] = model
        self.lanes = Lanes(1)
        self.run, self.steps, self.warmup_steps, self.dtype = run, steps, warmup_steps, dtype
        self.step = 0
        if dtype == torch.float32:  # one storage for both: nothing to copy after a step
            for name, parameter in self.parameters.items():
                parameter.data = self.weights[name].data

    @property
    def waited_for(self) -> bool:
        """Whether results are there when a call returns: on a CPU. Asking an accelerator for one holds both up."""
        return next(iter(self.weights.values())).is_cpu

    def averaged(self) -> dict[str, Tensor]:
        """Return the weights to evaluate and ship: the moving average where there is one."""
        return self.ema or self.weights

    def shipped(self) -> dict[str, Tensor]:
        """Return the float32 state_dict of the plain model: averaged weights, resting ones and buffers as they are."""
        return merged(self.model, self.model.state_dict() | self.frozen | self.averaged())

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state as named tensors."""
        parts = {
            "weights": self.weights,
            "ema": self.ema,
            "optimizer": self.optimizers.tensors(),
        }
        return {f"{part}/{name}": tensor.detach() for part, named in parts.items() for name, tensor in named.items()}

    def non_finite(self) -> str:
        """Return the name of a tensor of the state that holds a NaN or an infinity, "" when none does."""
        named = {name: tensor for name, tensor in self.tensors().items() if tensor.is_floating_point()}
        norms = torch._foreach_norm(list(named.values()), math.inf) if named else []
        return next((name for name, norm in zip(named, norms, strict=True) if not math.isfinite(norm)), "")

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor], step: int) -> None:
        """Put back what `tensors` returned after `step` steps.

        Raises:
            CheckpointError: a tensor is missing or has another shape; names it.
        """
        for part, named in (("weights", self.weights), ("ema", self.ema)):
            for name, own in named.items():
                saved = tensors.get(f"{part}/{name}")
                if saved is None or saved.shape != own.shape:
                    raise CheckpointError(f"lacks {part}/{name} of shape {tuple(own.shape)}", where="state")
                own.copy_(saved)
        optimizer = {n.removeprefix("optimizer/"): t for n, t in tensors.items() if n.startswith("optimizer/")}
        held = {n.rpartition("/")[0] for n in optimizer}
        if step and held != self.optimizers.moved.keys():
            missing = sorted(self.optimizers.moved.keys() ^ held)[0]
            raise CheckpointError(f"lacks the optimizer's entries for {missing}", where="state")
        self.optimizers.load_tensors(optimizer)
        self.step = step
        self.round_weights()

    @torch.no_grad()
    def round_weights(self) -> None:
        """Copy the float32 weights into the model when it computes in another type."""
        if self.dtype != torch.float32:
            torch._foreach_copy_(list(self.parameters.values()), [self.weights[n] for n in self.parameters])


def layer_scales(model: nn.Module, run: RunConfig, weights: dict[str, Tensor]) -> dict[str, float] | None:
    """Return the factor of each weight's learning rate; None: the same for all."""
    if run.transfer.layer_decay == 1.0:
        return None
    layers = {name: model.layer_of(name) for name in weights}
    return optim.layer_scales(run.transfer.layer_decay, layers, model.layer_of("head.weight"))


def train_step(state: TrainState, shards: list[Shard], names: Callable[[], list[str]]) -> StepResult:
    """Take one step, or raise and change nothing.

    An accelerator is not waited for: there a step that is not finite is taken, and found by who reads its result.

    Args:
        shards: the batch, cut into its virtual shards.
        names: called on failure for the files of the batch.

    Raises:
        NonFiniteError: the loss or a gradient is not a finite number; names step, weight and files.
    """
    measured = accumulate_gradients(state, shards), clip_gradients(state)
    factor = optim.schedule_factor(state.run.schedule, state.step, state.steps, state.warmup_steps)
    result = StepResult(measured, factor * state.run.optimizer.lr)
    if state.waited_for and not result.finite:
        raise _non_finite(state, result.loss, names())
    state.optimizers.set_learning_rate(factor)
    state.optimizers.step(state.lanes)
    state.step += 1
    state.round_weights()
    update_average(state)
    return result


def accumulate_gradients(state: TrainState, shards: list[Shard]) -> Tensor:
    """Leave in every weight's `.grad` the gradient of the batch's mean loss; return that loss.

    Each shard is computed on its own, with dropout drawn from (seed, step, shard), and the shards are added
    first to last: the bits do not depend on how the shards are spread over devices or time.
    """
    total = sum(shard.weights.sum() for shard in shards).clamp_min(1.0)
    loss = torch.zeros((), device=shards[0].images.device)
    computed = state.lanes.map(partial(shard_gradients, state, total), list(enumerate(shards)))
    for index, (shard_loss, gradients) in enumerate(computed):
        _add_gradients(state, gradients, first=index == 0)
        loss += shard_loss
    return loss


def shard_gradients(state: TrainState, total: Tensor, numbered: tuple[int, Shard]) -> tuple[Tensor, Sequence[Tensor]]:
    """Return one shard's part of the mean loss, and its gradients in the type the model computes in."""
    index, shard = numbered
    if state.lanes.count == 1:  # side by side, a model that draws nothing
        torch.manual_seed(derived_seed(state.run.train.seed, "forward", state.step, index))
    loss = weighted_loss(state.forward(shard.images), shard) / total
    return loss.detach(), torch.autograd.grad(loss, list(state.parameters.values()))


def _add_gradients(state: TrainState, gradients: Sequence[Tensor], first: bool) -> None:
    """Add one shard's gradients, in float32 and in the layout in which a restored state has them.

    The sums stay where they are from step to step: to write to fresh memory takes five times as long as to add.
    """
    weights = [state.weights[name] for name in state.parameters]
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.empty_like(weight, memory_format=torch.contiguous_format)
    (torch._foreach_copy_ if first else torch._foreach_add_)([weight.grad for weight in weights], gradients)


def weighted_loss(logits: Tensor | tuple[Tensor, ...], shard: Shard) -> Tensor:
    """Return the summed cross-entropy of a shard; a model with two heads is taught by both equally."""
    if isinstance(logits, tuple):
        return sum(weighted_loss(part, shard) for part in logits) / len(logits)
    losses = F.cross_entropy(logits.float(), shard.targets, reduction="none")
    return (losses * shard.weights).sum()


def clip_gradients(state: TrainState) -> Tensor:
    """Scale the gradient to the configured norm and return its norm before."""
    gradients = [weight.grad for weight in state.weights.values()]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    limit = state.run.optimizer.clip_norm
    if limit and (not state.waited_for or norm > limit):
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1))
    return norm


@torch.no_grad()
def update_average(state: TrainState) -> None:
    """Move the averaged weights; the decay starts low so that the first random weights are soon forgotten."""
    if state.ema:
        decay = min(state.run.train.ema_decay, (1 + state.step) / (10 + state.step))
        torch._foreach_lerp_(list(state.ema.values()), [state.weights[n] for n in state.ema], 1 - decay)


def _non_finite(state: TrainState, loss: float, names: list[str]) -> NonFiniteError:
    bad = [n for n, w in state.weights.items() if w.grad is not None and not torch.isfinite(w.grad).all()]
    where = f"the gradient of {bad[0]}" if bad else "the loss"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return NonFiniteError(
        f"step {state.step}: {where} is not a finite number (loss {loss}); the step was not applied. Files: {shown}",
        where="training",
        fix="Lower --optimizer.lr, or use --train.precision fp32",
    )
