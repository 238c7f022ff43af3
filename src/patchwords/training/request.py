"""From what a user asked for to the complete settings of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..architecture import architecture_of
from ..config import RunConfig
from ..data.levels import with_level
from ..data.survey import Survey
from ..errors import ConfigError
from ..models.zoo import model_config
from ..overrides import override, parse_settings
from ..presets import apply_preset
from .recipe import Choice, choose


@dataclass(frozen=True)
class Request:
    """What was asked for; empty means: chosen from the data."""

    data: str = ""
    model: str = ""
    """name of a model preset"""
    preset: str = ""
    """name of a paper's settings"""
    augment: str = ""
    """name of an augmentation level"""
    settings: Mapping[str, str] = field(default_factory=dict)
    """{"section.field": "text"}, the last word"""


def check(request: Request, transfer: bool = False) -> None:
    """Refuse misspelt names and values before any picture is read.

    Args:
        transfer: the run goes on from another model.

    Raises:
        ConfigError: names what is wrong and the nearest that is allowed.
    """
    if "transfer" in parse_settings(request.settings) and not transfer:
        name = next(name for name in request.settings if name.startswith("transfer."))
        raise ConfigError("has no effect on training from scratch", where=name, fix="Use `patchwords tune`")
    if request.model:
        model_config(request.model)
    if request.preset:
        apply_preset(RunConfig(), request.preset)
    if request.augment:
        with_level(RunConfig().augment, request.augment)


def resolve(
    request: Request, looked: Survey, device: str, recipe: Callable[[Survey, str], Choice] | None = None
) -> Choice:
    """Return the complete run for `request` on a data set that looks like this.

    The recipe comes first, then the preset, then the augmentation level, then the settings.

    Args:
        recipe: from what the pictures look like and the device to a run; None: that of training from scratch.
    """
    chosen = recipe(looked, device) if recipe else choose(looked, device, request.model)
    return dataclasses.replace(chosen, run=apply(request, chosen.run))


def reapply(request: Request, stored: RunConfig) -> RunConfig:
    """Return `stored` with what `request` names laid over it: equal to `stored` when it asks for the same run."""
    if request.model:
        data = stored.data
        wanted = model_config(
            request.model,
            image_size=data.image_size,
            in_channels=data.channels,
            num_classes=stored.model.num_classes,
        )
        named = parse_settings(request.settings).get("model", {})
        kept = {name: getattr(stored.model, name) for name in named}
        stored = dataclasses.replace(stored, model=dataclasses.replace(wanted, **kept))
    if request.data:
        stored = dataclasses.replace(stored, data=dataclasses.replace(stored.data, source=request.data))
    return apply(request, stored)


def apply(request: Request, run: RunConfig) -> RunConfig:
    """Return `run` with the preset, the augmentation level and the settings of `request`."""
    if request.preset:
        run = apply_preset(run, request.preset)
    if request.augment:
        run = dataclasses.replace(run, augment=with_level(run.augment, request.augment))
    sections = parse_settings(request.settings)
    _keep_in_step(sections, run)
    if "kind" in sections.get("model", {}):
        _leave_out_patches(sections, run)
    return override(run, sections)


def _leave_out_patches(sections: dict[str, dict[str, Any]], run: RunConfig) -> None:
    """Switch off what a recipe chose for patches, where it was not asked for and the kind asked for cannot do it."""
    model = architecture_of(sections["model"]["kind"])
    if not model.patch_matrix and run.train.whiten_patches:
        sections.setdefault("train", {}).setdefault("whiten_patches", False)
    if model.kind != "vit" and run.augment.early_crop:
        sections.setdefault("augment", {}).setdefault("early_crop", 0)


def _keep_in_step(sections: dict[str, dict[str, Any]], run: RunConfig) -> None:
    """Let a size or number of channels given once hold for the data and the model alike.

    Raises:
        ConfigError: data and model were given different values.
    """
    for of_data, of_model in (("image_size", "image_size"), ("channels", "in_channels")):
        data, model = sections.get("data", {}), sections.get("model", {})
        given = [values[name] for values, name in ((data, of_data), (model, of_model)) if name in values]
        if not given:
            continue
        if given[0] != given[-1]:
            raise ConfigError(f"{given[-1]} is not data.{of_data} {given[0]}", where=f"model.{of_model}")
        sections.setdefault("data", {})[of_data] = given[0]
        sections.setdefault("model", {})[of_model] = given[0]
    channels = sections.get("data", {}).get("channels", run.data.channels)
    for name in ("mean", "std"):
        if channels != run.data.channels and name not in sections["data"]:
            sections["data"][name] = getattr(run.data, name)[:1] * channels
