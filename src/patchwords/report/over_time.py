"""How a run learned: curves of its training, and what a few pictures showed at every look, over epochs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files
from ..errors import CheckpointError, ConfigError, MissingError, PatchwordsError
from ..inspection.results import Result
from . import courses
from .finding import Finding, figures_of, plural
from .learned import see_answers, see_distances, see_filters, see_looking, see_positions, see_training
from .markup import listing, table, text
from .page import laid_out
from .survey import WRITER, Outcome, check_folder, drawn, told, write_outcomes
from .watched import Watched, read_watched

METRICS = "metrics.jsonl"
"""of a run: a line for each measurement"""
UNWATCHED = "the run was not watched"
HINT = (
    "Nothing was stored while this run went on, so that only its curves can be drawn. To watch a run, train or tune "
    "with --train.watch_epochs N, for example 5; a run that goes on can be watched from there."
)


@dataclass(frozen=True)
class Section:
    """One thing that is followed over time; `exhibit` of an Outcome."""

    name: str
    title: str
    shows: str
    """one sentence"""
    healthy: str
    """one sentence: what it looks like when a model learns well"""
    paper: str
    """the figure it corresponds to"""
    see: Callable[[list[dict[str, Any]], Watched | None], Finding]


@dataclass(frozen=True)
class OverTime:
    """A run followed from its first step to its last."""

    run: Path
    log: list[dict[str, Any]]
    watched: Watched | None
    outcomes: tuple[Outcome, ...]

    @property
    def results(self) -> dict[str, Result]:
        """name -> numbers of every section that applies."""
        found = [each.finding for each in self.outcomes if each.finding]
        return {name: result for finding in found for name, result in finding.results.items()}

    @property
    def faults(self) -> tuple[PatchwordsError, ...]:
        """Of looks that were left out."""
        return self.watched.faults if self.watched else ()

    @property
    def hint(self) -> str:
        """How to watch a run, where this one was not; "" where it was."""
        return "" if self.watched else HINT

    def as_dict(self) -> dict[str, Any]:
        """Return what was found; plain values, for JSON."""
        return {
            "written_by": WRITER,
            "versions": {name: metadata.version(name) for name in ("patchwords", "torch", "numpy")},
            "run": self.run.name,
            "hint": self.hint,
            "looks": [look.step for look in self.watched.looks] if self.watched else [],
            "faults": [fault.as_dict() for fault in self.faults],
            "exhibits": [told(each) for each in self.outcomes],
        }

    def write(self, out: Path) -> None:
        """Write figures, numbers and the page into the folder `out`; one that `inspect` wrote before is replaced.

        Raises:
            WriteError: it holds something else, or cannot be written.
        """
        write_outcomes(out, self.as_dict(), self.outcomes, self.results, self._page())

    def _page(self) -> str:
        name = self.run.resolve().name
        lines = [f"Run: {name}.", self.hint]
        pictures = ""
        if self.watched:
            looks, split = self.watched.looks, self.watched.probes.split
            split = {"val": "validation", "train": "training"}.get(split, split)
            lines.append(
                f"{plural(len(looks), 'look')} at {plural(self.watched.pictures, 'picture')} of the {split} "
                f"split, from epoch {figures_of(looks[0].epoch)} to epoch {figures_of(looks[-1].epoch)}."
            )
            rows = courses.listed(self.watched)
            heads = {"picture": "picture", "file": "file", "class": "class", "answer": "last answer"}
            pictures = table("Pictures that were looked at", heads | {"probability": "probability"}, rows)
        faults = [fault.line() for fault in self.faults]
        warned = f'<div class="warning"><p>{text("Left out:")}</p>{listing(faults)}</div>' if faults else ""
        about = f'<section id="about">{listing(filter(None, lines))}{pictures}{warned}</section>'
        return laid_out(f"How {name} learned", about, self.outcomes)


def look_over_time(run: Path, out: Path | None = None) -> OverTime:
    """Follow a run over its epochs, and write the folder `out` where one is named.

    Raises:
        MissingError, ConfigError: `run` is no run folder. CheckpointError: what it stored is damaged.
        WriteError: `out` holds something else.
    """
    if out is not None:
        check_folder(out)
    log, watched = read_log(run), read_watched(run)
    outcomes = []
    for section in SECTIONS:
        if section.see is not see_training and watched is None:
            outcomes.append(Outcome(section, None, UNWATCHED))
            continue
        try:
            finding = section.see(log, watched)
        except ConfigError as fault:
            outcomes.append(Outcome(section, None, fault.line()))
            continue
        images = tuple(drawn(each) for each in finding.drawings) if out is not None else ()
        outcomes.append(Outcome(section, finding, "", images))
    found = OverTime(run, log, watched, tuple(outcomes))
    if out is not None:
        found.write(out)
    return found


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the whole lines of metrics.jsonl; a run that goes on may be writing the last one.

    Raises:
        MissingError, ConfigError: `run` is no run folder. CheckpointError: a line is damaged.
    """
    if not run.exists():
        raise MissingError("no such folder", where=str(run))
    path = run / METRICS
    if not path.is_file():
        fix = "Give a folder that `patchwords train` or `tune` wrote"
        raise ConfigError(f"is no run folder: it has no {METRICS}", where=str(run), fix=fix)
    rows = []
    for number, line in enumerate(files.read_bytes(path).split(b"\n")[:-1]):
        try:
            row = json.loads(line)
            sound = isinstance(row, dict) and {"step", "epoch"} <= row.keys()
            sound = sound and all(type(value) in (int, float) for value in row.values())
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            raise CheckpointError(f"line {number + 1} is damaged", where=str(path), fix="Use a copy")
        rows.append(row)
    return rows


SECTIONS = (
    Section(
        "training",
        "Training",
        "Loss, right answers and learning rate, as the run logged them.",
        "The loss falls quickly, then slowly; right answers on the validation split rise with it and do not turn down.",
        "none",
        see_training,
    ),
    Section(
        "answers",
        "Answers",
        "What probability the model gives to the right class of each picture.",
        "Each picture's line rises and stays up; one that stays down is worth a look at its label.",
        "none",
        see_answers,
    ),
    Section(
        "looking",
        "Where it looks",
        "The same pictures at every look, lit where the answer comes from.",
        "Even light at first, then more and more of it on the object that the answer names.",
        "2010.11929, fig. 6",
        see_looking,
    ),
    Section(
        "distance",
        "Attention distance",
        "How far the heads of each layer look, over epochs.",
        "All layers start near even attention; low layers come to have local heads, high ones stay global.",
        "2010.11929, fig. 7 right",
        see_distances,
    ),
    Section(
        "filters",
        "Patch-embedding filters",
        "The leading principal components of the first filters, over epochs.",
        "Noise at first, then smooth pictures: plain colours, ramps and waves.",
        "2010.11929, fig. 7 left",
        see_filters,
    ),
    Section(
        "position",
        "Positions",
        "What is known of where patches lie, over epochs.",
        "Learned position vectors start unrelated, and come to be the more alike the nearer their patches are.",
        "2010.11929, fig. 7 centre",
        see_positions,
    ),
)
"""what is followed, in the order of the page"""
