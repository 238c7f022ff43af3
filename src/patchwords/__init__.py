"""Vision Transformers: train, look inside, compare and ship.

>>> import patchwords as pw
>>> model, classes, preprocess = pw.load("runs/digits")   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "LoadedModel": "checkpoint",
    "PatchwordsError": "errors",
    "Preprocess": "preprocess",
    "Request": "training",
    "RunConfig": "config",
    "TrainResult": "training",
    "ViT": "models",
    "ViTConfig": "config",
    "audit": "data.audit",
    "compare": "use",
    "convert": "use",
    "create_model": "models",
    "evaluate": "use",
    "export": "use",
    "inspect": "use",
    "list_models": "models",
    "load": "use",
    "model_config": "models",
    "predict": "use",
    "probe": "use",
    "train": "use",
    "tune": "use",
}
"""public name -> the module it lives in; imported at first use, so that `import patchwords` is quick"""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
