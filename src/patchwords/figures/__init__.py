"""Draw every result of `inspection` and of `metrics`: one function a result, on a telephone and on a page.

>>> from patchwords import figures
>>> figure = figures.new_figure(width_in=7)   # doctest: +SKIP
>>> figures.draw_distance(heads, figure)   # doctest: +SKIP
>>> png, svg = figures.png(figure), figures.svg(figure)   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "NARROW_IN": "style",
    "Trend": "trends",
    "WIDE_IN": "style",
    "draw_accuracy": "accuracy",
    "draw_attention": "attention",
    "draw_attribution": "attribution",
    "draw_components": "components",
    "draw_confusion": "confusion",
    "draw_curves": "curves",
    "draw_distance": "distance",
    "draw_filters": "filters",
    "draw_filters_over_time": "filters_over_time",
    "draw_grid": "plot",
    "draw_heads": "heads",
    "draw_lens": "lens",
    "draw_nearest": "nearest",
    "draw_norms": "norms",
    "draw_overlap": "overlap",
    "draw_over_time": "over_time",
    "draw_plot": "plot",
    "draw_position": "position",
    "draw_receptive_field": "receptive",
    "draw_relative_bias": "relative",
    "draw_reliability": "reliability",
    "draw_rollout": "rollout",
    "draw_similarity": "similarity",
    "draw_training": "training",
    "draw_trends": "trends",
    "draw_weights": "weights",
    "new_figure": "style",
    "png": "style",
    "svg": "style",
}
"""public name -> the module it lives in; imported at first use"""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
