"""A worker as a process of its own: python -m patchwords.study.worker STUDY"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from ..errors import PatchwordsError
from ..training.signals import StopSignals
from .folder import open_study
from .work import work


def work_alone(out: str) -> None:
    """Work on the study in `out` until nothing is left to do; a signal saves and stops.

    Raises:
        MissingError: there is no study. Stopped: a signal came. And as training does.
    """
    with StopSignals() as signals:
        with signals.stopping_at_once(out):
            study = open_study(Path(out))
        work(study, signals, threading.Event())


def main(out: str) -> int:
    """Work as the child of a process that leads a study; the last line printed is the error, if there is one."""
    gone = threading.Event()
    threading.Thread(target=_watch_parent, args=(gone,), daemon=True).start()
    try:
        with StopSignals() as signals:
            with signals.stopping_at_once(out):
                study = open_study(Path(out))
            work(study, signals, gone)
    except PatchwordsError as fault:
        print(json.dumps(fault.as_dict()), flush=True)
        return fault.exit_code
    except KeyboardInterrupt:  # the second one: what was saved last is kept
        return 130
    return 0


def _watch_parent(gone: threading.Event) -> None:
    """Wait until standard input ends, as it does when the process that started us is gone, however it went."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    gone.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
