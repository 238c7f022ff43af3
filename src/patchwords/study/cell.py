"""One training of a study and what is measured of it; its outcome is one small file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..data.augment import Augment
from ..data.evaluation import Labelled
from ..data.loader import Batch, MemoryLoader
from ..data.manifest import Manifest
from ..data.mixing import Mixer
from ..data.plan import Plan as Order
from ..errors import CheckpointError
from ..metrics import measure, read_log
from ..preprocess import Preprocess
from ..randomness import permutation
from ..training import folder as run_folder
from ..training.decision import Decision
from ..training.evaluate import predict_logits
from ..training.job import Job
from ..training.run import train_steps
from ..training.setup import build_state, resume
from .folder import STARTS, Study
from .tasks import Task, flops_of, steps_of

SHIFTED = 2000
"""test pictures that are shifted, at most"""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""(rows, columns) of the one-pixel shifts"""
EVALUATED = 256
"""pictures computed at a time in evaluation"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is known of a finished cell or trial."""

    lr: float
    steps: int
    samples_seen: int
    flops: float
    val_top1: float
    val_loss: float
    curve: tuple[tuple[int, float | None, float | None], ...]
    """(samples seen, share of right validation answers, training loss)"""
    seconds: float = 0.0
    """that it takes, from what it took here; in no result"""
    shift_consistency: float | None = None
    votes: np.ndarray | None = None
    """(test pictures,) uint16: the class answered; None: a trial, which sees no test picture"""

    def write(self, path: Path, unique: str) -> None:
        """Write the outcome; it is there whole or not at all, whoever else writes it at the same time."""
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "votes"}
        arrays = {"told": np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)}
        if self.votes is not None:
            arrays["votes"] = self.votes
        own = path.with_name(f"{files.TEMPORARY}{unique}-{path.name}")
        files.write_atomic(own, files.npz_bytes(arrays))
        with files.faults_named(path, "write"):
            own.rename(path)
            files.sync_folder(path.parent)


def read_outcome(path: Path) -> Outcome:
    """Return what `Outcome.write` wrote.

    Raises:
        MissingError: it is not there. CheckpointError: it is damaged.
    """
    data = files.read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            told: dict[str, Any] = json.loads(arrays["told"].tobytes())
            votes = arrays["votes"] if "votes" in arrays.files else None
        curve = tuple(tuple(point) for point in told.pop("curve"))
        return Outcome(**told, curve=curve, votes=votes)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        fix = "Remove it, and run the same command again: it is computed anew"
        raise CheckpointError("is damaged", where=str(path), fix=fix) from error


class CellJob(Job):
    """A run on a part of the pictures; some of them more than once, where they are drawn with replacement."""

    def names(self, batch: Batch) -> list[str]:
        """Return the files of a batch."""
        rows = self.loader.rows[batch.ids].tolist()
        return [self.manifest.pictures[row].path for row in rows]

    def labelled(self, split: str) -> Labelled:
        """Return the pictures of a split with their labels."""
        numbers = self.manifest.split(split)
        pixels = self.pixels[torch.from_numpy(numbers)]
        paths = [self.manifest.pictures[number].path for number in numbers.tolist()]
        labels = self.manifest.labels[numbers]
        name = self.manifest.source
        return Labelled(name, split, paths, labels, (), (), pixels.split, lambda places: iter(pixels[places].split(32)))


def drawn(study: Study, task: Task) -> np.ndarray:
    """Return the numbers in the manifest of a task's training pictures; some of them twice, of a bootstrap draw."""
    subsets, question = study.subsets, study.plan.question
    if task.draw == "bootstrap":
        return study.pool[subsets.bootstrap(task.seed, task.size)]
    if task.draw == "disjoint":
        return study.pool[subsets.disjoint(task.seed, task.size, question.disjoint)]
    return study.pool[subsets.nested(task.seed, task.size)]


def job_of(study: Study, task: Task, rate: float, out: Path) -> CellJob:
    """Return the run of a task in the folder `out`, before its first step. It knows no test picture."""
    plan, steps = study.plan, steps_of(task, study.plan)
    run = plan.run_of(task.contender, task.size, task.seed, task.augment, rate, steps)
    train = drawn(study, task)
    kept = np.union1d(train, study.manifest.split("val"))
    listed = tuple(study.manifest.pictures[number] for number in kept.tolist())
    manifest = Manifest(study.manifest.source, study.manifest.classes, listed)
    pixels = study.pixels[torch.from_numpy(kept)]
    preprocess = Preprocess.from_data(run.data)
    decision = Decision(run.train.device, run.train.precision, False, 1, ())
    rows = torch.from_numpy(np.searchsorted(kept, train))
    labels = torch.from_numpy(manifest.labels)[rows]
    augment = Augment(run.augment, run.train.seed, run.data.interpolation)
    order = Order(run.train.seed, len(rows), run.train.batch_size)
    loader = MemoryLoader(pixels, labels, order, augment, rows=rows, workers=0, device=run.train.device)
    mixer = Mixer(run.augment, len(manifest.classes), run.train.label_smoothing, run.train.seed)
    start = study.out / STARTS / task.contender.start
    state = build_state(run, decision, loader.plan, loader, preprocess, start)
    return CellJob(run, out, decision, manifest, preprocess, None, pixels, loader, mixer, state)


def compute(study: Study, task: Task, rate: float, out: Path, stops: Any, watching: dict[str, Any]) -> Outcome:
    """Train a task in the folder `out`, going on where it stopped, and return what came of it.

    Args:
        stops: its `requested` names why to stop; "" while there is no reason.
        watching: takes the state of the training while there is one, for others to look at.

    Raises:
        Stopped: there was a reason to stop; everything is saved. NonFiniteError: the rate was too high.
    """
    began = time.monotonic()
    job = ready(study, task, rate, out)
    here = job.state.steps - job.state.step
    try:
        watching["state"] = job.state
        with contextlib.redirect_stderr(io.StringIO()):  # of many cells, each of which would tell its own story
            train_steps(job, stops)
        outcome = measured(study, task, rate, job)
        seconds = (time.monotonic() - began) * job.state.steps / max(here, 1)
        return dataclasses.replace(outcome, seconds=round(seconds, 2))
    finally:
        watching.pop("state", None)
        job.close()


def ready(study: Study, task: Task, rate: float, out: Path) -> CellJob:
    """Return the run of a task where it stopped; from its beginning when it cannot go on."""
    job = job_of(study, task, rate, out)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            resume(job)
    except CheckpointError:
        job.close()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        job = job_of(study, task, rate, out)
    return job


def measured(study: Study, task: Task, rate: float, job: CellJob) -> Outcome:
    """Return the outcome of a run that took all its steps; the test pictures of a cell are seen here, once."""
    model = job.evaluation_model(torch.float32)
    device = job.decision.device

    def logits(pixels: Tensor) -> np.ndarray:
        return predict_logits(model, job.preprocess, pixels.split(EVALUATED), device=device)

    held = job.labelled("val")
    validation = measure(logits(torch.cat(list(held.batches(EVALUATED)))), held.labels, job.manifest.classes)
    votes, consistency = None, None
    if not task.rate:
        test = torch.from_numpy(study.manifest.split("test"))
        votes = answers(logits(study.pixels[test]))
        chosen = shifted_pictures(study, len(test))
        consistency = shift_consistency(votes[chosen], study.pixels[test[torch.from_numpy(chosen)]], logits)
    batch, steps = job.run.train.batch_size, job.state.steps
    return Outcome(
        lr=rate,
        steps=steps,
        samples_seen=steps * batch,
        flops=flops_of(task, study.plan),
        val_top1=validation.top1,
        val_loss=validation.loss,
        curve=curve_of(read_log(job.out / run_folder.METRICS), batch, steps, validation.top1),
        shift_consistency=consistency,
        votes=votes,
    )


def answers(logits: np.ndarray) -> np.ndarray:
    """Return the class answered for each picture; of equal logits the first."""
    return np.argmax(logits, axis=1).astype(np.uint16)


def shifted_pictures(study: Study, total: int) -> np.ndarray:
    """Return which test pictures are shifted, ascending; the same for all cells."""
    return np.sort(permutation(study.plan.run.data.split_seed, "study/shifted", 0, total)[:SHIFTED])


def shift_consistency(votes: np.ndarray, pixels: Tensor, logits: Any) -> float:
    """Return the share of equal answers when pictures are shifted by one pixel, over four directions."""
    same = [answers(logits(shifted(pixels, rows, columns))) == votes for rows, columns in MOVES]
    return float(np.mean(same))


def shifted(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Return pictures (..., row, column) moved down and right; what comes in at an edge is a copy of the edge."""
    height, width = pixels.shape[-2:]
    down = (torch.arange(height) - rows).clamp(0, height - 1)
    right = (torch.arange(width) - columns).clamp(0, width - 1)
    return pixels[..., down, :][..., right]


def curve_of(
    log: list[dict[str, Any]], batch: int, steps: int, final: float
) -> tuple[tuple[int, float | None, float | None], ...]:
    """Return the learning curve: the loss is the mean of those noted since the point before."""
    points, losses = [], []
    for row in log:
        if "loss" in row:
            losses.append(row["loss"])
        if "val_top1" in row:
            points.append((row["step"] * batch, row["val_top1"], float(np.mean(losses)) if losses else None))
            losses = []
    points.append((steps * batch, final, float(np.mean(losses)) if losses else None))
    return tuple(points)
