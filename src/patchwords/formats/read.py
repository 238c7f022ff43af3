"""From any file to a model: find the arrays, tell whose they are, describe the model, fill it, account for all."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import checkpoint
from ..architecture import ViTConfig
from ..checkpoint import LoadedModel
from ..errors import CheckpointError, MissingError, PatchwordsError, nearest
from ..files import MANIFEST, read_json
from ..models import build, build_empty
from ..overrides import with_fields
from ..randomness import derived_seed
from ..tensorfile import new_tensor
from .format import Description, Facts, Format, Source
from .layout import Pair
from .report import Line, Report
from .tensors import INDEX_SUFFIX, Tensors, open_tensors

CONFIG, PREPROCESS = "config.json", "preprocessor_config.json"
STANDARD = tuple(
    f"{name}{suffix}" for name in ("model.safetensors", "pytorch_model.bin") for suffix in ("", INDEX_SUFFIX)
)
"""names of the weights in a folder, the best to use first"""
READERS = 2
"""threads; each reads a parameter and puts it in order, so that there are two parameters at most beside the model's"""
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".ckpt")


class UnaccountedError(CheckpointError):
    """Tensors that are neither used nor explained; `report` has them all."""

    def __init__(self, what: str, report: Report, fix: str) -> None:
        super().__init__(what, where=report.where, fix=fix)
        self.report = report


def read_foreign(
    path: Path,
    formats: Iterable[Format],
    facts: Mapping[str, Any],
    new: Iterable[str],
    unused: Iterable[str],
    part: str,
) -> LoadedModel:
    """Return the model of another library's file or folder, exactly as it is there.

    Args:
        formats: those to tell apart, in this order.
        facts: what the user says of the file: settings of `ViTConfig`, and `grid`.
        new: patterns of parameters that may start with random values; all others must be in the file.
        unused: patterns of names in the file that may be left out.
        part: entry of a training checkpoint; "": the best there is.

    Raises:
        MissingError: nothing there. UnaccountedError: a tensor is missing or left over.
        CheckpointError: damaged, of no format that is known, or it does not say what it must.
    """
    source = find(path, part)
    where = source.tensors.where
    try:
        format = detect(source, formats)
        source = format.canonical(source)
        told = Facts(where, facts)
        described = format.describe(source, told)
        config = with_fields(described.config, {k: v for k, v in told.items() if k not in ("grid", "image_size")})
        weights, lines = fill(source, format, config, tuple(new))
    except (PatchwordsError, OSError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        reason = f"{'no ' * isinstance(error, KeyError)}{' '.join(str(error).split())[:120]}"
        raise CheckpointError(f"does not describe a model ({reason})", where=where, fix="Use a sound copy") from error
    assumed = ({"part": source.tensors.part} if source.tensors.part else {}) | told.assumed | described.assumed
    report = Report(format.name, where, tuple(lines), assumed)
    require_accounted(report, tuple(new), tuple(unused))
    return loaded_model(dataclasses.replace(described, config=config), weights, report)


def find(path: Path, part: str = "") -> Source:
    """Return the arrays at `path`, a file or a folder, and the JSON files that belong to them."""
    if not path.exists():
        raise MissingError("no such file or folder", where=str(path), fix="Give a run folder or a checkpoint")
    file = weights_in(path) if path.is_dir() else path
    beside = {}
    if file.name in STANDARD or path.is_dir():
        beside = {name: read_json(file.parent / name) for name in (CONFIG, PREPROCESS) if (file.parent / name).exists()}
    for name, value in beside.items():
        if not isinstance(value, dict):
            raise CheckpointError("is not a JSON object", where=str(file.parent / name), fix="Use a copy")
    return Source(open_tensors(file, part), beside.get(CONFIG, {}), beside.get(PREPROCESS, {}))


def weights_in(folder: Path) -> Path:
    """Return the one file of weights in a folder.

    Raises:
        CheckpointError: there is none, or there are several and none has a standard name.
    """
    for name in STANDARD:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if len(found) != 1:
        what = f"holds {len(found)} files of weights" if found else "is not a run folder and holds no weights"
        names = ", ".join(path.name for path in found[:5])
        fix = f"Name one: {names}" if found else f"Give the --out folder of a run, or a file ({', '.join(SUFFIXES)})"
        raise CheckpointError(what, where=str(folder), fix=fix)
    return found[0]


def detect(source: Source, formats: Iterable[Format]) -> Format:
    """Return the format whose names the arrays have."""
    formats = tuple(formats)
    for format in formats:
        if format.recognises(source):
            return format
    some = ", ".join(list(source.tensors)[:3]) or "none"
    known = ", ".join(format.name for format in formats)
    fix = f"Known are the Vision Transformers of {known}"
    raise CheckpointError(f"has tensors of no known kind ({some}, ...)", where=source.tensors.where, fix=fix)


def fill(
    source: Source, format: Format, config: ViTConfig, new: tuple[str, ...]
) -> tuple[dict[str, Tensor], list[Line]]:
    """Return the weights of the model of `config`, and a line for each of them and for each array left over."""
    expected = build_empty(config).state_dict()
    pairs = {pair.ours: pair for pair in format.pairs(source, config)}
    require_shapes(source.tensors, pairs, expected)
    there = {name: pairs[name] for name in expected if name in pairs}
    there = {name: pair for name, pair in there.items() if all(theirs in source.tensors for theirs in pair.theirs)}
    with ThreadPoolExecutor(READERS, "weights") as threads:
        found = dict(zip(there, threads.map(partial(parameter, source.tensors), there.values()), strict=True))
    lines, weights = [], {}
    missing = [name for name in expected if name not in found]
    for name, like in expected.items():
        if name in missing:
            lines.append(Line("new", name, (), tuple(like.shape), "random: not in the file"))
            continue
        weights[name], stored = found[name]
        origin = tuple(source.tensors.origin[theirs] for theirs in pairs[name].theirs)
        how = "; ".join(part for part in (pairs[name].layout.how, stored) if part)
        lines.append(Line("adapted" if how else "loaded", name, origin, tuple(like.shape), how))
    used = {theirs for pair in pairs.values() if pair.ours in weights for theirs in pair.theirs}
    for name in source.tensors:
        if name not in used:
            shape, why = source.tensors.shapes[name], format.idle(name, config)
            lines.append(Line("unused", "", (source.tensors.origin[name],), shape, why))
    if missing and all(matches(name, new) for name in missing):
        weights |= initial_values(config, missing)
    return {name: weights[name] for name in expected if name in weights}, lines


def require_shapes(tensors: Tensors, pairs: Mapping[str, Pair], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError when an array is there with another shape than the model needs."""
    wrong = []
    for name, pair in pairs.items():
        if name in expected:
            for theirs, needed in zip(pair.theirs, pair.layout.to_theirs(expected[name]), strict=True):
                if theirs in tensors and tuple(tensors.shapes[theirs]) != tuple(needed.shape):
                    wrong.append((theirs, tensors.shapes[theirs], tuple(needed.shape)))
    if wrong:
        theirs, has, needs = wrong[0]
        what = f"{len(wrong)} tensors do not fit, first {tensors.origin[theirs]}: has {has}, needs {needs}"
        raise CheckpointError(what, where=tensors.where, fix="Settings such as --model.num_heads say what it is")


def conversion(arrays: list[Tensor]) -> str:
    """Return in words what becomes of the type of numbers of `arrays`; "" when they are float32 already."""
    stored = {str(array.dtype).removeprefix("torch.") for array in arrays}
    return f"{', '.join(sorted(stored))} to float32" if stored != {"float32"} else ""


def parameter(tensors: Tensors, pair: Pair) -> tuple[Tensor, str]:
    """Read the parameter of `pair`: in float32, in memory of its own, and what became of its type of numbers.

    Raises:
        CheckpointError: a number in it is not finite, or none at all.
    """
    alone = len(pair.theirs) == 1
    arrays = [tensors.lend(name) if alone else tensors.read(name) for name in pair.theirs]
    for name, array in zip(pair.theirs, arrays, strict=True):
        if not array.is_floating_point():
            raise tensors.fault(f"{tensors.origin[name]} is of type {array.dtype}, not of floating point")
    stored = conversion(arrays)
    made = pair.layout.to_ours(arrays)
    lent = alone and tensors.lends and made.untyped_storage().data_ptr() == arrays[0].untyped_storage().data_ptr()
    if lent or made.dtype != torch.float32 or not made.is_contiguous():
        made = new_tensor(tuple(made.shape)).copy_(made)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(made.numpy(), axis=None)  # shows one that is not finite, and much the fastest
    if not np.isfinite(total) and not made.isfinite().all():
        raise tensors.fault(
            f"{' or '.join(tensors.origin[name] for name in pair.theirs)} holds a number that is not finite"
        )
    return made, stored


def initial_values(config: ViTConfig, names: list[str]) -> dict[str, Tensor]:
    """Return the values that those parameters have in a new model; always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, "new tensors"))
        fresh = build(config).state_dict()
    return {name: fresh[name] for name in names}


def require_accounted(report: Report, new: tuple[str, ...], unused: tuple[str, ...]) -> None:
    """Raise UnaccountedError unless every tensor is loaded, explained, or named by the user."""
    absent = [e.name for e in report.lines if e.status == "new" and not matches(e.name, new)]
    left = [
        e.source[0] for e in report.lines if e.status == "unused" and not e.how and not matches(e.source[0], unused)
    ]
    if not (absent or left):
        return
    parts, fixes = [], []
    if absent:
        parts.append(f"lacks {len(absent)} tensors of the model, first {absent[0]}")
        fixes.append("--new PATTERN lets some start at random")
    if left:
        close = nearest(left[0], absent).partition("?")[0].removeprefix("Did you mean ") if absent else ""
        near = f" (is it {close}?)" if close and not close.startswith("Allowed") else ""
        parts.append(f"has {len(left)} that the model has no place for, first {left[0]}{near}")
        fixes.append("--unused PATTERN leaves some out")
    raise UnaccountedError("; ".join(parts), report, "; ".join(fixes))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether `name` fits one of the shell patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def loaded_model(described: Description, weights: dict[str, Tensor], report: Report) -> LoadedModel:
    """Return the filled model with what belongs to it."""
    model: nn.Module = build_empty(described.config)
    model.load_state_dict(weights, strict=True, assign=True)
    provenance = {
        "source": Path(report.where).name,
        "format": report.format,
        "tensors": report.counts,
        "assumed": report.assumed,
    }
    return LoadedModel(model.eval(), described.classes, described.preprocess, provenance, report)


def is_ours(path: Path) -> bool:
    """Return whether `path` is a run folder or a model folder of patchwords, or nothing at all."""
    return (path / "model").is_dir() or any((path / name).exists() for name in (MANIFEST, "config.yaml"))


def read_own(path: Path) -> LoadedModel:
    """Return the model of a run folder or `model/` folder; every tensor is there, or it is refused."""
    loaded = checkpoint.load_model(path)
    lines = tuple(Line("loaded", n, (n,), tuple(t.shape)) for n, t in loaded.model.state_dict().items())
    return dataclasses.replace(loaded, report=Report("patchwords", str(path), lines))
