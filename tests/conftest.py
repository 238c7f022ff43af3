"""Small real inputs that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parent.parent


def draw_folder(
    root: Path, classes: tuple[str, ...] = ("bar", "dot", "ring"), per_class: int = 20, side: int = 8
) -> Path:
    """Write ROOT/CLASS/NN.png: noisy pictures whose bright part says the class."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(rows, columns)
    shapes = [abs(rows) < 1, radius < side / 5, abs(radius - side / 3) < 1, abs(columns) < 1]
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for each in range(per_class):
            pixels = random.integers(0, 120, (side, side, 3))
            pixels[shapes[number % len(shapes)]] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{each:02d}.png")
    return root


@pytest.fixture(scope="session", autouse=True)
def cache_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what commands keep for later (features, downloads) out of the user's cache."""
    os.environ["PATCHWORDS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three class folders with twenty 8x8 pictures each."""
    return draw_folder(tmp_path / "pictures")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures, or a skip that says how to have it."""
    path = Path(os.environ.get("PATCHWORDS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"needs the real pictures: set PATCHWORDS_DATA (looked in {path})")
    return path
