"""Time to accuracy: whole trainings as a user starts them, everything counted, over seeds; and without each lever."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import PatchwordsError
from ..files import read_json, write_json
from .timing import Check, Row

Settings = Mapping[str, str]

LEVERS: dict[str, Settings] = {
    "Muon": {"optimizer.name": "adamw"},
    "whitened first filters": {"train.whiten_patches": "false"},
    "residual convolutions": {"model.stem_units": "0", "model.stem_first_units": "0"},
    "the stem": {"model.stem": "patch", "model.patch_size": "4"},
    "parts of pictures first": {"augment.early_crop": "0"},
    "a neighbour for each head": {"model.relative_slope": "0"},
    "relative positions": {"model.position": "learned"},
    "weak branches at first": {"model.residual_gain": "1"},
    "mean of the patches": {"model.pool": "cls", "model.class_token": "true"},
    "shifts and mirrors": {"augment.crop": "none", "augment.flip": "false"},
    "erased rectangles": {"augment.erasing": "0"},
    "smoothed labels": {"train.label_smoothing": "0"},
    "bfloat16": {"train.precision": "fp32"},
}
"""what the recipe of 32-pixel pictures rests on -> the settings that leave it out"""


def measure_time_to(
    source: str,
    out: Path,
    *,
    target: float,
    settings: Settings,
    seeds: int = 3,
    ablate: bool = False,
    views: int = 1,
) -> list[Row]:
    """Return a row for the recipe, with the seconds and the test accuracy of each seed, and one without each lever.

    Seconds run from the start of the command to its end: imports, reading the pictures, compilation, validation and
    the last measurement too; of several views, by a command that follows, its time as well. What has been measured is
    kept in `out` and not done again; a training that was stopped is begun anew, for its time would not be that of one.

    Args:
        source: pictures, as for `patchwords train`.
        target: test top-1 that the mean over the seeds must reach, 0 to 1.
        settings: of all trainings, beside what the recipe chooses; "model" is the name of one.
        ablate: train once without each of `LEVERS` too, for as many steps.
        views: of each test picture, as for `patchwords eval --views`; the accuracy of one view is a row of its own.

    Raises:
        PatchwordsError: a training failed; says what it said.
    """
    chosen = ", ".join(value if name == "model" else f"{name} {value}" for name, value in settings.items())
    case = f"{100 * target:g} % of the test pictures of {Path(source).stem}" + f" ({chosen})" * bool(chosen)
    runs = [_trained(source, out / f"seed-{seed}", settings | {"train.seed": str(seed)}) for seed in range(seeds)]
    total = runs[0]["total"]
    if views == 1:
        rows = [_row(case, "patchwords", runs, _missed(target, runs))]
    else:
        seen = [_seen(out / f"seed-{seed}", run, views) for seed, run in enumerate(runs)]
        rows = [_row(case, f"patchwords, {views} views", seen, _missed(target, seen))]
        rows.append(_row(f"{case}: one view", "patchwords", runs, _unmeasured(total, runs)))
    for lever, without in LEVERS.items() if ablate else ():
        run = _trained(source, out / f"without-{lever.replace(' ', '-')}", settings | without | {"train.seed": "0"})
        case_without = f"{case}: one view, without one lever"
        rows.append(_row(case_without, f"patchwords without {lever}", [run], _unmeasured(total, [run])))
    return rows


def _missed(target: float, runs: list[dict[str, Any]]) -> Check:
    short = target - statistics.fmean(run["top1"] for run in runs)
    return Check("mean of the seeds below the target", max(short, 0.0), 0.0)


def _unmeasured(total: int, runs: list[dict[str, Any]]) -> Check:
    return Check("test pictures not measured", max(total - run["total"] for run in runs), 0.0)


def _row(case: str, side: str, runs: list[dict[str, Any]], check: Check) -> Row:
    seconds, top1 = (tuple(run[name] for run in runs) for name in ("seconds", "top1"))
    return Row(case, side, (check,), seconds, None, top1=top1)


def _trained(source: str, run: Path, settings: Settings) -> dict[str, Any]:
    """Return seconds and test accuracy of one training in a process of its own."""
    kept = run.with_suffix(".json")
    asked = {"source": source, "settings": dict(settings)}
    if kept.exists() and (known := read_json(kept))["asked"] == asked:
        return known
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    options = [text for name, value in settings.items() for text in (f"--{name}", value)]
    seconds, _ = _timed("train", source, "--out", str(run), "--strict", *options, where=run)
    measured = read_json(run / "eval.json")["test"]
    found = {"asked": asked, "seconds": seconds, "top1": measured["top1"], "total": measured["total"]}
    write_json(kept, found)
    return found


def _seen(run: Path, trained: dict[str, Any], views: int) -> dict[str, Any]:
    """Return what was found of a training with the test accuracy of `views` views, and their time added."""
    kept = run.with_suffix(f".{views}-views.json")
    if kept.exists() and (known := read_json(kept))["trained"] == trained:
        return known
    options = ("--split", "test", "--views", str(views), "--precision", "bf16", "--json")
    seconds, said = _timed("eval", str(run), *options, where=run)
    measured = json.loads(said)
    seconds += trained["seconds"]
    found = {"trained": trained, "seconds": seconds, "top1": measured["top1"], "total": measured["total"]}
    write_json(kept, found)
    return found


def _timed(*command: str, where: Path) -> tuple[float, str]:
    """Return the seconds and the output of a command of patchwords in a process of its own."""
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-m", "patchwords", *command], capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise PatchwordsError(f"`{command[0]}` did not end well: {said.removeprefix('error: ')}", where=str(where))
    return seconds, ended.stdout
