"""What the live page takes on: sizes, counts and waiting times, each with a bound."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from ..decode import MAX_PIXELS
from ..errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of the server; the memory it takes besides the models follows from them."""

    body_bytes: int = 32 * MIB
    """of one uploaded picture"""
    pixels: int = MAX_PIXELS
    """of one picture, as in `decode`, which holds to it"""
    given: int = 64
    """pictures named on the command line"""
    uploaded: int = 64
    """uploaded pictures that are kept; the oldest goes first"""
    uploaded_bytes: int = 256 * MIB
    """of uploaded pictures, at the size the models see; the newest stays whatever its size"""
    uploads: int = 4
    """uploads being received at a time"""
    answer_bytes: int = 256 * MIB
    """of one answer"""
    kept_bytes: int = 256 * MIB
    """of answers that are kept in case they are asked for again"""
    waiting: int = 32
    """questions computed or waiting for it"""
    connections: int = 256
    """open at a time; beyond that, the one that has said nothing for longest is closed"""
    header_seconds: float = 10
    """for the headers of a request to arrive"""
    body_seconds: float = 60
    """for the body of a request to arrive"""
    pause_seconds: float = 10
    """without a byte of a body that is being received"""
    write_seconds: float = 60
    """for a piece of an answer to be taken"""


def check_installed() -> None:
    """Raise ConfigError when starlette or uvicorn is not there."""
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"the live page needs {name}", fix="pip install patchwords[serve]")
