"""Named strengths of augmentation: the seven levels of AugReg, as settings; no torch is imported here."""

from __future__ import annotations

import dataclasses

from ..config import AugmentConfig
from ..errors import ConfigError, nearest

_AUGREG: dict[str, tuple[int, float, float]] = {
    "none": (0, 0.0, 0.0),
    "light1": (2, 0.0, 0.0),
    "light2": (2, 10.0, 0.2),
    "medium1": (2, 15.0, 0.2),
    "medium2": (2, 15.0, 0.5),
    "strong1": (2, 20.0, 0.5),
    "strong2": (2, 20.0, 0.8),
}
"""name -> (l, m, alpha): RandAugment layers, RandAugment magnitude, mixup (2106.10270, sec. 3.3)"""

_SHORT = {"light": "light2", "medium": "medium1", "strong": "strong1"}

AUGMENT_LEVELS: dict[str, dict[str, float]] = {
    name: dict(zip(("randaugment_layers", "randaugment_magnitude", "mixup"), _AUGREG[full], strict=True))
    for name, full in ({name: name for name in _AUGREG} | _SHORT).items()
}
"""name -> {field of AugmentConfig: value}; light, medium, strong are light2 (that of 2205.01580), medium1, strong1"""


def with_level(config: AugmentConfig, name: str) -> AugmentConfig:
    """Return `config` with RandAugment and mixup at the level `name`; crop, flip and the rest stay.

    Raises:
        ConfigError: no such level; names the nearest.
    """
    if name not in AUGMENT_LEVELS:
        raise ConfigError(f"{name!r} is not a level", where="augment.level", fix=nearest(name, AUGMENT_LEVELS))
    return dataclasses.replace(config, **AUGMENT_LEVELS[name])
