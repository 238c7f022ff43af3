"""A training run from request to result: set up, step, measure, save; and go on where it stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import checkpoint, files
from ..checkpoint import SavedState
from ..errors import DataError, MissingError, NonFiniteError, PermissionFault, ReadError, Stopped
from ..metrics import Evaluation, MetricsLog
from ..progress import Progress
from . import folder
from .evaluate import evaluate
from .folder import locked
from .job import Job
from .request import Request, check
from .setup import set_up
from .signals import StopSignals
from .start import Start
from .step import StepResult, train_step
from .track import Tracker
from .watch import Watch, passed, require_drawing, write_report


@dataclass(frozen=True)
class TrainResult:
    """What a finished run gives back."""

    out: Path
    steps: int
    evaluations: dict[str, Evaluation]
    """by split: val and test, as far as there are any"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        evaluations = {name: evaluation.as_dict() for name, evaluation in self.evaluations.items()}
        return {"out": str(self.out), "steps": self.steps, "evaluations": evaluations}


def train(request: Request, out: str | Path, start: Start | None = None) -> TrainResult:
    """Train in the folder `out`, or go on with the run that is there.

    Args:
        start: of a run that goes on from another model; None: from random weights.

    Raises:
        ConfigError, DataError, MissingError: what was asked for cannot be done; nothing was written to a run.
        NonFiniteError: the training broke down; the last good state is saved.
        DataError, ReadError: a picture was changed, or cannot be read any more; everything before it is saved.
        Stopped: a signal came; everything is saved, and the same call goes on.
    """
    check(request, transfer=start is not None)
    with locked(Path(out)) as run_folder:
        with StopSignals() as signals:
            with signals.stopping_at_once(str(out)):
                job = set_up(request, run_folder, start)
            try:
                require_drawing(job.run.train.report)
                train_steps(job, signals)
                result = finish(job)
            finally:
                job.close()
        if job.run.train.report:  # everything is saved: a signal may stop it as any other command
            write_report(run_folder)
        return result


def train_steps(job: Job, signals: StopSignals) -> None:
    """Take every step that is left, measuring and saving on the way."""
    state, run = job.state, job.run
    log = MetricsLog(job.out / folder.METRICS, job.log_length)
    tracker = Tracker(job.out, run.train.tensorboard, state.step)
    progress = Progress("step", state.steps, start=state.step)
    saved_at = time.monotonic()
    try:
        watch = Watch(job)
        for batch in job.loader.batches(state.step, state.steps):
            with state.lanes.between():
                result = train_step(state, job.shards(batch), partial(job.names, batch))
            if state.step % run.train.log_steps == 0 or state.step == state.steps:
                log_step(job, log, tracker, result)
            progress.update(state.step, partial(describe, job, result))
            if measured_after(job, state.step):
                progress.note(measure_validation(job, log, tracker))
            watch.after(state.step)
            overdue = time.monotonic() - saved_at >= run.train.save_seconds
            requested = signals.requested  # asked once: what is said to be saved must be
            if overdue or requested or state.step == state.steps:
                save(job, log)
                saved_at = time.monotonic()
            if requested and state.step < state.steps:
                raise Stopped(
                    f"stopped by {requested} after step {state.step} of {state.steps}; everything is saved. "
                    "Run the same command again to go on",
                    where=str(job.out),
                )
    except (DataError, MissingError, NonFiniteError, PermissionFault, ReadError) as fault:
        if not (bad := job.state.non_finite()):
            save(job, log)
            fault.fix = f"{fault.fix.rstrip('.')}. The state before it is saved".lstrip(". ")
        elif not isinstance(fault, NonFiniteError):
            raise broken_down(job, bad) from fault
        raise
    finally:
        progress.close()
        tracker.close()
        log.close()


def log_step(job: Job, log: MetricsLog, tracker: Tracker, result: StepResult) -> None:
    """Write one line of metrics.jsonl: only what the run computed, so that it is the same for every repetition.

    Raises:
        NonFiniteError: the step was taken on an accelerator and is not finite.
    """
    if not result.finite:
        raise broken_down(job, job.state.non_finite() or "the loss")
    row = {"loss": result.loss, "grad_norm": result.grad_norm, "lr": result.lr}
    log.write({"step": job.state.step, "epoch": round(job.epoch, 4)} | row)
    tracker.write("train", row, job.state.step)
    tracker.write("pace", job.pace(job.state.step)._asdict(), job.state.step)


def describe(job: Job, result: StepResult) -> str:
    """Return the progress text of a step."""
    memory = f"  {torch.cuda.max_memory_allocated() / 2**30:.1f} GB" if job.decision.device == "cuda" else ""
    pace = job.pace(job.state.step)
    return (
        f"epoch {job.epoch:.1f}/{job.epochs:.3g}  loss {result.loss:.3f}  {pace.speed:.0f} img/s  "
        f"{100 * pace.waiting:.0f} % waiting for data{memory}"
    )


def measured_after(job: Job, step: int) -> bool:
    """Return whether the validation split is measured after `step`: when a multiple of eval_epochs is passed."""
    every = job.run.train.eval_epochs
    if not job.has("val") or not every or step == job.state.steps:
        return False
    return passed(step, job.loader_steps_per_epoch, every)


def measure_validation(job: Job, log: MetricsLog, tracker: Tracker) -> str:
    """Measure the validation split, log it, and return a line about it."""
    measured = evaluate_split(job, "val")
    row = {"val_top1": measured.top1, "val_loss": measured.loss, "val_ece": measured.ece}
    log.write({"step": job.state.step, "epoch": round(job.epoch, 4)} | row)
    tracker.write("val", row, job.state.step)
    return f"epoch {job.epoch:.1f}: val top-1 {100 * measured.top1:.2f} % ({measured.correct} of {measured.total})"


def evaluate_split(job: Job, split: str, dtype: torch.dtype | None = None) -> Evaluation:
    """Return the Evaluation of the averaged weights on a split, in the type the run computes in unless given."""
    dtype = dtype or job.decision.dtype
    chosen = job.labelled(split)
    return evaluate(
        job.evaluation_model(dtype), job.preprocess, chosen.batches(256), chosen.labels, job.manifest.classes,
        chosen.paths, device=job.decision.device, dtype=dtype,
    )  # fmt: skip


def save(job: Job, log: MetricsLog) -> None:
    """Save the training state, then the model as it is.

    Raises:
        NonFiniteError: a number in it is not finite; nothing was written.
    """
    if bad := job.state.non_finite():
        raise broken_down(job, bad)
    meta = {"log_length": log.sync(), "config": job.config_hash, "data": job.manifest.hash}
    checkpoint.save_state(job.out, SavedState(job.state.step, job.state.tensors(), meta))
    save_model(job, {})


def broken_down(job: Job, bad: str) -> NonFiniteError:
    """Return the error for a state with a number that is not finite."""
    return NonFiniteError(
        f"after step {job.state.step} {bad} is not finite; it was not saved, the states saved before it are kept",
        where="training",
        fix="Lower --optimizer.lr, or use --optimizer.clip_norm 1",
    )


def save_model(job: Job, results: dict[str, Any]) -> None:
    """Write the `model/` folder with the averaged weights."""
    provenance = {
        "data": job.run.data.source,
        "data_hash": job.manifest.hash,
        "step": job.state.step,
        "steps": job.state.steps,
        "seed": job.run.train.seed,
        "results": results,
    }
    checkpoint.save_model(
        job.out / "model", job.run.model, job.state.shipped(), job.manifest.classes, job.preprocess, provenance
    )


def finish(job: Job) -> TrainResult:
    """Measure the finished model once on validation and test, and write eval.json and `model/`."""
    evaluations = {split: evaluate_split(job, split, torch.float32) for split in ("val", "test") if job.has(split)}
    results = {
        split: {"correct": measured.correct, "total": measured.total, "top1": measured.top1}
        for split, measured in evaluations.items()
    }
    files.write_json(job.out / folder.EVALUATION, {name: e.as_dict() for name, e in evaluations.items()})
    save_model(job, results)
    return TrainResult(job.out, job.state.steps, evaluations)
