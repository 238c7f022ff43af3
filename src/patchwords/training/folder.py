"""A run's folder: who may write in it, which run it belongs to, and what was decided for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files
from ..config import RunConfig
from ..errors import CheckpointError, ConfigError, WriteError
from ..overrides import from_dict, to_dict, to_yaml

CONFIG, DATA, ENVIRONMENT, METRICS, EVALUATION = "config.yaml", "data.json", "env.json", "metrics.jsonl", "eval.json"
REJECTED = "rejected.jsonl"
REPORT = "report.html"
START = "start"
"""folder with the model that a run starts from when it goes on from another: it then needs nothing outside itself"""
LADDER, STAGES = "ladder.json", "stages"
"""of `tune --tune auto`: what was tried and kept, and the folders of the tries"""
BEGUN = {REJECTED, DATA, ENVIRONMENT, START, LADDER, STAGES}
"""what a run may have written before its settings"""

WITHOUT_EFFECT = {
    "data.workers",
    "data.memory_limit_mb",
    "train.save_seconds",
    "train.tensorboard",
    "train.watch_epochs",
    "train.watch_pictures",
    "train.report",
    "train.device",
    "transfer.checkpoint",
}
"""settings that may differ when a run goes on, because its result does not depend on them"""

CAME_LATER = {
    "data.scaled_decode": False,
    "model.merge": 0,
    "model.merge_schedule": "constant",
    "model.stem_first_units": 0,
    "model.stem_units": 1,
    "model.stem_widths": [],
}
"""settings that runs begun before them lack in config.yaml and in their hash -> what such runs go on doing"""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[Path]:
    """Make the folder of a run, hold it for this process, and clear what an interrupted writer left in it.

    Raises:
        WriteError: another process trains in it, or it cannot be made. ConfigError: it holds something else.
    """
    with files.faults_named(out, "write"):
        if out.is_dir() and not (out / CONFIG).exists() and _is_foreign(out):
            raise ConfigError("is not empty and not a run folder", where=str(out), fix="Give another --out")

    def busy(holder: str) -> WriteError:
        fix = "Wait for it, stop it, or give another --out"
        return WriteError(f"is in use by process {holder}", where=str(out), fix=fix)

    with files.held(out, busy):
        yield out


def _is_foreign(out: Path) -> bool:
    """Return whether a folder without settings holds anything but what a run writes just before them."""
    names = {path.name for path in out.iterdir()}
    begun = BEGUN if ".lock" in names else set()
    return any(not name.startswith(".") for name in names - begun)


def read_config(out: Path) -> RunConfig | None:
    """Return the settings of the run in `out`, or None when there is no run yet.

    Raises:
        CheckpointError: config.yaml is damaged.
    """
    path = out / CONFIG
    if not path.exists():
        return None
    values = files.read_yaml(path)
    try:
        for name, before in CAME_LATER.items():
            section, field = name.split(".")
            if section != "model":  # a model's own defaults are what it was before, and each kind has its own settings
                values.get(section, {}).setdefault(field, before)
        return from_dict(values)
    except (ConfigError, AttributeError, TypeError, ValueError) as error:
        detail = error.line() if isinstance(error, ConfigError) else "is not valid YAML"
        raise CheckpointError(detail, where=str(path), fix="Restore it, or give another --out") from error


def require_same_run(out: Path, stored: RunConfig, wanted: RunConfig) -> None:
    """Raise ConfigError when `wanted` would give another result than the run in `out` was started with."""
    before, after = _flat(stored), _flat(wanted)
    changed = [name for name in before if before[name] != after.get(name) and name not in WITHOUT_EFFECT]
    if changed:
        shown = ", ".join(f"{name} was {before[name]!r}, now {after[name]!r}" for name in changed[:3])
        raise ConfigError(
            f"belongs to another run: {shown}",
            where=str(out),
            fix="Give the same options to go on with it, or another --out",
        )


def _flat(run: RunConfig) -> dict[str, Any]:
    sections = to_dict(run)
    if not run.transfer.tune:
        del sections["transfer"]
    return {f"{section}.{name}": value for section, named in sections.items() for name, value in named.items()}


def settings_hash(run: RunConfig) -> str:
    """Return the sha256 of the settings that decide the result."""
    flat = _flat(run)
    absent = {name for name, before in CAME_LATER.items() if flat.get(name) == before}
    deciding = {name: value for name, value in flat.items() if name not in WITHOUT_EFFECT | absent}
    return _sha256(files.json_line(deciding).encode())


def write_start(out: Path, run: RunConfig, environment: dict[str, Any]) -> None:
    """Write what decides a run, env.json before config.yaml: a folder with config.yaml has both.

    env.json holds the sha256 of what decides the bits: the settings, the pictures, the decisions, the start.
    """
    settings = to_yaml(run)
    hashes = {
        CONFIG: _sha256(settings.encode()),
        DATA: _sha256(files.read_bytes(out / DATA)),
        "decision": _sha256(files.json_line(environment["decision"]).encode()),
    }
    if run.transfer.tune:
        hashes[START] = _start_hash(out)
    files.write_json(out / ENVIRONMENT, environment | {"sha256": hashes})
    files.write_atomic(out / CONFIG, settings)


def read_start(out: Path) -> dict[str, Any]:
    """Return env.json, when it, config.yaml and data.json are what `write_start` wrote.

    Raises:
        CheckpointError: one of them was changed; names it.
    """
    environment = files.read_json(out / ENVIRONMENT)
    fix = "Restore it, or give another --out"
    try:
        hashes, decision = environment["sha256"], files.json_line(environment["decision"])
        found = {name: _sha256(files.read_bytes(out / name)) for name in (CONFIG, DATA)}
        if START in hashes:
            found[START] = _start_hash(out)
        sound = hashes["decision"] == _sha256(decision.encode()) and hashes.keys() == {*found, "decision"}
        sound = sound and isinstance(environment["packages"], dict)
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise CheckpointError("is damaged", where=str(out / ENVIRONMENT), fix=fix)
    for name, digest in found.items():
        if digest != hashes[name]:
            raise CheckpointError("was changed since the run began", where=str(out / name), fix=fix)
    return environment


def _start_hash(out: Path) -> str:
    """Return the sha256 of the list of sha256 of RUN/start, against which its files are checked when it is loaded."""
    return _sha256(files.read_bytes(out / START / files.MANIFEST))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and commit."""
    packages = {}
    for name in ("patchwords", "torch", "numpy", "pillow", "safetensors", "simplejpeg"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": packages,
        "commit": _commit(),
        "command": sys.argv,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    """Return the commit of a source checkout, "" for an installed package."""
    here = Path(__file__).resolve().parent
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(here), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    return ""
