"""What breaks while training: numbers, pictures, signals. One line, the right exit code, and nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from patchwords import checkpoint
from patchwords.errors import NonFiniteError, Stopped
from patchwords.training import Request, run, train
from patchwords.training.setup import set_up
from patchwords.training.signals import StopSignals
from patchwords.training.step import train_step
from tests.command_line import TINY, assert_one_line, call

SETTINGS = dict(argument.removeprefix("--").split("=") for argument in TINY)
LONG = ("--train.steps=4000", "--train.save_seconds=0.2", "--train.log_steps=1", "--train.ema_decay=0.9")


def finite(out: Path) -> bool:
    state = checkpoint.load_state(out)
    model = checkpoint.load_model(out).model.state_dict()
    return all(torch.isfinite(t).all() for t in (state.tensors | model).values() if t.is_floating_point())


# --- numbers


def test_a_learning_rate_that_breaks_it(folder, tmp_path):
    command = ["train", folder, "--out", tmp_path / "run", *TINY, "--train.steps=60", "--train.save_seconds=0"]
    command += ["--optimizer.name=sgd", "--optimizer.lr=10000", "--optimizer.clip_norm=0", "--schedule.warmup_epochs=0"]
    first = call(*command)
    assert_one_line(
        first, 65, "step ", "is not a finite number", ".png", "--optimizer.lr", "The state before it is saved"
    )
    assert finite(tmp_path / "run")
    assert call(*command).errors == first.errors  # it goes on, and breaks down at the same place


@pytest.mark.parametrize("part", ["weights", "ema", "optimizer"])
def test_what_is_not_finite_is_never_saved(folder, tmp_path, monkeypatch, part):
    """A step whose gradient is finite and whose result is not: the states before are kept, nothing is added."""

    def broken(state, shards, names):
        result = train_step(state, shards, names)
        if state.step == 3:
            name = next(name for name in state.tensors() if name.startswith(part) and state.tensors()[name].ndim)
            state.tensors()[name].view(-1)[0] = float("inf")
        return result

    monkeypatch.setattr(run, "train_step", broken)
    settings = SETTINGS | {"train.steps": "9", "train.save_seconds": "0", "train.ema_decay": "0.9"}
    with pytest.raises(NonFiniteError, match=f"(after step 3 {part}|step 3: .*)"):
        train(Request(str(folder), settings=settings), tmp_path / "run")
    assert checkpoint.load_state(tmp_path / "run").step == 2 and finite(tmp_path / "run")
    monkeypatch.undo()
    assert train(Request(str(folder), settings=settings), tmp_path / "run").steps == 9


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_pixel_that_is_not_a_number(folder, tmp_path, bad):
    """The step changes nothing: weights, average, optimizer and count are what they were."""
    job = set_up(Request(str(folder), settings=SETTINGS | {"train.ema_decay": "0.9"}), tmp_path)
    batch = job.loader.batch(0)
    train_step(job.state, job.shards(batch), list)
    before = checkpoint.tensors_hash(job.state.tensors())
    shards = job.shards(job.loader.batch(1))
    shards[0].images[0, 0, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=r"step 1: .* is not a finite number .* Files: one.png, two.png") as caught:
        train_step(job.state, shards, lambda: ["one.png", "two.png"])
    assert caught.value.exit_code == 65 and job.state.step == 1
    assert checkpoint.tensors_hash(job.state.tensors()) == before
    job.close()


# --- pictures


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_picture_that_breaks_while_training(folder, tmp_path, monkeypatch, damage):
    """Streamed: it is named, everything before it is saved, and when it is back the run ends with the same bits."""
    settings = ("--augment.crop=random_resized", "--train.steps=14", "--train.log_steps=1", "--train.ema_decay=0.9")
    command = ["train", folder, *TINY, *settings, "--out"]
    assert call(*command, tmp_path / "straight").code == 0
    victim = folder / "dot/03.png"
    content = victim.read_bytes()

    def breaking(state, shards, names):
        if state.step == 4:
            victim.write_bytes(b"no picture") if damage == "changed" else victim.unlink()
        return train_step(state, shards, names)

    monkeypatch.setattr(run, "train_step", breaking)
    code, words = (65, "was changed since the run began") if damage == "changed" else (66, "no such file")
    assert_one_line(call(*command, tmp_path / "run"), code, "dot/03.png", words, "The state before it is saved")
    monkeypatch.undo()
    saved = checkpoint.load_state(tmp_path / "run").step
    assert saved >= 5
    broken = call(*command, tmp_path / "run")  # still broken: still one line
    assert_one_line(broken, 65, "dot/03.png")
    victim.write_bytes(content)
    again = call(*command, tmp_path / "run")
    assert again.code == 0 and f"going on  after step {saved}" in again.err
    for name in ("metrics.jsonl", "eval.json", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


# --- signals


def signalled(number: int) -> None:
    """Do what the process does on a signal: call the handler that stands, without the system between."""
    signal.getsignal(number)(number, None)


def begin(folder: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "patchwords", "train", str(folder), "--out", str(out), *TINY, *LONG, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(there, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(folder, tmp_path, number):
    process = begin(folder, tmp_path / "run")
    wait_for(lambda: list((tmp_path / "run/state").glob("step-*")), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and not out and "Traceback" not in err
    assert err.splitlines()[-1].endswith("everything is saved. Run the same command again to go on")
    step = checkpoint.load_state(tmp_path / "run").step
    assert f"stopped by {signal.Signals(number).name} after step {step} of 4000" in err
    assert finite(tmp_path / "run") and not list((tmp_path / "run").rglob(".tmp-*"))


def test_a_stop_after_every_step_gives_the_same_bits(folder, tmp_path, monkeypatch):
    """The same signals without the processes: stopped again and again, the end is that of a run never stopped."""
    settings = SETTINGS | {
        "train.steps": "12",
        "train.log_steps": "1",
        "train.ema_decay": "0.9",
        "model.drop_path": "0.1",
    }
    request = Request(str(folder), settings=settings)
    train(request, tmp_path / "straight")

    def interrupting(state, shards, names):
        signalled(signal.SIGTERM)
        return train_step(state, shards, names)

    monkeypatch.setattr(run, "train_step", interrupting)
    for step in range(1, 12):
        with pytest.raises(Stopped, match=f"after step {step} of 12"):
            train(request, tmp_path / "run")
    train(request, tmp_path / "run")
    for name in ("metrics.jsonl", "eval.json", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    states = [checkpoint.load_state(tmp_path / name).tensors for name in ("run", "straight")]
    assert checkpoint.tensors_hash(states[0]) == checkpoint.tensors_hash(states[1])


def test_ctrl_c_twice_stops_at_once(folder, tmp_path, monkeypatch):
    def impatient(state, shards, names):
        signalled(signal.SIGINT)
        signalled(signal.SIGINT)
        return train_step(state, shards, names)

    monkeypatch.setattr(run, "train_step", impatient)
    answer = call("train", folder, "--out", tmp_path / "run", *TINY)
    assert answer.code == 130 and answer.err.splitlines()[-1].startswith("stopped at once")
    monkeypatch.undo()
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 0


def test_a_signal_during_set_up(folder, tmp_path, monkeypatch):
    """Nothing has been learnt yet: it stops where it is, and the same command starts again."""
    from patchwords.training import setup

    def slow(*arguments, **options):
        signalled(signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(setup, "make_manifest", slow)
    began = time.monotonic()
    answer = call("train", folder, "--out", tmp_path / "run", *TINY)
    assert answer.code == 75 and time.monotonic() - began < 4
    assert "stopped by SIGTERM before the first step; nothing is lost. Run the same command again" in answer.err
    monkeypatch.undo()
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 0


def test_killed_between_the_first_files(folder, tmp_path, monkeypatch):
    """A run killed before its config.yaml is written is begun again, not taken for somebody's folder."""
    from patchwords.training import folder as run_folder

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "write_start", killed)
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 130
    assert (tmp_path / "run/data.json").exists() and not (tmp_path / "run/config.yaml").exists()
    monkeypatch.undo()
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 0


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals, contextlib.suppress(KeyboardInterrupt):
        signalled(signal.SIGINT)
        assert signals.requested == "SIGINT"
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_does_not_decide_the_result_may_change(folder, tmp_path, monkeypatch):
    """Gone on with other workers and another time between saves: both hold, and the bits are the same."""

    def interrupting(state, shards, names):
        signalled(signal.SIGTERM)
        return train_step(state, shards, names)

    request = Request(str(folder), settings=SETTINGS)
    train(request, tmp_path / "straight")
    monkeypatch.setattr(run, "train_step", interrupting)
    with pytest.raises(Stopped):
        train(request, tmp_path / "run")
    monkeypatch.undo()
    other = Request(str(folder), settings=SETTINGS | {"data.workers": "3", "train.save_seconds": "0"})
    job = set_up(other, tmp_path / "run")
    assert (job.run.data.workers, job.run.train.save_seconds, job.state.step) == (3, 0.0, 1)
    job.close()
    train(other, tmp_path / "run")
    hashes = [checkpoint.tensors_hash(checkpoint.load_state(tmp_path / n).tensors) for n in ("run", "straight")]
    assert hashes[0] == hashes[1]
