"""A worker: takes one task after another until nothing is left to do for it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .. import files
from ..errors import MissingError, NonFiniteError, Stopped, WriteError
from ..training.signals import StopSignals
from .cell import Outcome, compute, read_outcome
from .claims import Claim, Claims
from .folder import CELLS, Study
from .tasks import Task, steps_of, tasks, trials_of

RUN = ".run."
LOOK = 0.5
"""seconds between looks for work when others have all that can be done"""
BROKEN = -1.0
"""validation accuracy of a trial that broke down"""


class Stops:
    """Why to stop: a signal, the claim was lost, or who started us is gone. Takes the place of StopSignals."""

    def __init__(self, signals: StopSignals, gone: threading.Event) -> None:
        self.signals, self.gone = signals, gone
        self.claim: Claim | None = None

    @property
    def requested(self) -> str:
        """The reason in words; "" while there is none."""
        if self.gone.is_set():
            return "the end of the process that led the study"
        if self.claim is not None and self.claim.lost:
            return "another worker, which took over"
        return self.signals.requested


def work(study: Study, signals: StopSignals, gone: threading.Event, done: Callable[[], None] = lambda: None) -> None:
    """Compute tasks of a study until all are done, by us or by others.

    Args:
        gone: set when the process that started us is gone.
        done: called after each task.

    Raises:
        Stopped: a signal came, or `gone` was set; everything is saved.
    """
    torch.set_num_threads(1)
    everything, claims, stops = tasks(study.plan), Claims(study.out / CELLS), Stops(signals, gone)
    left = list(everything)
    while left := [task for task in left if not study.cell(task.name).exists()]:
        if stops.requested:
            raise Stopped(f"stopped by {stops.requested}; everything is saved", where=str(study.out))
        claimed = claim_next(study, left, claims)
        if claimed is None:
            time.sleep(LOOK)
            continue
        task, claim = claimed
        stops.claim = claim
        work_on(study, task, claim, stops)
        stops.claim = None
        done()


def claim_next(study: Study, left: list[Task], claims: Claims) -> tuple[Task, Claim] | None:
    """Return the first task that can be done and that nobody has, with our claim to it."""
    newest, names = claims.newest(), {task.name for task in left}
    for task in left:
        if any(trial.name in names for trial in trials_of(task, study.plan)):
            continue
        claim = claims.take(task.name, newest)
        if claim is not None:
            if not study.cell(task.name).exists():
                return task, claim
            claim.release(finished=True)
    return None


def work_on(study: Study, task: Task, claim: Claim, stops: Stops) -> None:
    """Compute a task that is claimed and write its outcome.

    Raises:
        Stopped: there was a reason to stop other than that the claim was lost.
    """
    folder, finished, watching = run_folder(study, task, claim), False, {}
    steps = steps_of(task, study.plan)
    claim.told = lambda: {"step": watching["state"].step if "state" in watching else 0, "steps": steps}
    try:
        outcome = with_rates(study, task, folder, stops, watching)
        outcome.write(study.cell(task.name), f"{claim.generation}-{os.getpid()}")
        finished = True
    except (Stopped, WriteError, MissingError):
        if not claim.lost and not study.cell(task.name).exists():
            raise
    finally:
        claim.release(finished)
        if finished:
            for old in run_folders(study, task):
                shutil.rmtree(old, ignore_errors=True)


def with_rates(study: Study, task: Task, folder: Path, stops: Stops, watching: dict[str, Any]) -> Outcome:
    """Return the outcome of a task: a trial at its own rate, a cell at the rate that validates best.

    A rate at which a cell breaks down gives way to the next lower one.
    """
    if task.rate:
        try:
            return compute(study, task, task.rate, folder, stops, watching)
        except NonFiniteError:
            return Outcome(lr=task.rate, steps=0, samples_seen=0, flops=0.0, val_top1=BROKEN, val_loss=0.0, curve=())
    best = chosen_rate(study, task)
    lower = [rate for rate in study.plan.rates(task.contender) if rate <= best]
    for rate in reversed(lower):
        at = folder / f"{rate:g}"
        at.mkdir(exist_ok=True)
        try:
            return compute(study, task, rate, at, stops, watching)
        except NonFiniteError:
            if rate == lower[0]:
                raise
    raise AssertionError("there is a rate")


def chosen_rate(study: Study, task: Task) -> float:
    """Return the learning rate whose trial answers most validation pictures right; of equal ones the lower."""
    tried = [read_outcome(study.cell(trial.name)) for trial in trials_of(task, study.plan)]
    if not tried:
        return study.plan.rates(task.contender)[0]
    return max(tried, key=lambda outcome: (outcome.val_top1, -outcome.lr)).lr


def run_folders(study: Study, task: Task) -> list[Path]:
    """Return the folders of all that worked on a task, the newest first."""
    found = (study.out / CELLS).glob(f"{task.name}{RUN}*")
    return sorted(found, key=lambda path: -int(path.name.rpartition(".")[2]))


def run_folder(study: Study, task: Task, claim: Claim) -> Path:
    """Make the folder that this claim works in: a copy of what those before us saved, which may still write to it."""
    folder = study.out / CELLS / f"{task.name}{RUN}{claim.generation}"
    before = [path for path in run_folders(study, task) if path != folder]
    own = folder.with_name(f"{files.TEMPORARY}{folder.name}")
    with files.faults_named(folder, "write"):
        shutil.rmtree(own, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            shutil.copytree(before[0], own) if before else own.mkdir()
        except shutil.Error:  # its owner is alive after all, and removed something just now
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
        own.rename(folder)
        for old in before[1:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder
