"""How the workers of a study are started: as processes here, or through submitit or Ray where they are installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Protocol

from .. import errors
from ..errors import ConfigError, PatchwordsError

LAUNCHERS = ("local", "submitit", "ray")
DEATHS = 3
"""workers that may die without a word, one after the other, before a study gives up"""
PATIENCE = 60.0
"""seconds that workers have to save and end"""


PARTING = 5.0
"""seconds that jobs have to end by themselves before they are cancelled"""


class Workers(Protocol):
    """The workers of a study."""

    def check(self) -> None:
        """Start what ended too early; raise the error of one that failed."""
        ...

    def stop(self) -> None:
        """Let all save and end, and wait for it."""
        ...


def launched(name: str, out: Path, count: int) -> Workers:
    """Return the started workers of the study in `out`.

    Raises:
        ConfigError: the package that would start them is not installed.
    """
    if name == "local":
        return LocalWorkers(out, count)
    require(name)
    return SubmititWorkers(out, count) if name == "submitit" else RayWorkers(out, count)


def require(name: str) -> Any:
    """Return the package, or raise ConfigError naming it when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        fix = f"pip install {name}, or use --launch local and `patchwords compare --worker STUDY` on each machine"
        raise ConfigError(f"{name} is not installed", where=f"--launch {name}", fix=fix) from None


class LocalWorkers:
    """Processes of this machine, each on one core.

    A worker sees that we are gone when its standard input ends.
    """

    def __init__(self, out: Path, count: int) -> None:
        self.out = out
        self._deaths = 0
        self._running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        told = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the worker
        environment = os.environ | {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        command = [sys.executable, "-m", "patchwords.study.worker", str(self.out)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, env=environment)
        self._running.append((process, told))

    def check(self) -> None:
        """Start what ended too early; raise the error of one that failed."""
        for process, told in list(self._running):
            code = process.poll()
            if code is None:
                continue
            self._running.remove((process, told))
            if code != 0:
                self._failed(code, told)

    def _failed(self, code: int, told: IO[bytes]) -> None:
        told.seek(0)
        lines = told.read().splitlines()
        if code > 0 and lines:
            raise fault_of(json.loads(lines[-1]))
        self._deaths += 1
        if self._deaths >= DEATHS:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise PatchwordsError(
                f"a worker {how}, the {DEATHS}rd to end so", where=str(self.out),
                fix="Give fewer --workers if memory is short; the same command goes on",
            )  # fmt: skip
        self._start()

    def stop(self) -> None:
        """Let all save and end, and wait for it."""
        for process, _ in self._running:
            process.stdin.close()  # type: ignore[union-attr]
        end = time.monotonic() + PATIENCE
        for process, told in self._running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            told.close()
        self._running.clear()


class SubmititWorkers:
    """Jobs of a Slurm cluster, through submitit; the study's folder is shared."""

    def __init__(self, out: Path, count: int) -> None:
        from .worker import work_alone

        executor = require("submitit").AutoExecutor(folder=str(out / "launch"))
        executor.update_parameters(name="patchwords", cpus_per_task=1, timeout_min=24 * 60)
        with executor.batch():
            self._jobs = [executor.submit(work_alone, str(out.resolve())) for _ in range(count)]

    def check(self) -> None:
        """Raise the error of a worker that failed."""
        for job in [job for job in self._jobs if job.done()]:
            self._jobs.remove(job)
            job.result()

    def stop(self) -> None:
        """Cancel all that do not end by themselves, as they do when nothing is left; what they saved last is kept."""
        end = time.monotonic() + PARTING
        while self._jobs and time.monotonic() < end:
            self._jobs = [job for job in self._jobs if not job.done()]
            time.sleep(0.1)
        for job in self._jobs:
            job.cancel()


class RayWorkers:
    """Tasks of a Ray cluster; the study's folder is shared."""

    def __init__(self, out: Path, count: int) -> None:
        from .worker import work_alone

        self._ray = require("ray")
        self._ray.init(ignore_reinit_error=True)
        remote = self._ray.remote(num_cpus=1)(work_alone)
        self._tasks = [remote.remote(str(out.resolve())) for _ in range(count)]

    def check(self) -> None:
        """Raise the error of a worker that failed."""
        done, self._tasks = self._ray.wait(self._tasks, num_returns=1, timeout=0) if self._tasks else ([], [])
        self._ray.get(done)

    def stop(self) -> None:
        """Cancel all: what they saved last is kept."""
        for task in self._tasks:
            self._ray.cancel(task)


def fault_of(told: dict[str, Any]) -> PatchwordsError:
    """Return the error that a worker printed."""
    kind = getattr(errors, str(told.get("error")), PatchwordsError)
    return kind(told["what"], where=told["where"], fix=told["fix"])
