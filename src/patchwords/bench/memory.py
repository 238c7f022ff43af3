"""Memory of a training step: the most a process holds in it, beyond what it held before; a process for each way.

On a CPU this is resident memory (Linux counts its high-water mark anew when asked), on a GPU what torch's allocator
handed out. Model, float32 weights and pictures are there before the step; gradients, what the backward pass needs,
the optimizer's averages and the libraries' workspace come with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import PatchwordsError
from .contestants import TIMM, Contestant, Task, ours, plain, timm_as_it_runs, timm_tuned
from .step import LOSS_BOUND
from .timing import OURS, Check, Row

STEPS = 3
Way = Callable[[Task], Contestant]


def ways(batch_size: int, peers: bool) -> dict[str, Way]:
    """Return the ways to take a step, by the names of their sides."""
    found = {f"{OURS} bf16, shards={n}": partial(ours, shards=n) for n in (1, 2, 4, 8, 16) if batch_size % n == 0}
    found[f"{OURS} bf16, shards=2, recomputed"] = partial(ours, shards=min(2, batch_size), recompute=True)
    if peers:
        found[f"{TIMM}, eager"] = partial(timm_as_it_runs, compiled=False)
        found["timm in bf16, plain attention"] = partial(timm_tuned, micro=batch_size, compiled=False)
    return found


def measure_memory(name: str, batch_size: int, rounds: int, peers: bool = False) -> list[Row]:
    """Return a row for each way, with the bytes of each round; the loss is checked against float32."""
    sides = list(ways(batch_size, peers))
    task = Task.of_noise(name, batch_size)
    wanted, measured = plain(task).step(), {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            measured[side].append(_in_a_process(name, batch_size, side, peers))
    rows = []
    for side, found in measured.items():
        check = Check("loss as in float32", max(abs(each["loss"] - wanted) for each in found), LOSS_BOUND)
        taken = tuple(each["bytes"] for each in found)
        case = f"memory of a step {name}, batch {batch_size}"
        rows.append(Row(case, side, (check,), (), None, peak_bytes=taken if check.passed else ()))
    return rows


def _in_a_process(name: str, batch_size: int, side: str, peers: bool) -> dict[str, Any]:
    asked = json.dumps([name, batch_size, side, peers])
    done = subprocess.run([sys.executable, "-m", __name__, asked], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PatchwordsError(f"a step ended with {done.returncode}: {said}", where=side)
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(name: str, batch_size: int, side: str, peers: bool) -> dict[str, Any]:
    """Take a few steps in this process and return {"loss": of the first, "bytes": the most beyond what was there}."""
    contestant = ways(batch_size, peers)[side](Task.of_noise(name, batch_size))
    try:
        before = start_over()
        losses = [contestant.step() for _ in range(STEPS)]
        return {"loss": losses[0], "bytes": most_held() - before}
    finally:
        contestant.close()


def start_over() -> int:
    """Begin to look for the most memory anew and return the bytes held now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed already would be used again unseen
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") or most_held()


def most_held() -> int:
    """Return the most bytes held since `start_over`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(field: str) -> int:
    """Return bytes that Linux tells of this process, 0 on another system."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


if __name__ == "__main__":
    print(json.dumps(measure_here(*json.loads(sys.argv[1]))))
