"""Every question computed once: asked twice at a time it is shared, asked again it is kept, given up it is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future

from .limits import Limits
from .packed import Answer
from .refusal import Abandoned, Refused
from .subject import Subject


class _Job:
    """A question that is being answered."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self.waiters = 0
        self.future: Future[Answer]


class Desk:
    """Where questions come in and answers go out; usable from several event loops at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.RLock()
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._bytes = 0
        self._jobs: dict[Hashable, _Job] = {}
        self._closed = False

    async def ask(
        self, key: Hashable, subject: Subject, compute: Callable[[], Answer], gone: Callable[[], Awaitable[None]]
    ) -> Answer:
        """Return the answer of `compute`, or the one that is kept under `key`.

        Args:
            gone: waits until the client has left.

        Raises:
            Refused: too many are waiting, or the server ends. Abandoned: the client has left. And what `compute` does.
        """
        found = self._enter(key, subject, compute)
        if isinstance(found, Answer):
            return found
        future = asyncio.wrap_future(found.future)
        future.add_done_callback(_look_at)
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait({future, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
            self._leave(found)
        if not future.done() or future.cancelled() or isinstance(future.exception(), Abandoned):
            if self._closed:
                raise Refused(503, "the server is ending", fix="Start it again")
            raise Abandoned
        return future.result()

    def close(self) -> None:
        """Give up all that is being computed."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs.values())
        for job in jobs:
            job.abandoned.set()

    def _enter(self, key: Hashable, subject: Subject, compute: Callable[[], Answer]) -> Answer | _Job:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if self._closed:
                raise Refused(503, "the server is ending", fix="Start it again")
            job = self._jobs.get(key)
            if job is None or job.abandoned.is_set():
                if len(self._jobs) >= self._limits.waiting:
                    what = f"{len(self._jobs)} questions are being answered, which is the most"
                    raise Refused(429, what, fix="Ask again in a moment")
                job = self._jobs[key] = _Job()
                job.future = subject.submit(compute, job.abandoned)
                job.future.add_done_callback(lambda future: self._finish(key, job, future))
            job.waiters += 1
            return job

    def _leave(self, job: _Job) -> None:
        with self._lock:
            job.waiters -= 1
            if job.waiters == 0 and not job.future.done():
                job.abandoned.set()
                job.future.cancel()

    def _finish(self, key: Hashable, job: _Job, future: Future[Answer]) -> None:
        with self._lock:
            if self._jobs.get(key) is job:
                del self._jobs[key]
            if future.cancelled() or future.exception() is not None:
                return
            answer = future.result()
            size = answer.nbytes
            if size > self._limits.kept_bytes:
                return
            self._kept[key] = answer
            self._bytes += size
            while self._bytes > self._limits.kept_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _look_at(future: asyncio.Future[Answer]) -> None:
    """Take note of an exception that nobody waits for any more, so that asyncio does not print it."""
    if not future.cancelled():
        future.exception()
