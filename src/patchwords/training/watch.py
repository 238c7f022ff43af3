"""Watching a run: every few epochs a look at the same few pictures, without any effect on the run."""

from __future__ import annotations

import dataclasses
import math
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import checkpoint, files
from ..errors import ConfigError
from ..randomness import permutation
from ..report import watched
from ..report.watched import Probes, look_path, take_look, write_look, write_probes
from .folder import REPORT

if TYPE_CHECKING:
    from .job import Job

SPLITS = ("val", "test", "train")
"""whose pictures are looked at: the first of these that the run has"""
REPORT_PICTURES = 128
"""pictures of the report at the end: as many as `patchwords inspect` takes"""


def passed(step: int, per_epoch: float, every: float) -> bool:
    """Return whether a multiple of `every` epochs, of `per_epoch` steps each, is passed with `step`."""
    return math.floor(step / (per_epoch * every)) > math.floor((step - 1) / (per_epoch * every))


class Watch:
    """Looks before the first step, every train.watch_epochs and after the last; nothing where that is 0.

    The pictures are a function of data.split_seed and of which pictures there are, so that runs of other seeds are
    watched on the same ones. A look is written whole or not at all, before the state after its step is saved: one that
    was interrupted is taken again when the run goes on, with the same bits.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.every = job, job.run.train.watch_epochs
        if not self.every:
            return
        folder = job.out / watched.FOLDER
        with files.faults_named(folder, "write"):
            folder.mkdir(exist_ok=True)
            files.remove_temporaries(folder)
        self.split = next(split for split in SPLITS if job.has(split))
        numbers = job.manifest.split(self.split)
        order = permutation(job.run.data.split_seed, "watch", 0, len(numbers))
        self.numbers = numbers[order[: job.run.train.watch_pictures]]
        self.pixels = torch.cat(list(job.pixel_batches(self.numbers, len(self.numbers))))
        write_probes(job.out, self._probes())
        if not look_path(job.out, job.state.step).exists():
            self.after(job.state.step)

    def _probes(self) -> Probes:
        manifest = self.job.manifest
        return Probes(
            pixels=self.pixels.numpy(),
            numbers=np.asarray(self.numbers, dtype=np.int64),
            names=np.array([manifest.pictures[number].path for number in self.numbers.tolist()]),
            labels=np.asarray(manifest.labels[self.numbers], dtype=np.int64),
            classes=np.array(manifest.classes),
            split=self.split,
        )

    def due(self, step: int) -> bool:
        """Return whether there is a look after `step`."""
        if not self.every:
            return False
        return step in (0, self.job.state.steps) or passed(step, self.job.loader_steps_per_epoch, self.every)

    def after(self, step: int) -> None:
        """Look, when a look is due; not at weights that are not finite, which are about to be refused.

        Raises:
            WriteError: the look cannot be written.
        """
        job = self.job
        if not self.due(step) or job.state.non_finite():
            return
        look = take_look(job.evaluation_model(torch.float32), self._images(), self.numbers, step, round(job.epoch, 4))
        write_look(job.out, look)

    def _images(self) -> Tensor:
        return self.job.preprocess.normalize(self.pixels.to(self.job.decision.device)).float()


def require_drawing(wanted: bool) -> None:
    """Raise ConfigError when a report is wanted at the end and nothing could draw it, before the first step."""
    if wanted and util.find_spec("matplotlib") is None:
        fix = "Install it: pip install 'patchwords[plot]', or give --train.report false"
        raise ConfigError("needs matplotlib, which is not installed", where="train.report", fix=fix)


def write_report(out: Path) -> None:
    """Write RUN/report.html: the page that `patchwords inspect RUN` makes.

    Raises:
        WriteError: it cannot be written; the run is finished and saved.
    """
    from ..report.looking import Request, look_inside
    from ..report.page import page

    loaded = checkpoint.load_model(out / "model")
    found = look_inside([(loaded, str(out))], Request((), (), REPORT_PICTURES, 0, None, draw=True))
    note = "Written at the end of training. For the figures and numbers as files: patchwords inspect RUN."
    files.write_atomic(out / REPORT, page(dataclasses.replace(found, notes=(*found.notes, note))))
