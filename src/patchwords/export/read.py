"""Open an exported file: which runtime answers is told from its ending."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError, MissingError
from .engine import Engine
from .onnx_file import read_onnx
from .openvino_file import read_openvino
from .program_file import read_program

ENDINGS = (".onnx", ".xml", ".pt2")


def is_exported(path: str | Path) -> bool:
    """Return whether `path` is named as an exported file is."""
    return Path(path).suffix in ENDINGS


def read(path: str | Path, *, trusted: bool = False) -> Engine:
    """Return the engine of an exported file.

    Args:
        trusted: take a .pt2 too, although reading it can run code that is in it.

    Raises:
        MissingError: nothing there. CheckpointError: damaged, or not written by `patchwords export`.
        ConfigError: its runtime is not installed, or a .pt2 is not trusted.
    """
    path = Path(path)
    if not path.exists():
        raise MissingError("no such file or folder", where=str(path))
    if not path.is_file():
        raise CheckpointError("is a folder, not an exported file", where=str(path), fix="Give the file")
    if path.suffix == ".pt2":
        return read_program(path, trusted)
    return (read_onnx if path.suffix == ".onnx" else read_openvino)(path)
