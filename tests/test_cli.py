"""The command line itself: help, versions, outputs, pipes and terminals that cannot show every name."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from patchwords import cli
from patchwords.cli import COMMANDS
from patchwords.models import list_models
from tests.command_line import TINY, assert_one_line, call


def test_help():
    assert call().out == call("--help").out == call("-h").out
    for name in COMMANDS:
        assert name in call("--help").out
        answer = call(name, "--help")
        assert answer.code == 0 and f"patchwords {name}" in answer.out and "--json" in answer.out and not answer.err
    assert call("--version").out.startswith("patchwords ")


def test_help_is_quick_and_needs_no_torch():
    program = "import sys; from patchwords.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0 and time.perf_counter() - began < 5


def test_models():
    table = call("models")
    assert table.code == 0 and len(table.out.splitlines()) == len(list_models()) + 1
    assert "vit_base_patch16_224" in table.out
    told = call("models", "*base*", "--json").json()
    assert told["vit_base_patch16_224"]["dim"] == 768 and set(told) == set(list_models("*base*"))
    assert "paper_imagenet" in call("models", "--presets").out
    assert call("models", "--presets", "--json").json()["paper_imagenet"]["optimizer"]["lr"] == 3e-3


def test_settings_may_stand_anywhere(folder, tmp_path):
    """Before and after the data set, with a blank or an equals sign: the same run."""
    settings = [part for setting in TINY for part in setting.split("=")]
    first = call("train", *settings, folder, "--out", tmp_path / "run")
    assert first.code == 0, first.err
    again = call("train", *TINY, "--out", tmp_path / "run", folder)
    assert again.code == 0 and "this run is finished" in again.err


def test_results_on_stdout_progress_on_stderr(folder, tmp_path):
    told = call("train", folder, "--out", tmp_path / "a", "--json", *TINY)
    assert told.json().keys() == {"out", "steps", "evaluations"} and told.json()["evaluations"]["test"]["total"] == 12
    assert "pictures in 3 classes" in told.err and "machine" in told.err
    plain = call("train", folder, "--out", tmp_path / "b", *TINY)
    assert f"patchwords eval {tmp_path / 'b'}" in plain.out and "test: " in plain.out
    audit = call("audit", folder, "--json")
    assert audit.code == 0 and not audit.errors and isinstance(audit.json(), dict)


def test_a_bug_of_ours_is_one_line(monkeypatch):
    def broken(argv):
        raise KeyError("two\nlines")

    monkeypatch.setattr(cli, "dispatch", broken)
    answer = call("models", "--json")
    assert answer.code == 1 and "bug in patchwords" in answer.errors[0] and "--debug" in answer.errors[0]
    assert len(answer.err.splitlines()) == 1 and answer.json()["exit_code"] == 1
    with pytest.raises(Exception, match="bug in patchwords"):
        call("models", "--debug")


@pytest.mark.parametrize(
    ("error", "code"), [(PermissionError(13, "no", "/x"), 77), (OSError(5, "io", "/x"), 74), (OSError(36, "long"), 74)]
)
def test_the_system_s_faults_are_no_bugs(monkeypatch, error, code):
    def broken(argv):
        raise error

    monkeypatch.setattr(cli, "dispatch", broken)
    assert call("models").code == code


def test_debug_shows_where(tmp_path):
    from patchwords.errors import MissingError

    with pytest.raises(MissingError):
        call("eval", tmp_path / "nowhere", "--debug")


@pytest.mark.parametrize("shell", ["models | head -1", "models --json | head -c 10"])
def test_a_reader_that_goes_away(shell):
    command = f"set -o pipefail; {sys.executable} -m patchwords {shell}; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == "0\n" and done.stdout


PLAIN = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("environment", "shown"),
    [({"PYTHONIOENCODING": "latin-1"}, rb"\u2603\xff"), (PLAIN, rb"\u2603\xff")],
    ids=["latin-1", "LANG=C"],
)
def test_terminals_that_cannot_show_a_name(folder, tmp_path, environment, shown):
    """Not UTF-8, not a terminal: escaped, never a crash."""
    (folder / "dot").rename(folder / os.fsdecode(b"\xe2\x98\x83\xff"))
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 0
    command = [sys.executable, "-m", "patchwords", "eval", str(tmp_path / "run"), str(folder)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr.count(b"Traceback") and shown in done.stdout


def test_double_dash_and_names_like_options(folder, tmp_path, monkeypatch):
    assert call("train", folder, "--out", tmp_path / "run", *TINY).code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "--top.png").write_bytes((folder / "dot/00.png").read_bytes())
    assert_one_line(call("predict", "run", "--top.png"), 2, "--top.png", "Did you mean --top?")
    answer = call("predict", "run", "--", "--top.png")
    assert answer.code == 0 and answer.out.startswith("--top.png: ")
