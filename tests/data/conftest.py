"""Pictures and data sets made for the tests of this folder."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture_bytes(value: int = 0, size: tuple[int, int] = (6, 5), kind: str = "PNG") -> bytes:
    """Return a picture of (columns, rows) whose content is a function of `value`."""
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    return picture_bytes


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[dict[str, bytes]], str]:
    """Write {path: bytes} below a new folder and return its name."""

    def make(files: dict[str, bytes], name: str = "set") -> str:
        for path, data in files.items():
            target = os.path.join(tmp_path, name, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(data)
        return os.path.join(tmp_path, name)

    return make


@pytest.fixture
def small_set() -> dict[str, bytes]:
    """24 different pictures, two classes, no splits."""
    return {
        f"{label}/{i:02d}.png": picture_bytes(100 * n + i) for n, label in enumerate(("cat", "dog")) for i in range(12)
    }
