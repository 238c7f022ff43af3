"""A study killed at random, with everything that works on it, ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

RESULTS = ("results.json", "results.npz", "results.csv", "report.html", "summary.json")
KILLS = 20
COMMAND = (
    "compare --data digits --models vit,mlp --sizes 60,200,800 --seeds 2 --samples 4000 --lrs 1e-3,3e-3 --workers 2"
    " --train.save_seconds 0.5 --bootstrap 1"
)


def started(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from patchwords.cli import main; sys.exit(main())", *COMMAND.split()]
    return subprocess.Popen(
        [*command, "--out", str(out)], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def done(out: Path) -> int:
    return len(list((out / "cells").glob("[!.]*.npz"))) if (out / "cells").is_dir() else 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_study_killed_twenty_times_at_random_gives_the_same_bytes(tmp_path: Path) -> None:
    began = time.monotonic()
    whole = started(tmp_path / "whole")
    while not done(tmp_path / "whole") and whole.poll() is None:
        time.sleep(0.05)
    start_up = time.monotonic() - began  # until the first training is done
    assert whole.wait() == 0
    lasted = time.monotonic() - began

    random, out, kills = np.random.default_rng(int.from_bytes(os.urandom(4))), tmp_path / "killed", 0
    while kills < KILLS:
        process = started(out)
        try:
            assert process.wait(random.uniform(0, start_up + 3 * lasted / KILLS)) == 0
            break  # it was done before it could be killed so often
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            print(f"kill {kills}: {done(out)} trainings done")
    last = started(out)
    assert last.wait() == 0
    assert kills >= KILLS // 2, kills
    for name in RESULTS:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
