"""TensorBoard events beside metrics.jsonl, where tensorboard is installed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from .. import files


class Tracker:
    """Writes scalars to TensorBoard, or nothing when it is not wanted or not installed.

    A run that goes on hides what it had written after the step it goes on from.
    """

    def __init__(self, out: Path, wanted: bool, first_step: int) -> None:
        self._writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            with files.faults_named(out, "write"):
                self._writer = SummaryWriter(str(out), purge_step=first_step or None, max_queue=100, flush_secs=30)
        self._out = out

    def write(self, group: str, row: dict[str, float], step: int) -> None:
        """Write every value of `row` under `group`."""
        if self._writer:
            with files.faults_named(self._out, "write"):
                for name, value in row.items():
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write what is left and close."""
        if self._writer:
            with contextlib.suppress(OSError):  # a full disk was told where more than a picture of the run is lost
                self._writer.close()
