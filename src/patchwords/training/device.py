"""Where and in which number format a run computes: asked for, or found out by asking the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..config import RunConfig
from ..errors import ConfigError
from .lanes import choose_lanes

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
COMPILE_PAYS_AFTER = 300.0
"""seconds of training below which a compilation cannot win back its own time"""
COMPILE_GAIN = 0.9
"""share of the eager time that compiled steps may take at most, so that noise does not decide"""
SHARED_FROM = 2e8
"""operations of one matrix product below which neither a second thread nor bfloat16 saves anything"""


@dataclass(frozen=True)
class Decision:
    """What was decided at the start of a run; stored with it, so that it goes on with the same bits."""

    device: str
    precision: str
    compile: bool
    threads: int
    reasons: tuple[str, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type the model computes in."""
        return DTYPES[self.precision]


def choose_device(wanted: str) -> str:
    """Return `wanted`, or for "auto" the fastest device there is.

    Raises:
        ConfigError: `wanted` is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return next(name for name, found in there.items() if found)
    if not there[wanted]:
        found = ", ".join(name for name, present in there.items() if present)
        raise ConfigError(f"{wanted} is not available", where="train.device", fix=f"Here: {found}")
    return wanted


def computes_in_bf16(device: str) -> bool:
    """Return whether the processor multiplies bfloat16 natively, not by emulation."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def decide(run: RunConfig) -> Decision:
    """Return device, precision and threads; compilation by `auto` is decided later, by measuring."""
    config = run.train
    device = choose_device(config.device)
    small = largest_product(run) < SHARED_FROM
    cores = torch.get_num_threads()
    threads = config.threads or (choose_lanes(run, cores) if small else cores)
    precision, why = config.precision, "asked for"
    if precision == "auto":
        native = computes_in_bf16(device)
        precision = "bf16" if native and not small else "fp32"
        why = "the model is small" if small else ("native here" if native else "bf16 is not native here")
    reasons = (f"device {device}, {threads} thread{'s' * (threads > 1)}", f"precision {precision} ({why})")
    return Decision(device, precision, config.compile == "on", threads, reasons)


def largest_product(run: RunConfig) -> int:
    """Return the operations of about the largest matrix product of a shard."""
    return 2 * run.train.batch_size // run.train.shards * run.model.largest_product


def compile_pays(eager: Callable[[], None], compiled: Callable[[], None], device: str, steps: int) -> tuple[bool, str]:
    """Measure eager against compiled and return (use the compiled one, why).

    Args:
        eager: does the forward and backward passes of one step, and leaves no trace.
        compiled: the same, compiled; the first call compiles.
        steps: of the run.
    """
    slow = min(_seconds(eager, device) for _ in range(3))
    if slow * steps < COMPILE_PAYS_AFTER:
        return False, f"not compiled: about {slow * steps:.0f} s of training cannot pay for it"
    try:
        spent = _seconds(compiled, device)
    except Exception as error:  # a missing compiler must not stop a run that can go without
        return False, f"not compiled: {type(error).__name__} while compiling"
    rounds = [
        (_seconds(eager, device), _seconds(compiled, device)) for _ in range(4)
    ]  # in turn: others are at work too
    slow, fast = (min(times) for times in zip(*rounds, strict=True))
    pays = (slow - fast) * steps > spent and fast < slow * COMPILE_GAIN
    measured = f"{slow * 1e3:.0f} ms a step eager, {fast * 1e3:.0f} ms compiled, {spent:.0f} s to compile"
    return pays, ("compiled: " if pays else "not compiled: ") + measured


def _seconds(work: Callable[[], None], device: str) -> float:
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
