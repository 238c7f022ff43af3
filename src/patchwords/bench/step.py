"""The training step: the one that `train` takes, beside timm's; checked against float32, then timed in turn.

Each way takes its first steps from the same weights on the same pictures; loss, whole gradient and the losses of these
steps must be those of float32 by autograd (of timm's model where the peers are there, else of ours). Of each kind the
fastest of a heat is timed in the final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from ..cost import cost_of
from ..progress import say
from .contestants import TIMM, TUNED, Contestant, Task, ours, plain, timm_as_it_runs, timm_tuned
from .peak import measure_peak
from .peers import timm_twin
from .timing import OURS, Check, Row, alternate

LOSS_BOUND, GRADIENT_BOUND, FIRST_BOUND = 0.01, 0.05, 0.1
"""of the loss, of the whole gradient as a share of its norm, of the losses of the first steps, which fall by 1.4 in
vit_small_patch16_224: ours is off by 0.0002 there, timm's compiled model with bfloat16 weights by 0.065"""
FIRST_STEPS, HEAT_ROUNDS = 3, 2


def measure_step(name: str, batch_size: int, rounds: int, peers: bool = False, **options: int) -> list[Row]:
    """Return a row for each kind of step of a model of the zoo, in bfloat16 with AdamW.

    Args:
        peers: timm's steps beside ours, eager and compiled.
        options: of `create_model`.
    """
    task = Task.of_noise(name, batch_size, **options)
    peak = measure_peak(torch.bfloat16, task.images.device.type)
    reference = Reference(plain(task, timm_twin(task.model, fused_attention=False) if peers else None))
    case, rows, runners = f"step {name}, batch {batch_size}", [], {}
    try:
        for contestant in entrants(task, peers):
            checks = first_steps(reference, contestant)
            if checks is None:
                continue
            if all(check.passed for check in checks):
                runners[contestant] = checks
            else:
                contestant.close()
                rows.append(Row(case, contestant.side, checks, (), None))
        finalists = choose(list(runners))
        for contestant in finalists:
            say(f"timing {contestant.side}")
        seconds = alternate({contestant: contestant.step for contestant in finalists}, rounds, warmed=True)
    finally:
        for contestant in runners:
            contestant.close()
    flops = batch_size * cost_of(task.model.config).training_flops
    for contestant, taken in seconds.items():
        checks = runners[contestant]
        rows.append(Row(case, contestant.side, checks, taken, flops / min(taken) / peak, batch_size))
    return rows


class Reference:
    """Losses of the first steps, and gradient of the very first, of a plain step in float32."""

    def __init__(self, contestant: Contestant) -> None:
        self.losses = [contestant.step()]
        self.gradient = _flat(contestant)
        self.losses += [contestant.step() for _ in range(FIRST_STEPS - 1)]

    def checks(self, contestant: Contestant) -> tuple[Check, ...]:
        """Return how far the first steps of another contestant are from these."""
        losses = [contestant.step()]
        error = ((_flat(contestant) - self.gradient).norm() / self.gradient.norm()).item()
        losses += [contestant.step() for _ in range(FIRST_STEPS - 1)]
        errors = [abs(mine - wanted) for mine, wanted in zip(losses, self.losses, strict=True)]
        return (
            Check("loss as in float32", errors[0], LOSS_BOUND),
            Check("gradient as in float32", error, GRADIENT_BOUND),
            Check(f"losses of the first {FIRST_STEPS} steps", max(errors), FIRST_BOUND),
        )


def first_steps(reference: Reference, contestant: Contestant) -> tuple[Check, ...] | None:
    """Return the checks of a contestant, or None, said on standard error, where this machine cannot compile it."""
    say(f"checking {contestant.side}")
    try:
        return reference.checks(contestant)
    except Exception as error:  # no C++ compiler, for example
        if "compiled" not in contestant.side:
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        say(f"left out: {contestant.side}: {reason}")
        return None


def _flat(contestant: Contestant) -> torch.Tensor:
    return torch.cat([gradient.detach().float().flatten() for gradient in contestant.gradients()])


def entrants(task: Task, peers: bool) -> Iterator[Contestant]:
    """Yield every way to take the step."""
    size, on_gpu = len(task.images), task.images.is_cuda
    ways: list[Callable[[], Contestant]] = []
    if on_gpu:
        ways += [partial(ours, task, 1), partial(ours, task, 1, compiled=True)]
    else:
        ways += [partial(ours, task, shards) for shards in (1, 2, 4) if size % shards == 0]
    if peers:
        ways += [partial(timm_as_it_runs, task, compiled) for compiled in (False, True)]
        for parts, compiled in ((1, False), (2, False), (4, False), (1, True), (4, True)):
            if size % parts == 0:
                ways.append(partial(timm_tuned, task, size // parts, compiled))
    for way in ways:
        yield way()


def choose(contestants: list[Contestant]) -> list[Contestant]:
    """Return the fastest of each kind, in a heat."""
    seconds = alternate({contestant: contestant.step for contestant in contestants}, HEAT_ROUNDS, warmed=True)
    for contestant, taken in seconds.items():
        say(f"heat: {contestant.side}: {1000 * min(taken):.0f} ms")
    found = []
    for kind in (OURS, TUNED, TIMM):
        alike = [contestant for contestant in contestants if contestant.side.startswith(kind)]
        found += sorted(alike, key=lambda contestant: min(seconds[contestant]))[:1]
    return found
