"""The live page: a model looked at in the browser, served to this machine alone.

>>> from patchwords import serving
>>> serving.serve([("digits", pw.load("RUN"))], ["seven.png"])   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"Limits": "limits", "build_app": "app", "serve": "live"}
"""public name -> the module it lives in; imported at first use"""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from .limits import check_installed

        if name != "Limits":
            check_installed()
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
