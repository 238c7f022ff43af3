"""What each part of the training step is worth: the step as it is beside the step without that part, in turn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from ..cost import cost_of
from ..device import DTYPES
from ..models import attention, kernels
from .contestants import Contestant, Task, ours, plain, under_autocast
from .peak import measure_peak
from .step import Reference, first_steps
from .timing import OURS, Check, Row, alternate

_ADAMW = torch.optim.AdamW
Without = Callable[[], AbstractContextManager[Any]]


def measure_levers(name: str, batch_size: int, rounds: int, **options: int) -> list[Row]:
    """Return a row for the step of `train` on a CPU, and one for each lever that it is taken without.

    Each way is held against float32 first, as in `measure_step`. Bytes of memory are in `measure_memory`.
    """
    task = Task.of_noise(name, batch_size, **options)
    peaks = {precision: measure_peak(DTYPES[precision]) for precision in ("bf16", "fp32")}
    case, flops = f"step {name}, batch {batch_size}", batch_size * cost_of(task.model.config).training_flops
    reference, rows = Reference(plain(task)), []
    for title, ways, precision in ((case, ways_in_bf16, "bf16"), (f"{case}, float32", ways_in_float32, "fp32")):
        checks, seconds = _in_turn(ways(task), reference, rounds)
        for side, found in checks.items():
            taken = seconds.get(side, ())
            share = flops / min(taken) / peaks[precision] if taken else None
            rows.append(Row(f"{title}: one lever at a time", side, found, taken, share, batch_size))
    return rows


def _in_turn(
    ways: Iterator[tuple[Contestant, Without]], reference: Reference, rounds: int
) -> tuple[dict[str, tuple[Check, ...]], dict[str, tuple[float, ...]]]:
    """Return the checks of each side, and the seconds of those that passed."""
    checks, works, opened = {}, {}, []
    for contestant, without in ways:
        opened.append(contestant)
        with without():
            found = first_steps(reference, contestant)
        if found is None:
            continue
        checks[contestant.side] = found
        if all(check.passed for check in found):
            works[contestant.side] = _inside(without, contestant.step)
    seconds = alternate(works, rounds, warmed=True)
    for contestant in opened:
        contestant.close()
    return checks, seconds


def ways_in_bf16(task: Task) -> Iterator[tuple[Contestant, Without]]:
    """Yield the step as it is, and without each lever."""
    shards = shards_of(task)
    yield replace(ours(task, shards), side=f"{OURS}, all levers, {shards} shards"), nullcontext
    fused = {"training": 0, "inference": 0}
    whose, gradients = ("torch's", F.linear) if kernels.long_rows_pay() else ("our", kernels.dense)
    for what, module, attribute, value in (
        ("torch's fused attention", attention, "EXPLICIT_TOKENS", fused),
        (f"{whose} gradients of dense layers", kernels, "linear", gradients),
    ):
        yield _named(ours(task, shards), what), _replaced(module, attribute, value)
    yield _named(ours(task, shards, lanes=1), "every operation shared by all threads, no lanes"), nullcontext
    for count in (1, 4, 8):
        if len(task.images) % count == 0:
            yield _named(ours(task, count), f"{count} shards"), nullcontext
    yield _named(ours(task, shards, recompute=True), "activations computed again"), nullcontext
    yield _named(ours(task, shards, compiled=True), "compiled"), nullcontext
    with _replaced(torch.optim, "AdamW", _adamw_in_passes)():
        unfused = ours(task, shards)
    yield _named(unfused, "an optimizer of one operation after another, not fused"), nullcontext
    cast = "with float32 weights under autocast"
    yield under_autocast(cast, copy.deepcopy(task.model), task), nullcontext


def ways_in_float32(task: Task) -> Iterator[tuple[Contestant, Without]]:
    """Yield the step in float32 as it is, and with MKL's products where oneDNN's are in their place."""
    shards = shards_of(task)
    yield replace(ours(task, shards, precision="fp32"), side=f"{OURS}, all levers, {shards} shards"), nullcontext
    if kernels.mkl_is_slow():
        without = _replaced(kernels, "mkl_is_slow", lambda: False)
        yield _named(ours(task, shards, precision="fp32"), "MKL's products"), without


def shards_of(task: Task) -> int:
    """Return into how many shards the batch is cut."""
    return 2 if len(task.images) % 2 == 0 else 1


def _adamw_in_passes(*arguments: Any, **options: Any) -> torch.optim.Optimizer:
    return _ADAMW(*arguments, **options | {"fused": False, "foreach": True})


def _named(contestant: Contestant, what: str) -> Contestant:
    return replace(contestant, side=f"with {what}")


def _replaced(module: Any, attribute: str, value: Any) -> Without:
    @contextmanager
    def without() -> Iterator[None]:
        before = getattr(module, attribute)
        setattr(module, attribute, value)
        try:
            yield
        finally:
            setattr(module, attribute, before)

    return without


def _inside(without: Without, step: Callable[[], float]) -> Callable[[], float]:
    def work() -> float:
        with without():
            return step()

    return work
