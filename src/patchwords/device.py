"""Where and in which number format a model computes: as asked for, or as the machine allows."""

from __future__ import annotations

import torch
from torch import Tensor

from .architecture.checks import one_of
from .config import DEVICES
from .errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""precision -> the type a model computes in"""


def choose_device(wanted: str, where: str = "train.device") -> str:
    """Return `wanted`, or for "auto" the fastest device there is.

    Args:
        where: the setting or option that wants it, for the message.

    Raises:
        ConfigError: `wanted` is no device, or not there.
    """
    one_of(where, wanted, DEVICES)
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        found = ", ".join(name for name, present in there.items() if present)
        raise ConfigError(f"{wanted} is not available", where=where, fix=f"Here: {found}")
    return wanted


def computes_in_bf16(device: str) -> bool:
    """Return whether the processor multiplies bfloat16 natively, not by emulation."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def beside(tensor: Tensor, other: Tensor) -> Tensor:
    """Return `tensor` on the device of `other`, without waiting for what that is at."""
    return tensor.to(other.device, non_blocking=True)
