"""What a run that is watched stores: compact numbers of the same few pictures, one file for each look."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import typing
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import files
from ..errors import CheckpointError, ConfigError, PatchwordsError
from ..inspection.attention import attention_maps
from ..inspection.distance import attention_distance
from ..inspection.filters import filter_components
from ..inspection.position import RelativeBias, positions
from ..inspection.results import write_npz
from ..inspection.rollout import attention_rollout

FOLDER, PROBES = "watch", "pictures.npz"
"""of a run: where the looks are, and the pictures that were looked at"""
COMPONENTS = 8
"""leading components of the first filters that a look keeps"""
_LOOK = re.compile(r"step-(\d{9,})\.npz")
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, IndexError, EOFError, MemoryError, RuntimeError, struct.error,
    zipfile.BadZipFile, zlib.error, SyntaxError,
)  # fmt: skip

Stored = TypeVar("Stored", "Look", "Probes")


@dataclass(frozen=True)
class Probes:
    """The pictures that are looked at, as the model sees them."""

    pixels: np.ndarray
    """(pictures, C, H, W) uint8"""
    numbers: np.ndarray
    """(pictures,) lines of data.json, from 0"""
    names: np.ndarray
    """(pictures,) names of the files"""
    labels: np.ndarray
    """(pictures,) their classes"""
    classes: np.ndarray
    """names of the classes"""
    split: str
    """which they are of: val, test, train"""

    def drawable(self, count: int) -> list[np.ndarray]:
        """Return the first pictures as (H, W, C) uint8."""
        return [np.ascontiguousarray(np.moveaxis(picture, 0, -1)) for picture in self.pixels[:count]]


@dataclass(frozen=True)
class Look:
    """What a model did with the pictures after some step; what does not apply to it is None."""

    step: int
    epoch: float
    numbers: np.ndarray
    """(pictures,) lines of data.json, from 0"""
    probability: np.ndarray
    """(pictures, classes)"""
    query: str
    """where attention and rollout are read: class, mean of patches, attention pooling; "" without attention"""
    rollout: np.ndarray | None
    """(pictures, rows, columns) share of each patch in the answer, through all layers"""
    attention: np.ndarray | None
    """(layers, pictures, rows, columns) share of the attention of the token that answers, mean over the heads"""
    pooling: np.ndarray | None
    """(pictures, rows, columns) the same of attention pooling"""
    distance_px: np.ndarray | None
    """(layers, heads) mean attention distance, pixels"""
    entropy_nats: np.ndarray | None
    """(layers, heads) mean entropy of the attention among patches"""
    prefix_share: np.ndarray | None
    """(layers, heads) share of the patches' attention that goes to the tokens before them"""
    uniform_px: float | None
    """distance of attention that is the same for all patches, pixels"""
    local_below: float | None
    """a head is local when its distance is less than this part of `uniform_px`"""
    global_above: float | None
    """a head is global when its distance is more than this part of `uniform_px`"""
    position: dict[str, float]
    """numbers that sum up what is known of positions; see `PositionSimilarity` and `RelativeBias`"""
    components: np.ndarray | None
    """(k, C, rows, columns) leading components of the first filters"""
    explained_share: np.ndarray | None
    """(k,) share of their variance along each"""
    roughness: np.ndarray | None
    """(k,) 0 flat, 1 noise, 2 a chequerboard"""


def take_look(model: nn.Module, images: Tensor, numbers: np.ndarray, step: int, epoch: float) -> Look:
    """Return what `model`, in evaluation mode, does with `images` (B, C, H, W), normalised; nothing is drawn at random.

    Args:
        numbers: (B,) lines of data.json.
    """
    with torch.inference_mode():
        probability = model(images).float().softmax(dim=-1).cpu().numpy()
    looked = _attention(model, images) | _filters(model)
    empty = {field.name: None for field in dataclasses.fields(Look)} | {"query": ""}
    return Look(
        **empty
        | looked
        | {
            "step": step,
            "epoch": epoch,
            "numbers": np.asarray(numbers, dtype=np.int64),
            "probability": probability,
            "position": _position(model),
        }
    )


def _attention(model: nn.Module, images: Tensor) -> dict[str, Any]:
    try:
        maps, rollout, heads = (
            measure(model, images) for measure in (attention_maps, attention_rollout, attention_distance)
        )
    except ConfigError:  # a model without attention
        return {}
    return {
        "query": rollout.query,
        "rollout": rollout.maps[-1],
        "attention": maps.mean_maps,
        "pooling": None if maps.pool_maps is None else maps.pool_maps.mean(axis=1),
        **{name: getattr(heads, name) for name in ("distance_px", "entropy_nats", "prefix_share")},
        **{name: getattr(heads, name) for name in ("uniform_px", "local_below", "global_above")},
    }


def _filters(model: nn.Module) -> dict[str, Any]:
    try:
        found = filter_components(model, COMPONENTS)
    except (ConfigError, np.linalg.LinAlgError):
        return {}
    return {name: getattr(found, name) for name in ("components", "explained_share", "roughness")}


def _position(model: nn.Module) -> dict[str, float]:
    try:
        found = positions(model)
    except (ConfigError, np.linalg.LinAlgError):
        return {}
    if isinstance(found, RelativeBias):
        known = found.distance_correlation[np.isfinite(found.distance_correlation)]
        return {
            "distance_correlation": float(known.mean()) if known.size else float("nan"),
            "distance_px": float(found.distance_px.mean()),
        }
    names = ("distance_correlation", "row_share", "column_share", "row_r2", "column_r2")
    return {name: getattr(found, name) for name in names}


def look_path(run: Path, step: int) -> Path:
    """Return where the look after `step` is stored."""
    return run / FOLDER / f"step-{step:09d}.npz"


def write_look(run: Path, look: Look) -> None:
    """Store a look in the run, whole or not at all; one of the same step is replaced."""
    write_npz(look_path(run, look.step), look)


def write_probes(run: Path, probes: Probes) -> None:
    """Store the pictures that are looked at, when they are not those that are stored."""
    path = run / FOLDER / PROBES
    try:
        same = np.array_equal(_read(path, Probes, _probes).numbers, probes.numbers)
    except PatchwordsError:
        same = False
    if not same:
        write_npz(path, probes)


@dataclass(frozen=True)
class Watched:
    """Everything that was stored while a run was watched, in the order of the steps."""

    probes: Probes
    looks: tuple[Look, ...]
    """of the same pictures: the first of `probes`"""
    faults: tuple[PatchwordsError, ...]
    """of looks that are damaged, or of other pictures; they are left out"""

    @property
    def pictures(self) -> int:
        """How many pictures every look has."""
        return min(len(look.numbers) for look in self.looks)


def read_watched(run: Path) -> Watched | None:
    """Return what was stored in `run`; None when it was not watched.

    Raises:
        CheckpointError: the list of pictures is damaged.
    """
    folder = run / FOLDER
    paths = sorted(path for path in folder.glob("step-*.npz") if _LOOK.fullmatch(path.name))
    if not paths or not (folder / PROBES).exists():
        return None
    probes = _read(folder / PROBES, Probes, _probes)
    looks: list[Look] = []
    faults: list[PatchwordsError] = []
    for path in paths:
        try:
            look = _read(path, Look, _look)
            _require_fit(path, look, probes, looks[0] if looks else None)
        except PatchwordsError as fault:
            faults.append(fault)
        else:
            looks.append(look)
    return Watched(probes, tuple(looks), tuple(faults)) if looks else None


def _require_fit(path: Path, look: Look, probes: Probes, first: Look | None) -> None:
    """Raise CheckpointError when a look cannot stand beside the first one, or is of other pictures."""
    count = min(len(look.numbers), len(probes.numbers))
    if not count or not np.array_equal(look.numbers[:count], probes.numbers[:count]):
        raise CheckpointError("is of other pictures and is left out", where=str(path))
    if look_path(path.parent.parent, look.step) != path or (first and _shapes(first) != _shapes(look)):
        raise _damaged(path)


def _shapes(look: Look) -> dict[str, Any]:
    """Return the shapes of a look without its number of pictures, which may change when a run goes on."""
    found: dict[str, Any] = {"position": sorted(look.position)}
    for field in dataclasses.fields(look):
        value = getattr(look, field.name)
        if isinstance(value, np.ndarray) and field.name != "numbers":
            axis = {"rollout": 0, "pooling": 0, "probability": 0, "attention": 1}.get(field.name)
            found[field.name] = tuple(size for number, size in enumerate(value.shape) if number != axis)
    return found


def _read(path: Path, kind: type[Stored], made: Callable[[Mapping[str, np.ndarray]], Stored]) -> Stored:
    """Return what is stored at `path`; every array is read, so that its checksum is checked.

    Raises:
        CheckpointError: it is damaged.
    """
    data = files.read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return made({name: archive[name] for name in archive.files})
    except _DAMAGED as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError("is damaged and is left out", where=str(path), fix="Remove it, or use a copy")


def _probes(arrays: Mapping[str, np.ndarray]) -> Probes:
    found = Probes(**{field.name: arrays[field.name] for field in dataclasses.fields(Probes)})
    count = len(found.numbers)
    sound = found.pixels.ndim == 4 and found.pixels.dtype == np.uint8 and found.classes.ndim == 1
    sound = sound and len(found.pixels) == len(found.names) == len(found.labels) == count
    if not sound or not all(0 <= label < len(found.classes) for label in found.labels.tolist()):
        raise ValueError("shapes")
    return dataclasses.replace(found, split=str(found.split))


def _look(arrays: Mapping[str, np.ndarray]) -> Look:
    values: dict[str, Any] = {
        "position": {
            name.removeprefix("position."): float(array)
            for name, array in arrays.items()
            if name.startswith("position.")
        }
    }
    kinds = typing.get_type_hints(Look)
    for name, kind in kinds.items():
        if name == "position":
            continue
        if type(None) in typing.get_args(kind) and name not in arrays:
            values[name] = None
            continue
        plain = next((each for each in (int, str, float) if each is kind or each in typing.get_args(kind)), None)
        values[name] = plain(arrays[name]) if plain else arrays[name]
    look = Look(**values)
    count, dims = len(look.numbers), {"rollout": 3, "attention": 4, "pooling": 3, "probability": 2, "distance_px": 2}
    dims |= {"entropy_nats": 2, "prefix_share": 2, "components": 4, "explained_share": 1, "roughness": 1}
    for name, ndim in dims.items():
        value = getattr(look, name)
        if value is not None and (value.ndim != ndim or value.dtype.kind != "f"):
            raise ValueError(name)
        pictures = {"rollout": 0, "pooling": 0, "probability": 0, "attention": 1}.get(name)
        if value is not None and pictures is not None and value.shape[pictures] != count:
            raise ValueError(name)
    together = (look.rollout, look.attention, look.distance_px, look.uniform_px, look.local_below, look.global_above)
    if len({each is None for each in together}) > 1:
        raise ValueError("attention in part")
    if len({each is None for each in (look.components, look.explained_share, look.roughness)}) > 1:
        raise ValueError("filters in part")
    return look
