"""A run that was trained for a moment, and what `inspect` writes of it, for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import TINY, Answer, call
from tests.conftest import draw_folder

SMALL = (*TINY, "--train.steps=20", "--model.depth=2", "--model.num_heads=2", "--model.pool=cls",
         "--model.class_token=true", "--model.position=learned")  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with pictures beside it."""
    work = tmp_path_factory.mktemp("made")
    draw_folder(work / "pictures")
    answer = call("train", work / "pictures", "--out", work / "run", *SMALL)
    assert answer.code == 0, answer.err
    return work / "run"


@pytest.fixture(scope="session")
def looked(run: Path) -> tuple[Path, Answer]:
    """The folder that `inspect RUN` writes, and what it printed."""
    out = run.parent / "looked"
    answer = call("inspect", run, "--out", out)
    assert answer.code == 0, answer.err
    return out, answer
