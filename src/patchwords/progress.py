"""Progress on standard error: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from .errors import printable

_FRAMES = 5
"""of the live bar, a second"""


def duration(seconds: float) -> str:
    """Return seconds as 45 s, 3:20 or 1:02:03."""
    whole = int(round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else f"{rest // 60}"
    return (f"{hours}:" if hours else "") + f"{minutes}:{rest % 60:02d}"


class Progress:
    """Counted work with the time that is left.

    Args:
        label: what is counted, such as "training".
        total: how many there are.
        start: how many were done before (a run that goes on).
        every: seconds between plain lines when standard error is not a terminal.
    """

    def __init__(self, label: str, total: int, *, start: int = 0, every: float = 10.0) -> None:
        self.label, self.total = label, total
        self._first, self._began = start, time.monotonic()
        self._bar, self._task = _live_bar(label, total, start) if sys.stderr.isatty() else (None, None)
        self.every = 1 / _FRAMES if self._bar else every
        self._shown = self._began

    def update(self, done: int, text: str | Callable[[], str] = "") -> None:
        """Say that `done` are done; `text` is shown behind the count: one that must be made, only when it is shown."""
        now = time.monotonic()
        due = now - self._shown >= self.every or done >= self.total > 0
        if not due and (callable(text) or not self._bar):
            return
        self._shown = now
        text = text() if callable(text) else text
        if self._bar:
            self._bar.update(self._task, completed=done, text=text)
        else:
            self.note(f"{self.label} {done}/{self.total}{self._left(done, now)}{'  ' + text if text else ''}")

    def _left(self, done: int, now: float) -> str:
        elapsed, new = now - self._began, done - self._first
        if new < 1 or elapsed < 0.5 or done >= self.total:
            return ""
        return f"  {duration(elapsed / new * (self.total - done))} left"

    def note(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self._bar:
            self._bar.stop()


def _live_bar(label: str, total: int, start: int) -> tuple[Any, Any]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("{task.fields[text]}", markup=False),
    )
    bar = progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=_FRAMES)
    task = bar.add_task(label, total=total, completed=start, text="")
    bar.start()
    return bar, task


def show_progress(label: str) -> Callable[[int, int], None]:
    """Return a callback (done, total) that shows how far a long piece of work is."""
    shown: list[Progress] = []

    def update(done: int, total: int) -> None:
        if not shown:
            shown.append(Progress(label, total))
        shown[0].update(done)
        if done >= total:
            shown[0].close()

    return update


def say(line: str) -> None:
    """Print a line about the work on standard error."""
    print(printable(line), file=sys.stderr, flush=True)
