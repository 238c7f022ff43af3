"""Who computes what, when several processes and machines share a folder: claims that die with their holders.

The claim to a task is a file NAME.claim.N that only one process can create. Its holder changes the file every few
seconds. Whoever has seen no change for `dead_after` seconds, by his own clock, or finds that the holder was a process
of this machine that is gone, may create N + 1, which again only one can; the holder of N, should it wake up, sees
that. Clocks of machines need not agree, and nobody ever writes to the file of another.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files

MARK = ".claim."
BEAT = 5.0
"""seconds between changes of a claim by its holder"""
DEAD_AFTER = 60.0
"""seconds without a change after which a holder counts as dead"""


@dataclass
class Claim:
    """A task that is ours; ends when it is released, or when another took it over because we seemed dead."""

    path: Path
    generation: int
    """how many claims to this task there were before, and this one"""
    beat: float = BEAT
    told: Callable[[], dict[str, Any]] = dict
    """what to write into the claim, for others to read"""
    lost: bool = False
    _beats: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Claim:
        """Begin to show that we are alive."""
        self._thread = threading.Thread(target=self._beat, name="patchwords-claim", daemon=True)
        self._thread.start()
        return self

    def _beat(self) -> None:
        while not self._ended.wait(self.beat):
            with contextlib.suppress(OSError):  # a shared folder that is away for a moment
                self.lost = self.lost or self._successor().exists()
                if not self.lost:
                    self.write()

    def _successor(self) -> Path:
        return self.path.with_suffix(f".{self.generation + 1}")

    def write(self, **more: Any) -> None:
        """Change the file."""
        self._beats += 1
        text = json.dumps({"holder": identity(), "beats": self._beats} | self.told() | more)
        self.path.write_text(text)

    def release(self, finished: bool) -> None:
        """End the claim.

        Args:
            finished: the task is done, and no claim to it is needed any more; else the next may take it at once.
        """
        self._ended.set()
        if self._thread:
            self._thread.join()
        with contextlib.suppress(OSError):
            if finished:
                for path in self.path.parent.glob(f"{glob_escape(self.path.stem)}.*"):
                    path.unlink(missing_ok=True)
            elif not self.lost:
                self.write(released=True)


class Claims:
    """Claims to the tasks of a study.

    Args:
        folder: where the files are.
        beat, dead_after: seconds.
    """

    def __init__(self, folder: Path, beat: float = BEAT, dead_after: float = DEAD_AFTER) -> None:
        self.folder, self.beat, self.dead_after = folder, beat, dead_after
        self._seen: dict[str, tuple[bytes, float]] = {}

    def newest(self) -> dict[str, int]:
        """Return {task: number of its newest claim}."""
        found: dict[str, int] = {}
        with files.faults_named(self.folder, "read"):
            for name in os.listdir(self.folder):
                task, mark, number = name.rpartition(MARK)
                if mark and number.isdigit():
                    found[task] = max(found.get(task, 0), int(number))
        return found

    def take(self, task: str, newest: dict[str, int]) -> Claim | None:
        """Return our claim to `task`, or None when somebody else who seems alive has it."""
        number = newest.get(task, 0)
        if number and self.alive(task, number):
            return None
        path = self.folder / f"{task}{MARK}{number + 1}"
        try:
            with files.faults_named(path, "write"):
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
                except FileExistsError:
                    return None
        finally:
            self._seen.pop(task, None)
        claim = Claim(path, number + 1, self.beat)
        claim.write()
        return claim.start()

    def alive(self, task: str, number: int) -> bool:
        """Return whether the holder of a claim seems to be at work."""
        content = self.read(task, number)
        if content is None:
            return True  # gone, as of a task that was finished just now: look again
        try:
            told = json.loads(content)
        except ValueError:
            told = {}
        if told.get("released") or is_gone(told.get("holder")):
            return False
        key, now = f"{task}{MARK}{number}", time.monotonic()
        before, since = self._seen.get(key, (None, now))
        if before != content:
            since = now
        self._seen[key] = (content, since)
        return now - since < self.dead_after

    def read(self, task: str, number: int) -> bytes | None:
        """Return what a claim says; None when it is gone."""
        try:
            return (self.folder / f"{task}{MARK}{number}").read_bytes()
        except FileNotFoundError:
            return None


def identity() -> dict[str, Any]:
    """Return what tells this process from all others, on this machine and on others."""
    return {"machine": _machine(), "process": os.getpid(), "started": _started(os.getpid())}


def is_gone(holder: Any) -> bool:
    """Return whether a holder is known to be dead: a process of this machine that is not there any more."""
    if not isinstance(holder, dict) or not _machine() or holder.get("machine") != _machine():
        return False
    return _started(holder.get("process")) != holder.get("started")


def _machine() -> str:
    """Return what names this machine since it was started, and this container in it; "" where nothing does."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(process: Any) -> str:
    """Return when a process of this machine was started, in ticks; "" when there is none, or it only waits to go."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def glob_escape(text: str) -> str:
    """Return a pattern that matches `text` alone."""
    import glob

    return glob.escape(text)
