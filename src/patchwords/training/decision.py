"""What is decided about a run at its start: device, number format, threads, and whether it is compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import RunConfig
from ..device import DTYPES, choose_device, computes_in_bf16
from .lanes import choose_lanes

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


def compile_for(model: nn.Module, device: str) -> Callable[[Tensor], Any]:
    """Return `model` compiled for pictures of each shape that it meets.

    On an NVIDIA GPU the forward pass is one CUDA graph and the backward pass another, so that no operation waits for
    Python. What a graph returns lies in its own memory and lasts until it runs again: it is to be used before that.
    """
    if device != "cuda":
        return torch.compile(model, dynamic=False)
    graphs = torch.compile(model, dynamic=False, mode="reduce-overhead")

    def forward(images: Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return graphs(images)

    return forward


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
