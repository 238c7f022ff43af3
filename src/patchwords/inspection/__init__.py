"""Look inside a model: what it attends to, where it thinks patches lie, what its filters are; numbers, no pictures.

>>> from patchwords import inspection
>>> heads = inspection.attention_distance(model, images)   # doctest: +SKIP
>>> heads.distance_px, heads.uniform_px   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "attention_distance": "distance",
    "attention_maps": "attention",
    "attention_rollout": "rollout",
    "attention_trace": "trace",
    "attention_weights": "attention",
    "attribute": "explanation",
    "filter_components": "filters",
    "filter_overlap": "filters",
    "find_nearest": "nearest",
    "linear_cka": "similarity",
    "measure_components": "components",
    "measure_curves": "curves",
    "measure_features": "nearest",
    "measure_norms": "norms",
    "measure_receptive_field": "receptive",
    "measure_similarity": "similarity",
    "position_similarity": "position",
    "positions": "position",
    "read_layers": "lens",
    "relative_biases": "position",
    "write_csv": "results",
    "write_npz": "results",
}
"""public name -> the module it lives in; imported at first use"""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
