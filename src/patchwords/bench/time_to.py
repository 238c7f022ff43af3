"""Time to accuracy: whole trainings as a user starts them, everything counted, over seeds; and without each lever."""

from __future__ import annotations

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
    "residual convolutions": {"model.stem_units": "0"},
    "the stem": {"model.stem": "patch"},
    "parts of pictures first": {"augment.early_crop": "0"},
    "a neighbour for each head": {"model.relative_slope": "0"},
    "relative positions": {"model.position": "learned"},
    "weak branches at first": {"model.residual_gain": "1"},
    "mean of the patches": {"model.pool": "cls", "model.class_token": "true"},
    "shifts and mirrors": {"augment.crop": "none", "augment.flip": "false"},
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
) -> list[Row]:
    """Return a row for the recipe, with the seconds and the test accuracy of each seed, and one without each lever.

    Seconds run from the start of the command to its end: imports, reading the pictures, compilation, validation and
    the last measurement too. What has been measured is kept in `out` and not done again; a training that was stopped
    is begun anew, for its time would not be that of one.

    Args:
        source: pictures, as for `patchwords train`.
        target: test top-1 that the mean over the seeds must reach, 0 to 1.
        settings: of all trainings, beside what the recipe chooses.
        ablate: train once without each of `LEVERS` too, for as many steps.

    Raises:
        PatchwordsError: a training failed; says what it said.
    """
    case = f"{100 * target:g} % of the test pictures of {Path(source).stem}"
    runs = [_trained(source, out / f"seed-{seed}", settings | {"train.seed": str(seed)}) for seed in range(seeds)]
    short = target - statistics.fmean(run["top1"] for run in runs)
    rows = [_row(case, "patchwords", runs, Check("mean of the seeds below the target", max(short, 0.0), 0.0))]
    for lever, without in LEVERS.items() if ablate else ():
        run = _trained(source, out / f"without-{lever.replace(' ', '-')}", settings | without | {"train.seed": "0"})
        missing = Check("test pictures not measured", runs[0]["total"] - run["total"], 0.0)
        rows.append(_row(f"{case}: without one lever", f"patchwords without {lever}", [run], missing))
    return rows


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
    command = [sys.executable, "-m", "patchwords", "train", source, "--out", str(run), "--strict", *options]
    began = time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise PatchwordsError(f"the training did not end well: {said.removeprefix('error: ')}", where=str(run))
    measured = read_json(run / "eval.json")["test"]
    found = {"asked": asked, "seconds": seconds, "top1": measured["top1"], "total": measured["total"]}
    write_json(kept, found)
    return found
