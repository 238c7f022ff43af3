"""The cells of a study and the trials of learning rates before them, in the order in which they are taken."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .plan import Contender, Plan

TRIAL_SEED = 2**32 - 1
"""of the subset, first weights and order of trials: no cell has it"""


@dataclass(frozen=True)
class Task:
    """One training: a cell of the grid, or the trial of one learning rate."""

    contender: Contender
    size: int
    """training pictures"""
    seed: int
    augment: str
    draw: str = "subset"
    rate: float = 0.0
    """learning rate of a trial; 0: a cell, whose rate the trials decide"""

    @property
    def name(self) -> str:
        """What its files are called."""
        kind = f"trial-{self.rate:g}" if self.rate else f"{self.draw}-{self.seed}"
        parts = (self.contender.arm, self.contender.name, str(self.size), self.augment, kind)
        return "-".join(re.sub(r"[^A-Za-z0-9_.+]", "_", part) for part in parts)

    @property
    def group(self) -> tuple[str, str, int, str]:
        """What is decided together: cells of one group have one learning rate."""
        return self.contender.arm, self.contender.name, self.size, self.augment


def trials_of(task: Task, plan: Plan) -> list[Task]:
    """Return the trials that decide the learning rate of a cell; none where there is but one rate."""
    rates = plan.rates(task.contender)
    if task.rate or len(rates) == 1:
        return []
    return [Task(task.contender, task.size, TRIAL_SEED, task.augment, "subset", rate) for rate in rates]


def steps_of(task: Task, plan: Plan) -> int:
    """Return the steps of a task: a function of the study alone."""
    share = plan.question.choose_share if task.rate else 1.0
    return max(1, round(share * plan.samples(task.contender, task.size) / plan.batch_size(task.size)))


def flops_of(task: Task, plan: Plan) -> float:
    """Return the operations of a task's training."""
    return float(steps_of(task, plan)) * plan.batch_size(task.size) * task.contender.flops


def cells(plan: Plan) -> list[Task]:
    """Return the cells of the grid."""
    question = plan.question
    found = [
        Task(contender, size, seed, level, draw)
        for draw, count in (("subset", question.seeds), ("bootstrap", question.bootstrap),
                            ("disjoint", question.disjoint))
        for seed in range(count)
        for contender in plan.contenders
        for size in plan.sizes
        for level in question.augment
    ]  # fmt: skip
    return found


def tasks(plan: Plan) -> list[Task]:
    """Return every training there is to do: seed after seed, of each the trials it needs, then the longest first."""
    found: dict[str, Task] = {}
    seeds: dict[tuple[str, int], list[Task]] = {}
    for cell in cells(plan):
        seeds.setdefault((cell.draw, cell.seed), []).append(cell)
    for together in seeds.values():
        before = [trial for cell in together for trial in trials_of(cell, plan)]
        for group in (before, together):
            for task in sorted(group, key=lambda task: -flops_of(task, plan)):
                found.setdefault(task.name, task)
    return list(found.values())
