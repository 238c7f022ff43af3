"""Checks of settings that several kinds of models share; each names the setting and what is allowed."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError, nearest

Size = tuple[int, int]
"""(rows, columns)"""


def one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ConfigError when `value` is not one of `allowed`; names the nearest."""
    if value not in allowed:
        raise ConfigError(f"{value!r} is not a choice", where=setting, fix=nearest(str(value), allowed))


def in_range(setting: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError when `value` is not in low .. high."""
    if not low <= value <= high:
        raise ConfigError(f"{value} is outside {low} to {high}", where=setting)


def at_least(config: Any, low: int, *names: str) -> None:
    """Raise ConfigError when one of the named whole numbers of a model, or sizes, is below `low`."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, tuple):
            if min(value, default=low) < low:
                shown = "x".join(map(str, value))
                raise ConfigError(f"{shown} is no size", where=f"model.{name}", fix=f"Give pixels, {low} or more")
        elif value < low:
            what = f"{value} is {'negative' if low == 0 else 'too small'}"
            raise ConfigError(what, where=f"model.{name}", fix=f"Give {low} or more")


def whole_patches(image_size: Size, cell_size: Size, only_multiples: bool = False) -> None:
    """Raise ConfigError when pictures cannot be cut into cells.

    Args:
        only_multiples: the cell cannot be chosen freely, so only other sizes of pictures are advised.
    """
    for size, cell, axis in zip(image_size, cell_size, ("rows", "columns"), strict=True):
        if size < cell:
            raise ConfigError(
                f"a picture of {size} {axis} is smaller than a patch of {cell}",
                where="model.patch_size",
                fix=f"Give a patch of at most {size}, or a larger model.image_size",
            )
        if size % cell:
            divisors = [str(n) for n in range(2, size + 1) if size % n == 0]
            other = "" if only_multiples else f"one of {', '.join(divisors)}, or "
            raise ConfigError(
                f"a picture of {size} {axis} cannot be cut into patches of {cell}",
                where="model.patch_size",
                fix=f"Give {other}a model.image_size that {cell} divides",
            )
