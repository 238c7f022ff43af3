"""Studies small enough for a test, begun and worked on in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from patchwords.study.begin import begin
from patchwords.study.folder import Study
from patchwords.study.question import Question
from patchwords.study.work import work
from patchwords.training.signals import StopSignals
from patchwords.use import load

ASKED: dict[str, Any] = {
    "data": "digits",
    "models": ("mlp", "bag"),
    "sizes": (40, 120),
    "seeds": 1,
    "samples": 384,
    "rates": (1e-3, 3e-3),
}


def asked(**changes: Any) -> Question:
    """Return a small question."""
    return Question(**(ASKED | changes))


def begun(out: Path, **changes: Any) -> Study:
    """Return a study that was begun and not worked on."""
    out.mkdir(parents=True, exist_ok=True)
    return begin(asked(**changes), out, load)


def work_here(study: Study) -> None:
    """Do everything that is left, in this process."""
    work(study, StopSignals(), threading.Event())
