"""JSON for the page: plain values, all of it ASCII, nothing that a browser could take for HTML."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def json_bytes(value: Any) -> bytes:
    """Return `value` as JSON; numbers that are not finite become null, `<`, `>` and `&` are escaped."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return text.translate(_MARKUP).encode("ascii")


def plain(value: Any) -> Any:
    """Return `value` made of dict, list, str, int, float, bool and None only."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
