"""A study from question to results: begin, have the workers work, gather what they found, and report it."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ConfigError, MissingError, Stopped
from ..progress import Progress, say
from ..training.folder import describe_environment
from ..training.signals import StopSignals
from ..transfer.tune import Load
from .begin import begin
from .cell import Outcome, read_outcome
from .claims import Claims
from .folder import CELLS, Study, held, open_study, read_plan
from .launch import Workers, launched, require
from .page import as_dict, write_report
from .question import Question
from .results import Cell, Results
from .statistics import Summary
from .tables import tables_of
from .tasks import Task, cells, flops_of, tasks
from .verdict import Verdict, verdict

LOOK = 0.3
"""seconds between looks at what the workers have done"""


@dataclass(frozen=True)
class StudyResult:
    """What a finished study gives back."""

    out: Path
    results: Results
    summary: Summary

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"out": str(self.out)} | as_dict(self.summary, self.verdict, tables_of(self.summary))

    @property
    def verdict(self) -> Verdict:
        """What may be said of it."""
        return verdict(self.summary)


def compare(question: Question | None, out: str | Path, load: Load, *, workers: int = 0, launch: str = "local"):
    """Run the study that asks `question` in the folder `out`, or go on with the one that is there.

    Args:
        question: None: whatever the study in `out` asks.
        load: from the name of a checkpoint to the model.
        workers: processes; 0: one for each core.
        launch: local, submitit, ray: who starts them.

    Returns:
        StudyResult.

    Raises:
        ConfigError, DataError, MissingError: what was asked for cannot be done, or `out` holds another study.
        Stopped: a signal came; everything is saved, and the same call goes on.
    """
    out = Path(out)
    if workers < 0:
        raise ConfigError(f"{workers} is negative", where="--workers", fix="Give 1 or more, or 0 for one for each core")
    if launch != "local":
        require(launch)
    if question is None and read_plan(out) is None:
        raise MissingError("there is no study to go on with", where=str(out), fix="Give --data and --models")
    if util.find_spec("matplotlib") is None:
        fix = "Install it: pip install 'patchwords[plot]'"
        raise ConfigError("needs matplotlib, which is not installed", where="patchwords compare", fix=fix)
    with held(out):
        with StopSignals() as signals:
            with signals.stopping_at_once(str(out)):
                study = opened(question, out, load)
            if any(not study.cell(task.name).exists() for task in tasks(study.plan)):
                supervise(study, signals, launched(launch, out, workers or _cores()))
        results = gathered(study)
        results.write(out)
        tidy(study)
        summary = write_report(results, out)
    return StudyResult(out, results, summary)


def opened(question: Question | None, out: Path, load: Load) -> Study:
    """Return the study in `out`: the one that is there, or a new one."""
    plan = read_plan(out)
    if plan is None:
        assert question is not None
        return begin(question, out, load)
    if question is not None:
        plan.question.require_same(question, str(out))
    if describe_environment()["packages"] != plan.packages:
        say("note: package versions changed since this study began; its bits may differ from an uninterrupted one")
    return open_study(out)


def supervise(study: Study, signals: StopSignals, workers: Workers) -> None:
    """Show how far the study is until all is done.

    Raises:
        Stopped: a signal came; the workers have saved and ended. And the error of a worker.
    """
    everything = tasks(study.plan)
    watch = Watch(study, everything)
    progress = Progress("percent", 100)
    try:
        while not watch.look():
            if signals.requested:
                workers.stop()
                watch.look()
                raise Stopped(
                    f"stopped by {signals.requested} with {len(watch.done)} of {len(everything)} trainings done; "
                    "everything is saved. Run the same command again to go on",
                    where=str(study.out),
                )
            workers.check()
            progress.update(*watch.state())
            time.sleep(LOOK)
        progress.update(*watch.state())
    finally:
        workers.stop()
        progress.close()


class Watch:
    """What is done, who works on what, and how long the rest will take."""

    def __init__(self, study: Study, everything: list[Task]) -> None:
        self.study, self.everything = study, everything
        self.named = {task.name: task for task in everything}
        self.claims = Claims(study.out / CELLS)
        self.done: dict[str, Outcome] = {}
        self.work = {task.name: flops_of(task, study.plan) for task in everything}
        self.look()

    def look(self) -> bool:
        """Read what is new; return whether all is done."""
        for task in self.everything:
            if task.name not in self.done and self.study.cell(task.name).exists():
                self.done[task.name] = read_outcome(self.study.cell(task.name))
        return len(self.done) == len(self.everything)

    def state(self) -> tuple[float, str]:
        """Return percent of the work that is done, and who works on what."""
        running = self._running()
        costs = self._costs()
        shares = dict.fromkeys(self.done, 1.0) | running
        percent = 100 * sum(shares.get(name, 0.0) * cost for name, cost in costs.items()) / sum(costs.values())
        told = [f"{self.named[name].contender.name} on {self.named[name].size} {round(100 * share)} %"
                for name, share in sorted(running.items()) if name in self.named]  # fmt: skip
        return round(percent, 1), ", ".join([f"{len(self.done)} of {len(self.everything)} trainings", *told])

    def _running(self) -> dict[str, float]:
        """Return {task: share done} of what is being worked on."""
        found = {}
        for name, number in self.claims.newest().items():
            if name not in self.done and self.claims.alive(name, number):
                try:
                    told = json.loads(self.claims.read(name, number) or b"{}")
                    found[name] = told.get("step", 0) / max(told.get("steps", 1), 1)
                except ValueError:
                    found[name] = 0.0
        return found

    def _costs(self) -> dict[str, float]:
        """Return the seconds that each task takes, from what its model took so far for each operation."""
        spent: dict[str, tuple[float, float]] = {}
        for name, outcome in self.done.items():
            model = self.named[name].contender.name
            seconds, flops = spent.get(model, (0.0, 0.0))
            spent[model] = seconds + outcome.seconds, flops + self.work[name]
        seconds, flops = (sum(each[i] for each in spent.values()) for i in (0, 1))
        overall = seconds / flops if seconds else 1.0
        rates = {model: s / f for model, (s, f) in spent.items() if s}
        return {name: self.work[name] * rates.get(task.contender.name, overall) for name, task in self.named.items()}


def gathered(study: Study) -> Results:
    """Return the results of a study whose tasks are all done."""
    labels = study.manifest.labels[study.manifest.split("test")]
    found = []
    for task in cells(study.plan):
        outcome = read_outcome(study.cell(task.name))
        found.append(
            Cell(
                model=task.contender.name,
                size=task.size,
                seed=task.seed,
                lr=outcome.lr,
                val_top1=outcome.val_top1,
                correct=outcome.votes == labels,
                steps=outcome.steps,
                samples_seen=outcome.samples_seen,
                flops=outcome.flops,
                parameters=task.contender.parameters,
                arm=task.contender.arm,
                augment=task.augment,
                draw=task.draw,
                curve=outcome.curve,
                shift_consistency=outcome.shift_consistency,
                votes=outcome.votes,
            )
        )
    return Results(question_told(study), study.manifest.classes, tuple(found))


def tidy(study: Study) -> None:
    """Remove what only mattered while cells were computed."""
    for path in (study.out / CELLS).iterdir():
        if path.name.startswith(files.TEMPORARY) or path.suffix != ".npz":
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def question_told(study: Study) -> dict[str, Any]:
    """Return what was asked, for the report."""
    plan, question = study.plan, study.plan.question
    told: dict[str, Any] = {
        "data": question.data,
        "models": [contender.name for contender in plan.contenders],
        "sizes": list(plan.sizes),
        "seeds": question.seeds,
        "match": question.match,
        "rates": list(plan.rates(plan.contenders[0])),
        "choosing": "one rate for each model, size, level and arm: that of the best validation accuracy of trials "
        f"with {question.choose_share:g} of a cell's samples, on a draw of their own",
        "samples": plan.reference,
        "augment": list(question.augment),
        "precision": question.precision,
    }
    if question.sources:
        told |= {"from": list(question.sources), "tune": question.tune}
    return told | ({"settings": dict(question.settings)} if question.settings else {})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
