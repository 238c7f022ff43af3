"""From a model to the file another library would have written; what it cannot express is refused by name."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .. import checkpoint, files
from ..architecture import ViTConfig
from ..checkpoint import LoadedModel
from ..errors import CheckError, ConfigError, nearest
from ..models import build_empty
from ..randomness import derived_seed
from .format import Format, beyond_all

OURS = "patchwords"
TOLERANCE = 1e-5
"""largest difference of a logit, as a share of the largest logit, that is taken for rounding"""
_PICKLES = (".pth", ".pt")
_PROBES = 2
"""pictures of noise on which logits are compared"""


@dataclass(frozen=True)
class Converted:
    """What was written, and how exact it is."""

    out: Path
    format: str
    count: int
    """arrays"""
    notes: tuple[str, ...]
    """what the format does not carry, with the effect on the logits"""
    difference: float | None = None
    """largest difference between a logit of the model and of what was read back; None: not checked"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        named = {"out": str(self.out), "format": self.format, "arrays": self.count, "notes": list(self.notes)}
        return named | {"largest_difference": self.difference}


def write(loaded: LoadedModel, out: Path, to: str, formats: Iterable[Format], allow: tuple[str, ...] = ()) -> Converted:
    """Write `loaded` to the new file or folder `out` as a checkpoint of the format `to`.

    Args:
        to: name of a format, or "patchwords" for a `model/` folder.
        allow: settings that may take the library's fixed value although logits move by more than `TOLERANCE`.

    Raises:
        ConfigError: no such format; `out` exists; the format cannot express the model: says what of it.
    """
    writable = {format.name: format for format in formats if format.refuses}
    if to != OURS and to not in writable:
        raise ConfigError(f"unknown format {to!r}", where="--to", fix=nearest(to, [*writable, OURS]))
    if out.exists():
        raise ConfigError("exists already", where=str(out), fix="Give a new path")
    if not out.parent.is_dir():
        raise ConfigError("no such folder", where=str(out.parent), fix="Make it first, or give another path")
    if to == OURS:
        if loaded.preprocess.channels not in (1, 3):
            what = f"cannot be written as {to}, which has no word for pictures of {loaded.preprocess.channels} channels"
            raise ConfigError(what, where=str(out), fix="Give --channels 1 (grey) or 3 (RGB)")
        checkpoint.save_model(
            out, loaded.model.config, loaded.model.state_dict(), loaded.classes, loaded.preprocess, loaded.provenance
        )
        return Converted(out, to, len(loaded.model.state_dict()), ())
    format, config = writable[to], loaded.model.config
    odd = beyond_all(config)
    if reasons := odd or format.refuses(config):
        what = f"cannot be written as {to}, which has no word for {'; '.join(reasons)}"
        fix = f"Choose {OURS}: no other format has" if odd else f"Choose another of {', '.join([*writable, OURS])}"
        raise ConfigError(what, where=str(out), fix=fix)
    notes = require_same_answers(loaded, format, allow)
    arrays = arrays_of(loaded, format)
    put(out, arrays, format.files(loaded, out) if format.files else {}, to)
    return Converted(out, to, len(arrays), notes)


def arrays_of(loaded: LoadedModel, format: Format) -> dict[str, Tensor]:
    """Return the arrays of a model under the names and in the order of numbers of `format`."""
    weights, arrays = loaded.model.state_dict(), {}
    for pair in format.pairs(None, loaded.model.config):
        if pair.ours in weights:
            parts = pair.layout.to_theirs(weights.pop(pair.ours))
            arrays |= {name: part.contiguous() for name, part in zip(pair.theirs, parts, strict=True)}
    if weights:
        raise ConfigError(f"has no place for {next(iter(weights))}", where=f"--to {format.name}")
    arrays, names = format.assemble(arrays, loaded.model.config), format.respelled(loaded, format)
    return {names.get(name, name): array for name, array in arrays.items()}


def require_same_answers(loaded: LoadedModel, format: Format, allow: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note for each setting that takes the library's fixed value; its effect is measured, not guessed.

    Raises:
        ConfigError: logits would move by more than `TOLERANCE`, and the setting is not in `allow`.
    """
    config, notes = loaded.model.config, []
    for name, value in format.constants(config).items():
        if getattr(config, name) == value:
            continue
        moved = difference(loaded.model, with_config(loaded, replace(config, **{name: value})))
        change = f"{name} is {getattr(config, name)}, {format.name} has {value}: logits move by {moved:.1g}"
        if moved > TOLERANCE and name not in allow:
            raise ConfigError(change, where=f"--to {format.name}", fix=f"Allow it with --allow {name}")
        notes.append(change)
    return tuple(notes)


def with_config(loaded: LoadedModel, config: ViTConfig) -> torch.nn.Module:
    """Return a model of `config` that shares the weights of `loaded`."""
    model = build_empty(config)
    model.load_state_dict(loaded.model.state_dict(), assign=True)
    return model.eval()


@torch.inference_mode()
def difference(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Return the largest difference of their answers to pictures of noise, as a share of the largest (at least 1)."""
    config = one.config
    noise = torch.Generator().manual_seed(derived_seed(0, "noise"))
    images = torch.randn(_PROBES, config.in_channels, *config.image_size, generator=noise)
    first, second = one(images), other(images)
    if first.shape != second.shape:
        return float("inf")
    return ((first - second).abs().max() / first.abs().max().clamp_min(1.0)).item()


def check(loaded: LoadedModel, back: LoadedModel, converted: Converted, fixed: Mapping[str, Any]) -> Converted:
    """Return `converted` with the largest difference between a model and what was read back.

    Args:
        fixed: settings that the format fixes, with their values there; these may move the answers, nothing else.

    Raises:
        CheckError: what was read back answers as neither the model nor the model with those settings.
    """
    found = difference(loaded.model, back.model)
    as_fixed = with_config(loaded, replace(loaded.model.config, **fixed))
    if not (found <= TOLERANCE or difference(as_fixed, back.model) <= TOLERANCE):  # either may be NaN
        what = f"what was written answers differently, by {found:.2g} of the largest logit"
        raise CheckError(what, where=str(converted.out), fix="Report this, with the model's config.json")
    return replace(converted, difference=found)


def put(out: Path, arrays: Mapping[str, Tensor], beside: Mapping[str, Any], to: str) -> None:
    """Write arrays and JSON files where and how `to` has them: one file, or a folder when there is more to say."""
    files_beside = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in beside.items()}
    numpy = to in ("google", "big_vision")
    if not beside and out.suffix:
        allowed = (".npz",) if numpy else (".safetensors", *_PICKLES)
        if out.suffix not in allowed:
            raise ConfigError(f"{to} files do not end so", where=str(out), fix=f"End it with {' or '.join(allowed)}")
        files.write_atomic(out, _contents(arrays, out.suffix))
        return
    name = "model.npz" if numpy else "model.safetensors"
    contents = files_beside | {name: _contents(arrays, Path(name).suffix)}
    files.write_folder(out, contents, manifest=False)


def _contents(arrays: Mapping[str, Tensor], suffix: str) -> bytes:
    if suffix == ".safetensors":
        return safetensors.torch.save(dict(arrays), metadata={"format": "pt"})
    if suffix in _PICKLES:  # only where that name was asked for: it is what torchvision itself writes
        buffer = io.BytesIO()
        torch.save(dict(arrays), buffer)
        return buffer.getvalue()
    return files.npz_bytes({name: array.numpy() for name, array in arrays.items()})
