"""Ctrl-C and SIGTERM: finish the step, save, exit 75; Ctrl-C twice stops at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from ..errors import Stopped


class StopSignals:
    """A context in which signals only ask: `requested` names the first one received, "" before.

    Outside the main thread, where Python cannot set handlers, nothing is ever requested.
    """

    HANDLED = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, n))

    def __init__(self) -> None:
        self.requested = ""
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        try:
            self._before = {number: signal.signal(number, self._note) for number in self.HANDLED}
        except ValueError:
            self._before = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def stopping_at_once(self, where: str) -> Iterator[None]:
        """A context in which the first signal stops, for work that has nothing to save yet.

        Raises:
            Stopped: a signal came.
        """
        self._at_once = True
        try:
            yield
        except KeyboardInterrupt:
            if not (self._at_once and self.requested):  # the second one, or none of ours
                raise
            raise Stopped(
                f"stopped by {self.requested} before the first step; nothing is lost. "
                "Run the same command again to go on",
                where=where,
            ) from None
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        second = bool(self.requested)
        self.requested = self.requested or signal.Signals(number).name
        if self._at_once and not second:
            raise KeyboardInterrupt
        if second and number == signal.SIGINT:
            self._at_once = False
            raise KeyboardInterrupt
