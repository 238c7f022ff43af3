"""Ship: one file with graph, weights, classes and preprocessing, checked against the model, and engines to answer."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .check import AGREEMENT, BOUNDS, Agreement
from .command import export
from .description import PRECISIONS, Description
from .engine import ENGINES, Engine, answering
from .read import is_exported, read
from .write import Exported

__all__ = [
    "AGREEMENT",
    "BOUNDS",
    "ENGINES",
    "PRECISIONS",
    "Agreement",
    "Description",
    "Engine",
    "Exported",
    "answering",
    "export",
    "is_exported",
    "read",
]


class _Verb(ModuleType):
    """This package, which can be called: importing it puts it where `patchwords.export`, the verb, is looked for."""

    def __call__(self, *arguments: Any, **options: Any) -> Exported:
        """Do what the function `export` does."""
        return export(*arguments, **options)


sys.modules[__name__].__class__ = _Verb
