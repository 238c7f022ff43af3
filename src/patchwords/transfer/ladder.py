"""`--tune auto`: probe, LoRA, all, each tried on pictures held back; what answers best is trained and kept."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..data.manifest import Manifest
from ..data.sources import open_source
from ..data.splits import make_splits
from ..data.survey import survey
from ..device import choose_device
from ..errors import CheckpointError, ConfigError
from ..progress import say
from ..training.folder import CONFIG, DATA, LADDER, STAGES, WITHOUT_EFFECT, locked
from ..training.request import check, resolve
from ..training.setup import list_pictures
from ..training.signals import StopSignals
from .tune import Load, Source, TuneRequest, TuneResult, Tuning, tune_fixed

RUNGS = ("probe", "lora", "all")
"""from what moves least to what moves most"""
IN_DOUBT = ("lora", "all", "probe")
"""what is kept when pictures held back cannot tell: LoRA moves little enough for few pictures, and enough for many"""
ENOUGH = 5000
"""pictures to learn from and validate on, from which the validation split says enough"""
HELD_BACK, ANSWERS, MOST_DRAWS = 0.25, 150, 8
"""with fewer: share of them held back at a time, answers wanted in all, and draws at most"""


@dataclass(frozen=True)
class Rung:
    """One way that was tried."""

    tune: str
    correct: int
    total: int
    """held back and asked, over all draws"""
    loss: float
    """mean cross-entropy on them, nats"""

    @property
    def top1(self) -> float:
        """Share of right answers."""
        return self.correct / self.total


@dataclass(frozen=True)
class Ladder:
    """What was tried so far; stored in RUN/ladder.json after each rung."""

    request: dict[str, Any]
    """what decides the result"""
    draws: int
    """of pictures held back; 0: the validation split"""
    rungs: tuple[Rung, ...] = ()
    kept: str = ""
    """"" while the climb goes on"""

    def save(self, out: Path) -> None:
        """Write RUN/ladder.json."""
        files.write_json(out / LADDER, asdict(self))

    @classmethod
    def load(cls, out: Path) -> Ladder | None:
        """Return what RUN/ladder.json says; None when there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        if not (out / LADDER).exists():
            return None
        try:
            values = files.read_json(out / LADDER)
            rungs = tuple(Rung(**rung) for rung in values["rungs"])
            ladder = cls(values["request"], int(values["draws"]), rungs, values["kept"])
            sound = isinstance(ladder.request, dict) and ladder.kept in ("", *RUNGS)
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise CheckpointError("is damaged", where=str(out / LADDER), fix="Remove it to climb again")
        return ladder


def tune(request: TuneRequest, out: str | Path, load: Load) -> TuneResult:
    """Tune a model in the folder `out`, or go on with the run that is there.

    Args:
        request: what is wanted.
        out: folder of the run.
        load: from the name of a checkpoint to the model.

    Raises:
        ConfigError, DataError, MissingError: what was asked for cannot be done. And as `training.train`.
    """
    request.check()
    out, source = Path(out), Source(request.checkpoint, load)
    ladder = Ladder.load(out)
    if request.tune != "auto":
        if ladder:
            raise ConfigError("is a run of --tune auto", where=str(out), fix="Go on with it, or give another --out")
        return tune_fixed(request, out, Tuning(request, source))
    if ladder is None and (out / CONFIG).exists():
        raise ConfigError("is not a run of --tune auto", where=str(out), fix="Give another --out")
    return climb(request, out, source)


def climb(request: TuneRequest, out: Path, source: Source) -> TuneResult:
    """Try the ways from probe to all, and train the best in `out`."""
    with StopSignals() as signals, signals.stopping_at_once(str(out)):
        with locked(out):
            ladder, manifest = begin(request, out, source)
            while not ladder.kept:
                ladder = next_rung(ladder, request, out, source, manifest)
                ladder.save(out)
            if not ladder.draws:
                take_over(out, ladder.kept)
        best = dataclasses.replace(request, tune=ladder.kept)
        result = tune_fixed(best, out, Tuning(best, source, manifest))
        files.remove_folder(out / STAGES)
    return dataclasses.replace(result, ladder=tuple(asdict(rung) for rung in ladder.rungs))


def begin(request: TuneRequest, out: Path, source: Source) -> tuple[Ladder, Manifest]:
    """Return the ladder in `out`, or a new one at its foot, and the pictures."""
    wanted = deciding(request)
    ladder, listed = Ladder.load(out), out / STAGES / DATA
    if ladder:
        if ladder.request != wanted:
            changed = next(name for name in wanted if ladder.request.get(name) != wanted[name])
            what = f"belongs to another run: {changed} was {ladder.request.get(changed)!r}, now {wanted[changed]!r}"
            raise ConfigError(what, where=str(out), fix="Give the same options to go on with it, or another --out")
        if ladder.kept and (out / CONFIG).exists():
            return ladder, Manifest.from_json(files.read_json(out / DATA), str(out / DATA))
        return ladder, Manifest.from_json(files.read_json(listed), str(listed))
    last = dataclasses.replace(request, tune=RUNGS[-1])
    check(last.for_training(), transfer=True)
    if not request.data:
        raise ConfigError("no data set was given", where="patchwords tune", fix="Name a folder, or digits, or cifar10")
    pictures = open_source(request.data)
    run = resolve(last.for_training(), survey(pictures), choose_device("auto"), Tuning(last, source).choose).run
    manifest = list_pictures(pictures, run.data)
    with files.faults_named(out, "write"):
        (out / STAGES).mkdir(exist_ok=True)
    files.write_json(listed, manifest.to_json())
    ladder = Ladder(wanted, count_draws(manifest))
    ladder.save(out)
    return ladder, manifest


def deciding(request: TuneRequest) -> dict[str, Any]:
    """Return the part of a request that decides the result."""
    settings = {name: text for name, text in sorted(request.settings.items()) if name not in WITHOUT_EFFECT}
    kept = {name: getattr(request, name) for name in ("data", "image_size", "preset", "augment")}
    return kept | {"settings": settings}


def count_draws(manifest: Manifest) -> int:
    """Return how often pictures are held back; 0: the validation split is large enough, or was given."""
    learned, split = len(manifest.split("train")), len(manifest.split("val"))
    if split and ("val" not in manifest.made or learned + split >= ENOUGH):
        return 0
    return max(1, min(MOST_DRAWS, math.ceil(ANSWERS / (HELD_BACK * (learned + split)))))


def held_back(manifest: Manifest, draw: int) -> Manifest:
    """Return the training and validation pictures with another quarter of each class as validation; no test."""
    learned = [picture for picture in manifest.pictures if picture.split != "test"]
    splits = make_splits(
        [picture.sha256 for picture in learned],
        [manifest.classes[picture.label] for picture in learned],
        [""] * len(learned),
        {"test": 0.0, "val": HELD_BACK},
        draw,
    )
    pictures = (dataclasses.replace(each, split=split) for each, split in zip(learned, splits, strict=True))
    return dataclasses.replace(manifest, pictures=tuple(pictures), split_seed=draw)


def next_rung(ladder: Ladder, request: TuneRequest, out: Path, source: Source, manifest: Manifest) -> Ladder:
    """Return the ladder after one more way was tried, or after the choice."""
    way = RUNGS[len(ladder.rungs)]
    unseen = {"train.report", "train.watch_epochs"} if ladder.draws else {"train.report"}
    settings = {name: text for name, text in request.settings.items() if name not in unseen}
    asked = dataclasses.replace(request, tune=way, settings=settings)
    found = []
    for draw in range(max(1, ladder.draws)):
        pictures = held_back(manifest, draw) if ladder.draws else manifest
        name = f"{way}-{draw}" if ladder.draws else way
        with quiet(ladder.draws > 0):
            result = tune_fixed(asked, out / STAGES / name, Tuning(asked, source, pictures))
        found.append(result.evaluations["val"])
    total = sum(each.total for each in found)
    rung = Rung(way, sum(each.correct for each in found), total, sum(each.loss * each.total for each in found) / total)
    of = f"{ladder.draws} draw{'s' * (ladder.draws > 1)}" if ladder.draws else "the validation split"
    right = f"{rung.correct} of {total} held back are right, {100 * rung.top1:.1f} %"
    say(f"recipe    {way}: {right}, loss {rung.loss:.3f} ({of})")
    ladder = dataclasses.replace(ladder, rungs=(*ladder.rungs, rung))
    if len(ladder.rungs) < len(RUNGS) and not falls(ladder.rungs):
        return ladder
    kept = best_of(ladder.rungs).tune
    say(f"recipe    {kept} is kept")
    return dataclasses.replace(ladder, kept=kept)


def best_of(rungs: tuple[Rung, ...]) -> Rung:
    """Return the rung that is most often right; of those that are not clearly worse, the first of `IN_DOUBT`.

    Losses do not compare: a solved head is sure of itself, one that was trained on smoothed labels is not.
    """
    most = max(rungs, key=lambda rung: rung.top1)
    near = [rung for rung in rungs if not clearly_worse(rung, most)]
    return min(near, key=lambda rung: IN_DOUBT.index(rung.tune))


def falls(rungs: tuple[Rung, ...]) -> bool:
    """Return whether the last rung is clearly worse than one before."""
    return clearly_worse(rungs[-1], max(rungs, key=lambda rung: rung.top1))


def clearly_worse(rung: Rung, best: Rung) -> bool:
    """Return whether `rung` is right less often than `best` by two standard errors of the difference."""
    variance = sum(each.top1 * (1 - each.top1) / each.total for each in (rung, best))
    return best.top1 - rung.top1 > 2 * math.sqrt(variance)


def take_over(out: Path, way: str) -> None:
    """Make the finished run of one way that of `out`; its settings come last, as they say that a run is there."""
    stage = out / STAGES / way
    if not stage.exists():
        return
    with files.faults_named(out, "write"):
        names = sorted((path.name for path in stage.iterdir()), key=lambda name: (name == CONFIG, name))
        for name in names:
            if name != ".lock":
                files.remove_folder(out / name) if (out / name).is_dir() else None
                os.replace(stage / name, out / name)
        files.sync_folder(out)


@contextlib.contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Keep what many short tries say to themselves."""
    with contextlib.redirect_stderr(io.StringIO()) if wanted else contextlib.nullcontext():
        yield
