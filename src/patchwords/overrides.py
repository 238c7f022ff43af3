"""`--section.field value` and config.yaml to frozen dataclasses and back, checked by name and type."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .architecture import ARCHITECTURES, architecture_of
from .config import SECTIONS, RunConfig
from .errors import ConfigError, nearest

Config = TypeVar("Config")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse(text: str, wanted: Any, setting: str) -> Any:
    """Return `text` as a value of type `wanted` (bool, int, float, str or a tuple of them).

    Raises:
        ConfigError: the text is not such a value; names the setting and an example.
    """
    if typing.get_origin(wanted) is tuple:
        return _parse_tuple(text, typing.get_args(wanted), setting)
    if wanted is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(f"{text!r} is not true or false", where=setting, fix="Give true or false")
    if wanted is str:
        return text
    try:
        return wanted(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[wanted]
        raise ConfigError(f"{text!r} is not {kind}", where=setting, fix=f"Give {kind}") from None


def _parse_tuple(text: str, kinds: tuple[Any, ...], setting: str) -> tuple[Any, ...]:
    parts = [part for part in text.replace("x", ",").strip("()[] ").split(",") if part.strip()]
    if kinds[-1] is Ellipsis:
        return tuple(parse(part.strip(), kinds[0], setting) for part in parts)
    if len(parts) == 1:  # one number for a square
        parts *= len(kinds)
    if len(parts) != len(kinds):
        raise ConfigError(f"{text!r} does not have {len(kinds)} values", where=setting, fix="Separate them by a comma")
    return tuple(parse(part.strip(), kind, setting) for part, kind in zip(parts, kinds, strict=True))


def _checked(value: Any, wanted: Any, setting: str) -> Any:
    """Return a value that came from Python or a file, as `wanted`; refuse what would change by conversion."""
    if typing.get_origin(wanted) is tuple and isinstance(value, int | float) and not isinstance(value, bool):
        kinds = typing.get_args(wanted)
        if kinds[-1] is not Ellipsis:
            return (value,) * len(kinds)
    if typing.get_origin(wanted) is tuple and isinstance(value, list | tuple):
        kinds = typing.get_args(wanted)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(kinds) == len(value):
            return tuple(_checked(part, kind, setting) for part, kind in zip(value, kinds, strict=True))
    elif wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif wanted in (int, bool, str) and type(value) is wanted:
        return value
    name = getattr(wanted, "__name__", str(wanted))
    raise ConfigError(f"{value!r} is not of type {name}", where=setting)


def with_fields(config: Config, changes: Mapping[str, Any], section: str = "") -> Config:
    """Return `config` with the named fields changed, built once so that checks see the whole."""
    kinds = typing.get_type_hints(type(config))
    prefix = f"{section}." if section else ""
    for name in changes:
        if name not in kinds:
            raise ConfigError("unknown setting", where=prefix + name, fix=nearest(name, kinds))
    checked = {name: _checked(value, kinds[name], prefix + name) for name, value in changes.items()}
    return dataclasses.replace(config, **checked)


def parse_settings(settings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return {section: {field: value}} from {"section.field": "text"}; refuse unknown names."""
    sections: dict[str, dict[str, Any]] = {}
    for setting, text in settings.items():
        section, _, name = setting.partition(".")
        if section not in SECTIONS:
            raise ConfigError("unknown section", where=setting, fix=nearest(section, SECTIONS))
        kinds = types_of(section)
        if name not in kinds:
            raise ConfigError("unknown setting", where=setting, fix=nearest(name, kinds))
        sections.setdefault(section, {})[name] = parse(text, kinds[name], setting)
    return sections


def types_of(section: str) -> dict[str, Any]:
    """Return {field: type} of a section; of the model, those of every kind."""
    parts = ARCHITECTURES.values() if section == "model" else [SECTIONS[section]]
    return {name: kind for part in parts for name, kind in typing.get_type_hints(part).items()}


def of_kind(model: Any, changes: Mapping[str, Any]) -> Any:
    """Return what `changes` are laid over: `model`, or the defaults of another kind that they name.

    Of `model`, only what every model has is kept: size and channels of pictures, and the number of classes.
    """
    kind = changes.get("kind", model.kind)
    if kind == model.kind:
        return model
    shared = ("image_size", "in_channels", "num_classes")
    return dataclasses.replace(architecture_of(kind), **{name: getattr(model, name) for name in shared})


def override(run: RunConfig, sections: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Return `run` with {section: {field: value}} applied, every section built once."""
    for section in sections:
        if section not in SECTIONS:
            raise ConfigError("unknown section", where=section, fix=nearest(section, SECTIONS))
    parts = {name: getattr(run, name) for name in sections}
    if "model" in parts:
        parts["model"] = of_kind(run.model, sections["model"])
    changed = {name: with_fields(parts[name], fields, name) for name, fields in sections.items()}
    return dataclasses.replace(run, **changed)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain dicts and lists, for YAML and JSON."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [plain(part) for part in value] if isinstance(value, tuple) else value

    return plain(config)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Return the RunConfig written by `to_dict`; settings absent from it take their default."""
    for name, section in values.items():
        if not isinstance(section, Mapping):
            raise ConfigError(f"{section!r} is not a section", where=name, fix="Give settings under it")
    return override(RunConfig(), values) if values else RunConfig()


def to_yaml(run: RunConfig) -> str:
    """Return `run` as the text of config.yaml."""
    import yaml  # here: a model can be built and used without it

    return yaml.safe_dump(to_dict(run), sort_keys=False)


def all_settings() -> list[str]:
    """Return every "section.field" there is."""
    return [f"{section}.{name}" for section in SECTIONS for name in types_of(section)]
