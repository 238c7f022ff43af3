"""The loss curve of a fast step beside the plain one in float32, on the built-in digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..data.plan import Plan
from ..data.sources import open_source
from ..preprocess import Preprocess
from .contestants import Contestant, Task, ours, plain
from .timing import Check, Row

WINDOW = 20
"""steps over whose losses a mean is taken: single steps on batches of digits jump"""
BOUND, LEARNED = 0.05, 0.5
"""of the difference of two means; of the last mean as a share of the first, so that something is learned at all"""
FILES = 1024
"""digits that are read"""

Batches = Callable[[int], tuple[Tensor, Tensor]]
"""from the number of a step to images (B, C, H, W) and labels (B,)"""


def measure_curve(name: str, batch_size: int, steps: int, shards: int = 2, **options: int) -> list[Row]:
    """Return a row without times for our step: its losses over `steps` steps are those of float32 by autograd."""
    noise = Task.of_noise(name, batch_size, **options)
    batch_of = digits(noise)
    task = Task(noise.model, *batch_of(0))
    fast = ours(task, shards if batch_size % shards == 0 else 1)
    try:
        curves = [losses_of(contestant, batch_of, steps) for contestant in (plain(task), fast)]
    finally:
        fast.close()
    case = f"loss curve {name}, batch {batch_size}, {steps} steps on digits"
    return [Row(case, fast.side, compare(*curves), (), None)]


def digits(task: Task) -> Batches:
    """Return the batch of each step: digits at the size of the model of `task`, each once before any comes again."""
    source, device = open_source("digits"), task.images.device
    preprocess = Preprocess(image_size=task.model.config.image_size, resize="squash")
    classes = sorted({entry.label for entry in source.entries})
    entries = source.entries[:FILES]
    images = torch.stack([preprocess.pixels(source.read(number)) for number in range(len(entries))])
    labels = torch.tensor([classes.index(entry.label) for entry in entries])
    plan = Plan(0, len(entries), len(task.images))

    def batch_of(step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(plan.batch(step).positions)
        return preprocess.normalize(images[chosen]).to(device), labels[chosen].to(device)

    return batch_of


def losses_of(contestant: Contestant, batch_of: Batches, steps: int) -> list[float]:
    """Return the loss before each step."""
    losses = []
    for step in range(steps):
        contestant.feed(*batch_of(step))
        losses.append(contestant.step())
    return losses


def compare(wanted: list[float], found: list[float]) -> tuple[Check, ...]:
    """Return whether two curves of losses agree, window by window, and whether the second goes down."""
    means = [torch.tensor(losses).split(min(WINDOW, len(losses))) for losses in (wanted, found)]
    plain_means, fast_means = (torch.stack([part.mean() for part in parts]) for parts in means)
    return (
        Check(f"mean loss of every {WINDOW} steps", (plain_means - fast_means).abs().max().item(), BOUND),
        Check("last mean over first", (fast_means[-1] / fast_means[0]).item(), LEARNED),
    )
