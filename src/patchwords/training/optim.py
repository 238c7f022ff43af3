"""Parameter groups, optimizers and the learning-rate schedule as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import OptimizerConfig, ScheduleConfig
from .lanes import Lanes

FIRST_CONVOLUTIONS = ("patch_embed.backbone.0.0.", "patch_embed.backbone.stem.")
"""of the stems: what they see are pixels"""


def schedule_factor(config: ScheduleConfig, step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the peak learning rate at `step` of `steps`.

    Linear from 0 over the warm-up (2010.11929, B.1), then cosine, linear or constant down to `config.final`.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[config.name]
    return config.final + (1 - config.final) * left


def is_matrix(name: str, weight: Tensor, no_weight_decay: set[str]) -> bool:
    """Return whether a weight is a matrix that decays: not a bias, a norm, a token or a position."""
    return weight.ndim >= 2 and name not in no_weight_decay


def is_hidden_matrix(name: str, weight: Tensor) -> bool:
    """Return whether Muon moves a weight: the matrices of the blocks, the convolutions of a stem but the first."""
    if name.startswith("patch_embed.backbone."):
        return weight.ndim == 4 and not name.startswith(FIRST_CONVOLUTIONS)
    return name.startswith("blocks.") and weight.ndim == 2 and name.endswith(".weight")


def matrices_of(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return the matrices that lie in a hidden weight, or in its gradient, on the same storage; q, k, v lie in one.

    Muon makes an update orthogonal as a whole; stacked matrices must each be so. A convolution is the matrix from the
    unrolled neighbourhood of a place to its channels.
    """
    if weight.ndim > 2:
        return {f"{name}.rows": weight.flatten(1)}
    if not name.endswith("attn.qkv.weight"):
        return {name: weight}
    return {f"{name}.{letter}": part for letter, part in zip("qkv", weight.chunk(3), strict=True)}


@dataclass(frozen=True)
class Optimizers:
    """The optimizers that together move every weight once; their state travels by name."""

    parts: tuple[torch.optim.Optimizer, ...]
    moved: dict[str, Tensor]
    """name -> what an optimizer holds: a weight, or a matrix on a weight's storage"""
    stacked: dict[str, Tensor]
    """name of each weight whose matrices are moved apart -> the weight"""

    def set_learning_rate(self, factor: float) -> None:
        """Set every group to `factor` of its peak."""
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor

    def step(self, lanes: Lanes) -> None:
        """Move every weight by its `.grad`; the parts hold different weights and are done side by side."""
        for name, weight in self.stacked.items():
            for part, gradient in matrices_of(name, weight.grad).items():
                self.moved[part].grad = gradient
        list(lanes.map(lambda optimizer: optimizer.step(), self.parts))

    def clear(self) -> None:
        """Forget every step: the state before the first."""
        for optimizer in self.parts:
            optimizer.state.clear()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as {"name/entry": tensor}; {} before the first step."""
        names = {id(weight): name for name, weight in self.moved.items()}
        return {
            f"{names[id(weight)]}/{entry}": torch.as_tensor(value)
            for optimizer in self.parts
            for weight, state in optimizer.state.items()
            for entry, value in state.items()
            if value is not None
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        owner = {id(w): o for o in self.parts for group in o.param_groups for w in group["params"]}
        for key, tensor in tensors.items():
            name, _, entry = key.rpartition("/")
            weight = self.moved[name]
            device = "cpu" if entry == "step" and weight.device.type == "cpu" else weight.device
            owner[id(weight)].state[weight][entry] = tensor.to(device)


def equal_parts(matrices: list[Tensor], count: int = 4) -> list[list[Tensor]]:
    """Return `matrices` in up to `count` parts of about equal work, that of Muon's products."""
    parts: list[list[Tensor]] = [[] for _ in range(count)]
    work = [0] * count
    for matrix in sorted(matrices, key=lambda m: -m.numel() * min(m.shape)):
        least = work.index(min(work))
        parts[least].append(matrix)
        work[least] += matrix.numel() * min(matrix.shape)
    return [part for part in parts if part]


def layer_scales(decay: float, layers: Mapping[str, int], last: int) -> dict[str, float]:
    """Return the factor of each weight's learning rate: decay^(last - layer).

    Layer-wise learning-rate decay of BEiT (2106.08254, sec. 3.2) and ELECTRA (2003.10555, app. B).

    Args:
        layers: name -> depth: 0 embedding, 1..L blocks, L + 1 what follows.
        last: L + 1.
    """
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def build_optimizers(
    config: OptimizerConfig,
    weights: Mapping[str, Tensor],
    no_weight_decay: set[str],
    scales: Mapping[str, float] | None = None,
) -> Optimizers:
    """Return the optimizers for `weights`; each group knows its `peak_lr`.

    Weight decay falls on matrices only. With muon, the matrices of the blocks go to Muon
    (torch.optim.Muon) and everything else to AdamW.

    Args:
        scales: name -> factor of the learning rate; None: 1 for each.
    """
    scales = scales or dict.fromkeys(weights, 1.0)
    hidden = {n: w for n, w in weights.items() if config.name == "muon" and is_hidden_matrix(n, w)}
    rest = {n: w for n, w in weights.items() if n not in hidden}
    apart = {
        n: {name: w if name == n else part.requires_grad_() for name, part in matrices_of(n, w.detach()).items()}
        for n, w in hidden.items()
    }
    matrices = {name: part for named in apart.values() for name, part in named.items()}
    groups = []
    for scale in sorted({scales[n] for n in rest}, reverse=True):
        for decays in (True, False):
            members = [w for n, w in rest.items() if is_matrix(n, w, no_weight_decay) is decays and scales[n] == scale]
            if members:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": members, "weight_decay": decay, "lr": scale * config.lr})
    parts: list[torch.optim.Optimizer] = []
    if groups and config.name == "sgd":
        parts.append(torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum))
    elif groups:
        betas = (config.beta1, config.beta2)
        parts.append(torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True))
    if matrices:
        options = {"weight_decay": config.weight_decay, "momentum": config.muon_momentum}
        for scale in sorted({scales[n] for n in hidden}, reverse=True):
            same = [part for n in hidden if scales[n] == scale for part in apart[n].values()]
            parts += [torch.optim.Muon(part, lr=scale * config.muon_lr, **options) for part in equal_parts(same)]
    for optimizer in parts:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    stacked = {n: w for n, w in hidden.items() if n not in matrices}
    return Optimizers(tuple(parts), rest | matrices, stacked)
