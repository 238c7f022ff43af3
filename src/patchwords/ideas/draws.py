"""Random numbers and models of an experiment, all a function of its seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..models import build
from ..randomness import derived_seed, permutation

STD = 0.1
"""of what is added to parameters that begin as a constant"""


def generator(seed: int, site: str) -> torch.Generator:
    """Return a generator that is a function of (seed, site)."""
    return torch.Generator().manual_seed(derived_seed(seed, f"idea {site}"))


def normal(seed: int, site: str, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers of this shape, the same for every type but for rounding."""
    return torch.randn(*shape, generator=generator(seed, site), dtype=torch.float64).to(dtype)


def orders(seed: int, site: str, count: int, length: int) -> Tensor:
    """Return `count` permutations of 0 .. length - 1: (count, length)."""
    return torch.stack([torch.from_numpy(permutation(seed, f"idea {site}", i, length)) for i in range(count)])


def drawn_model(config: Any, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return an evaluating model in which no parameter is a constant: fresh heads, biases and norms are drawn too.

    So nothing that a claim says of the model can be true because something was zero.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "idea model"))
        model = build(config).to(dtype).eval()
    for name, parameter in model.named_parameters():
        if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
            parameter.data += STD * normal(seed, name, *parameter.shape, dtype=dtype)
    return model


def largest(difference: Tensor) -> float:
    """Return the largest size in `difference`."""
    return float(difference.detach().abs().max())
