"""Claims: one holder at a time, dead ones are taken over, also when many try at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from patchwords.study.claims import Claim, Claims, identity


def foreign(path: Path, beats: int = 1) -> None:
    """Write a claim as a process of another machine would."""
    holder = {"machine": "another", "process": 1, "started": "1"}
    path.write_text(json.dumps({"holder": holder, "beats": beats}))


def take(claims: Claims, task: str = "cell") -> Claim | None:
    return claims.take(task, claims.newest())


def test_a_claimed_task_is_not_given_again(tmp_path: Path) -> None:
    first = take(Claims(tmp_path))
    assert first is not None
    assert take(Claims(tmp_path)) is None
    assert take(Claims(tmp_path), "other") is not None


def test_a_released_claim_can_be_taken_at_once_and_a_finished_one_leaves_nothing(tmp_path: Path) -> None:
    take(Claims(tmp_path)).release(finished=False)
    second = take(Claims(tmp_path))
    assert second.generation == 2
    second.release(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_try_at_once_one_gets_it(tmp_path: Path) -> None:
    foreign(tmp_path / "cell.claim.1")
    for _ in range(20):
        number = max(Claims(tmp_path).newest().values())
        (tmp_path / f"cell.claim.{number}").write_text('{"released": true}')
        together, won = threading.Barrier(8), []

        def try_it(together: threading.Barrier = together, won: list = won) -> None:
            claims = Claims(tmp_path)
            newest = claims.newest()
            together.wait()
            won.append(claims.take("cell", newest))

        threads = [threading.Thread(target=try_it) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        holders = [claim for claim in won if claim is not None]
        assert len(holders) == 1
        holders[0].release(finished=False)


def test_a_holder_of_another_machine_counts_as_dead_when_it_stands_still_for_long(tmp_path: Path) -> None:
    path, claims = tmp_path / "cell.claim.1", Claims(tmp_path, dead_after=0.3)
    foreign(path)
    assert take(claims) is None
    time.sleep(0.2)
    foreign(path, beats=2)
    assert take(claims) is None  # it moved
    time.sleep(0.2)
    assert take(claims) is None  # not long enough since
    time.sleep(0.2)
    assert take(claims).generation == 2


def test_a_dead_process_of_this_machine_gives_way_at_once(tmp_path: Path) -> None:
    code = "import json; from patchwords.study.claims import identity; print(json.dumps({'holder': identity()}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    (tmp_path / "cell.claim.1").write_text(told)
    assert take(Claims(tmp_path)).generation == 2


def test_a_process_that_only_has_the_number_of_a_dead_one_does_not_count(tmp_path: Path) -> None:
    holder = identity() | {"started": "0"}
    (tmp_path / "cell.claim.1").write_text(json.dumps({"holder": holder}))
    assert take(Claims(tmp_path)).generation == 2


def test_a_holder_shows_that_it_lives_and_sees_that_it_was_replaced(tmp_path: Path) -> None:
    claim = Claims(tmp_path, beat=0.05).take("cell", {})
    before = claim.path.read_text()
    time.sleep(0.3)
    assert claim.path.read_text() != before and not claim.lost
    foreign(tmp_path / "cell.claim.2")
    time.sleep(0.3)
    assert claim.lost
    claim.release(finished=False)
    assert "released" not in claim.path.read_text()


def test_a_claim_that_was_only_half_written_is_believed_until_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "cell.claim.1").write_text("")
    claims = Claims(tmp_path, dead_after=0.2)
    assert take(claims) is None
    time.sleep(0.3)
    assert take(claims) is not None
