"""Export: one file with graph, weights and all that a user of it needs, checked before it is there."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .. import files
from ..checkpoint import LoadedModel
from ..errors import ConfigError, nearest
from .check import Agreement, compare, made_up
from .description import PRECISIONS, Description, describe
from .engine import package
from .fold import folded
from .graph import graph_of, trace
from .int8 import write_onnx_int8, write_openvino_int8
from .onnx_file import BESIDE, write_onnx
from .openvino_file import write_openvino
from .program_file import write_program
from .read import read
from .sample import CALIBRATED, CHECKED, Sample, draw, draw_trained

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "program": ".pt2"}
"""format -> how its files end"""
IMPOSSIBLE = {
    ("onnx", "bf16"): "ONNX Runtime has no bfloat16 products on a CPU",
    ("program", "int8"): "torch.export has no int8 products of its own",
}
"""(format, precision) -> why there is no such file"""
KEPT = [1, 2, 4, 8, 16]
"""numbers of first products that are kept out of int8"""
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "program": ()}


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its answers are from those of the model."""

    out: Path
    to: str
    precision: str
    bytes: int
    """of the file and of what lies beside it"""
    image_size: tuple[int, int]
    built_in: Agreement
    """over a few made-up pictures"""
    check: Agreement | None
    """over the pictures of --check; None: none were given"""
    kept: int = 1
    """precision=int8: how many of the first products are not"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "out": str(self.out),
            "to": self.to,
            "precision": self.precision,
            "bytes": self.bytes,
            "image_size": list(self.image_size),
            "built_in": self.built_in.as_dict(),
            "check": self.check.as_dict() if self.check else None,
            **({"kept": self.kept} if self.precision == "int8" else {}),
        }


def export(
    loaded: LoadedModel,
    out: Path | None,
    to: str,
    *,
    precision: str = "",
    check: str = "",
    calibrate: str = "",
    source: Path = Path(),
) -> Exported:
    """Write `loaded` as `to`; arguments and errors as for `patchwords.export`.

    Args:
        source: where `loaded` was read: names the file when `out` is None, and knows its training pictures.
    """
    precision = precision or "fp32"
    require_possible(to, precision)
    target = _target(out, to, source)
    description = describe(loaded, precision)
    pictures = _calibration(loaded, calibrate, source) if precision == "int8" else []
    sample = draw(check, loaded.preprocess, loaded.classes, CHECKED) if check else None
    with files.faults_named(target, "write"):
        work = Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=target.parent))
    try:
        program = program_of(loaded, to, precision)
        for kept in _ladder(loaded, precision, sample):
            write(program, description, to, work / target.name, pictures, kept)
            engine = read(work / target.name, trusted=True)
            found = compare(loaded, engine, sample.batches, sample.labels) if sample else None
            if not found or not found.fault(precision):
                break
        built_in = compare(loaded, engine, [made_up(loaded.preprocess)])
        if precision != "int8":  # made-up pictures are outside the ranges that were measured
            built_in.require(precision, str(target), agreement=0)
        if found:
            found.require(precision, str(target))
        size = _publish(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Exported(target, to, precision, size, loaded.preprocess.image_size, built_in, found, kept)


def _ladder(loaded: LoadedModel, precision: str, sample: Sample | None) -> list[int]:
    """Return how many first products to keep out of int8, one number after the other until the check is passed.

    What is rounded first goes through all that follows. At least half of the products are int8 in any case.
    """
    if precision != "int8" or not sample:
        return KEPT[:1]
    products = sum(isinstance(each, nn.Linear | nn.Conv2d) for each in loaded.model.modules())
    return [kept for kept in KEPT if kept == KEPT[0] or 2 * kept <= products]


def require_possible(to: str, precision: str) -> None:
    """Raise ConfigError unless files of `to` can be written at `precision` with what is installed."""
    if to not in SUFFIXES:
        raise ConfigError(f"unknown format {to!r}", where="--to", fix=nearest(to, SUFFIXES))
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}", where="--precision", fix=nearest(precision, PRECISIONS))
    if reason := IMPOSSIBLE.get((to, precision)):
        others = [name for name in SUFFIXES if (name, precision) not in IMPOSSIBLE]
        raise ConfigError(reason, where=f"--to {to} --precision {precision}", fix=f"Choose --to {' or '.join(others)}")
    for name in (*_NEEDED[to], *(("nncf",) if (to, precision) == ("openvino", "int8") else ())):
        package(name)


def program_of(loaded: LoadedModel, to: str, precision: str) -> ExportedProgram:
    """Return what files of `to` at `precision` are written from: pixels to logits, what is constant worked out."""
    dtype = torch.bfloat16 if (to, precision) == ("program", "bf16") else torch.float32
    return trace(folded(graph_of(loaded)).computing_in(dtype), loaded.preprocess)


def write(
    program: ExportedProgram, description: Description, to: str, path: Path, pictures: list[Tensor], kept: int = 1
) -> None:
    """Write a `program_of` a model to `path` as `to`, as `description` says.

    Args:
        pictures: batches of uint8 pixels (B, C, H, W) that int8 is calibrated on.
        kept: how many of the first products are not int8.
    """
    if to == "program":
        write_program(program, description, path)
    elif description.precision == "int8":
        (write_onnx_int8 if to == "onnx" else write_openvino_int8)(program, description, path, pictures, kept)
    else:
        (write_onnx if to == "onnx" else write_openvino)(program, description, path)


def _target(out: Path | None, to: str, source: Path) -> Path:
    """Return where to write: `out`, or the name of the source with the right ending, in this folder."""
    target = Path(f"{(source.stem if source.is_file() else source.resolve().name) or 'model'}{SUFFIXES[to]}")
    target = target if out is None else out
    if target.suffix != SUFFIXES[to]:
        raise ConfigError(f"{to} files do not end so", where=str(target), fix=f"End it with {SUFFIXES[to]}")
    for each in (target, *_beside(target)):
        if each.exists():
            raise ConfigError("exists already", where=str(each), fix="Give a new path: --out FILE")
    if not target.parent.is_dir():
        raise ConfigError("no such folder", where=str(target.parent), fix="Make it first, or give another path")
    return target


def _beside(target: Path) -> list[Path]:
    """Return what may lie beside the file and belongs to it."""
    if target.suffix == ".xml":
        return [target.with_suffix(".bin")]
    return [target.with_name(target.name + BESIDE)] if target.suffix == ".onnx" else []


def _calibration(loaded: LoadedModel, calibrate: str, source: Path) -> list[Tensor]:
    if calibrate:
        return draw(calibrate, loaded.preprocess, loaded.classes, CALIBRATED).batches
    return draw_trained(source, loaded.preprocess, loaded.classes, CALIBRATED).batches


def _publish(work: Path, target: Path) -> int:
    """Move what is in `work` to where `target` is, the named file last; return the bytes."""
    total, names = 0, [each.name for each in (*_beside(target), target) if (work / each.name).exists()]
    for name in names:
        data = files.read_bytes(work / name)
        files.write_atomic(target.with_name(name), data)
        total += len(data)
    return total
