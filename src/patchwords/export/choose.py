"""Which engine answers: the one asked for, exported once and kept; or with `auto` the fastest that is exact enough."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from .. import files
from ..checkpoint import LoadedModel
from ..data.cifar10 import cache_folder
from ..device import choose_device
from ..errors import ConfigError, PatchwordsError, nearest
from .check import compare, made_up
from .description import describe
from .engine import ENGINES, Engine, TorchEngine, installed
from .read import read
from .write import SUFFIXES, program_of, require_possible, write

PRECISIONS = ("fp32", "bf16")
"""those of engines made on the way; int8 needs pictures to calibrate on, and so an export of its own"""
EXPORT_SECONDS = 60.0
"""time an export may take, for a guess whether it pays: `auto` stays with torch for less work than twice that"""
_ROUNDS = 3


@dataclass(frozen=True)
class Wish:
    """What the user asks to be answered by."""

    engine: str = "torch"
    precision: str = ""
    """"": fp32; of an exported file, its own"""
    device: str = "auto"
    trusted: bool = False
    """read a file that can run code"""

    def check(self) -> None:
        """Raise ConfigError for an engine, a precision or a device that there is not."""
        if self.engine not in ENGINES:
            raise ConfigError(f"unknown engine {self.engine!r}", where="--engine", fix=nearest(self.engine, ENGINES))
        if self.precision == "int8":
            fix = "Export first: patchwords export CHECKPOINT --to openvino --precision int8 --calibrate DATA"
            raise ConfigError("int8 is calibrated on pictures", where="--precision", fix=fix)
        if self.precision and self.precision not in PRECISIONS:
            fix = nearest(self.precision, PRECISIONS)
            raise ConfigError(f"unknown precision {self.precision!r}", where="--precision", fix=fix)
        if self.engine in SUFFIXES:
            require_possible(self.engine, self.precision or "fp32")
        self.require_device(self.engine)

    def require_device(self, engine: str) -> str:
        """Return the device on which `engine` answers; raise ConfigError where that is not the one wished for."""
        if engine not in SUFFIXES:
            return choose_device(self.device, "--device")
        if self.device not in ("auto", "cpu"):
            fix = "Leave it out, or answer a checkpoint with --engine torch"
            raise ConfigError(f"{engine} answers on the processor", where="--device", fix=fix)
        return "cpu"


def choose(loaded: LoadedModel, wish: Wish, pictures: int, batch_size: int, sample: Tensor | None = None) -> Engine:
    """Return the engine that answers for `loaded`.

    Args:
        pictures: how many there are to answer for, as far as is known.
        batch_size: how many at a time.
        sample: the first of them, uint8 (B, C, H, W); None: made-up ones.

    Raises:
        ConfigError: as `Wish.check`. CheckError: the engine that was asked for answers otherwise than torch.
    """
    wish.check()
    precision, device = wish.precision or "fp32", wish.require_device(wish.engine)
    if wish.engine == "torch" or device != "cpu":  # no engine on the processor is as fast as torch beside it
        return TorchEngine(loaded, describe(loaded, precision), device)
    sample = made_up(loaded.preprocess) if sample is None or not len(sample) else sample
    if wish.engine == "auto":
        return _fastest(loaded, precision, pictures, batch_size, sample)
    return _kept(loaded, wish.engine, precision, sample)


def _fastest(loaded: LoadedModel, precision: str, pictures: int, batch_size: int, sample: Tensor) -> Engine:
    """Return the fastest engine that passes the check; a decision of before is taken again."""
    plain = TorchEngine(loaded, describe(loaded, precision))
    names = [name for name in ("openvino", "onnx") if installed(name) and (name, precision) != ("onnx", "bf16")]
    batch = sample.repeat(-(-batch_size // len(sample)), 1, 1, 1)[:batch_size]
    note = _path(loaded, precision, f"fastest-{len(batch)}", ".json")
    decided = _decided(note, ("torch", *names))
    if decided == "torch" or not names:
        return plain
    if not decided and _seconds(plain, batch) * pictures / len(batch) < 2 * EXPORT_SECONDS:
        return plain
    racers: dict[str, Engine] = {"torch": plain}
    for name in [decided] if decided else names:
        try:
            racers[name] = _kept(loaded, name, precision, sample)
        except PatchwordsError as fault:
            print(f"warning: not answered by {name}: {fault.line()}", file=sys.stderr)
    if decided in racers:
        return racers[decided]
    times = {name: float("inf") for name in racers}
    for _ in range(_ROUNDS):
        for name, engine in racers.items():
            times[name] = min(times[name], _seconds(engine, batch))
    fastest = min(times, key=times.__getitem__)
    _keep(note, lambda path: files.write_json(path, {"fastest": fastest, "seconds": times, "batch": len(batch)}))
    return racers[fastest]


def _seconds(engine: Engine, batch: Tensor) -> float:
    start = time.perf_counter()
    engine(batch)
    return time.perf_counter() - start


def _decided(note: Path, names: Iterable[str]) -> str:
    try:
        said = files.read_json(note)["fastest"]
    except (PatchwordsError, KeyError, TypeError):
        return ""
    return said if said in names else ""


def _kept(loaded: LoadedModel, name: str, precision: str, sample: Tensor) -> Engine:
    """Return the engine `name`, from the cache or exported into it, once it has answered `sample` as torch does."""
    path = _path(loaded, precision, name, SUFFIXES[name])
    engine = None
    if path.exists():
        try:
            engine = read(path)
        except PatchwordsError as fault:
            print(f"warning: {fault.line()}; it is made again", file=sys.stderr)
    if engine is None:
        description = describe(loaded, precision)
        with files.faults_named(path.parent, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(program_of(loaded, name, precision), description, name, path, [])
        engine = read(path)
    try:
        compare(loaded, engine, [sample]).require(precision, f"--engine {name}", agreement=0)
    except PatchwordsError:
        path.unlink(missing_ok=True)
        raise
    return engine


def _keep(path: Path, put: Callable[[Path], None]) -> None:
    """Write a note; one that cannot be written is done without."""
    try:
        with files.faults_named(path.parent, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
        put(path)
    except PatchwordsError as fault:
        print(f"warning: {fault.line()}", file=sys.stderr)


def _path(loaded: LoadedModel, precision: str, name: str, suffix: str) -> Path:
    """Return where what follows from these weights, settings and versions is kept."""
    said = describe(loaded, precision).entries()
    said["packages"] = json.dumps(
        [torch.__version__, *map(_version, ("onnx", "onnxscript", "onnxruntime", "openvino"))]
    )
    said["machine"] = json.dumps([platform.machine(), os.cpu_count(), torch.get_num_threads()])
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "engines" / f"{key}-{name}{suffix}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
