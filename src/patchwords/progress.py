"""Progress on standard error: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO


def duration(seconds: float) -> str:
    """Return seconds as 45 s, 3:20 or 1:02:03."""
    whole = int(round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60:02d}" if hours else f"{rest // 60}"
    return (f"{hours}:" if hours else "") + f"{minutes}:{rest % 60:02d}"


class Progress:
    """Counted work with rate and time left.

    Args:
        label: what is counted, such as "training".
        total: how many there are.
        start: how many were done before (a run that goes on).
        every: seconds between plain lines when standard error is not a terminal.
    """

    def __init__(
        self, label: str, total: int, *, start: int = 0, every: float = 10.0, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.every = label, total, every
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.done = self._first = start
        self._began = self._shown = time.monotonic()

    def update(self, done: int, text: str = "") -> None:
        """Say that `done` are done; `text` is shown behind the count."""
        self.done = done
        now = time.monotonic()
        if now - self._shown >= (0.2 if self.live else self.every) or done >= self.total:
            self._shown = now
            self._show(f"{self.label} {done}/{self.total}{self._left(now)}{'  ' + text if text else ''}")

    def _left(self, now: float) -> str:
        elapsed, new = now - self._began, self.done - self._first
        if not new or elapsed < 0.5:
            return ""
        return f"  {duration(elapsed / new * max(self.total - self.done, 0))} left"

    def _show(self, line: str) -> None:
        if self.live:
            self.stream.write(f"\r\x1b[2K{line}")
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def note(self, line: str) -> None:
        """Print a line that stays."""
        self.stream.write(f"\r\x1b[2K{line}\n" if self.live else line + "\n")
        self.stream.flush()

    def close(self) -> None:
        """End the live line."""
        if self.live and self.done > self._first:
            self.stream.write("\n")
            self.stream.flush()
