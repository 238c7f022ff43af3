"""Parameter groups, optimizers and the learning-rate schedule as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..config import OptimizerConfig, ScheduleConfig


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
    """Return whether Muon moves a weight: the matrices inside the blocks."""
    return name.startswith("blocks.") and weight.ndim == 2 and name.endswith(".weight")


def build_optimizers(
    config: OptimizerConfig, weights: Mapping[str, Tensor], no_weight_decay: set[str]
) -> list[torch.optim.Optimizer]:
    """Return the optimizers that together move every weight once; each group knows its `peak_lr`.

    Weight decay falls on matrices only. With muon, the matrices of the blocks go to Muon
    (torch.optim.Muon) and everything else to AdamW.
    """
    hidden = {n: w for n, w in weights.items() if config.name == "muon" and is_hidden_matrix(n, w)}
    rest = {n: w for n, w in weights.items() if n not in hidden}
    groups = []
    for decays in (True, False):
        members = [w for n, w in rest.items() if is_matrix(n, w, no_weight_decay) is decays]
        if members:
            groups.append({"params": members, "weight_decay": config.weight_decay if decays else 0.0})
    optimizers: list[torch.optim.Optimizer] = []
    if groups and config.name == "sgd":
        optimizers.append(torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum))
    elif groups:
        betas = (config.beta1, config.beta2)
        fused = all(w.device.type in ("cpu", "cuda", "mps") for w in weights.values())
        optimizers.append(torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=fused))
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                list(hidden.values()),
                lr=config.muon_lr,
                weight_decay=config.weight_decay,
                momentum=config.muon_momentum,
                adjust_lr_fn="match_rms_adamw" if config.muon_lr < 5e-3 else "original",
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def optimizer_tensors(optimizers: list[torch.optim.Optimizer], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the optimizers' state as {"weight name/entry": tensor}; {} before the first step."""
    names = {id(weight): name for name, weight in weights.items()}
    return {
        f"{names[id(weight)]}/{entry}": torch.as_tensor(value)
        for optimizer in optimizers
        for weight, state in optimizer.state.items()
        for entry, value in state.items()
        if value is not None
    }


def load_optimizer_tensors(
    optimizers: list[torch.optim.Optimizer], weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned."""
    owner = {id(w): o for o in optimizers for group in o.param_groups for w in group["params"]}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        weight = weights[name]
        device = "cpu" if entry == "step" and weight.device.type == "cpu" else weight.device
        owner[id(weight)].state[weight][entry] = tensor.to(device)
