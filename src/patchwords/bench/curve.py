"""The loss curve of a fast step beside the plain one in float32, on the built-in digits.

Two trainings drift apart by the smallest difference, most where the loss falls fastest. How far is measured: a third
training, in float32 as well, starts from the same weights rounded to bfloat16 once. The curve of the fast step, which
rounds in every operation, may be as far off as a few times that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..data.plan import Plan
from ..data.sources import open_source
from ..preprocess import Preprocess
from .contestants import Contestant, Task, ours, plain
from .timing import Check, Row

WINDOW = 20
"""steps over whose losses a mean is taken: single steps on batches of digits jump"""
BOUND, DRIFTS, LEARNED = 0.05, 2.0, 0.5
"""of the difference of two means; or, where it is more, as often the drift of the control; of the last mean as a share
of the first, so that something is learned at all"""
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
        found = losses_of(fast, batch_of, steps)
    finally:
        fast.close()
    wanted, control = (losses_of(plain(task, model), batch_of, steps) for model in (None, rounded(task.model)))
    case = f"loss curve {name}, batch {batch_size}, {steps} steps on digits"
    return [Row(case, fast.side, compare(wanted, found, control), (), None)]


def rounded(model: nn.Module) -> nn.Module:
    """Return a copy in float32 whose weights are those of bfloat16."""
    return copy.deepcopy(model).to(torch.bfloat16).float()


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


def compare(wanted: list[float], found: list[float], control: list[float]) -> tuple[Check, ...]:
    """Return whether two curves of losses agree, window by window, and whether the second goes down.

    Args:
        control: a curve that is as right as `wanted`; how far it drifts from that says what may be asked of `found`.
    """
    wanted_means, found_means, control_means = (_means(losses) for losses in (wanted, found, control))
    bound = max(BOUND, DRIFTS * _off(wanted_means, control_means))
    return (
        Check(f"mean loss of every {WINDOW} steps", _off(wanted_means, found_means), bound),
        Check("last mean over first", (found_means[-1] / found_means[0]).item(), LEARNED),
    )


def _means(losses: list[float]) -> Tensor:
    return torch.stack([part.mean() for part in torch.tensor(losses).split(min(WINDOW, len(losses)))])


def _off(wanted: Tensor, found: Tensor) -> float:
    return (wanted - found).abs().max().item()
