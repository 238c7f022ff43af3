"""Promises about set-up: it does nothing the second time, and installs the versions that constraints.txt names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
EXTRAS = ("all", "data", "track", "plot", "dev")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    return normal(re.match(r"[\w.-]+", requirement)[0])


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines if line and not line.startswith("#")]
    assert all(found), "every line is NAME==VERSION"
    assert [match[1].lower() for match in found] == sorted(match[1].lower() for match in found)
    return {normal(match[1]): match[2] for match in found}


@pytest.fixture(scope="module")
def wanted() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = [name for group in project["project"]["optional-dependencies"].values() for name in group]
    every = [*project["project"]["dependencies"], *extras, *project["build-system"]["requires"]]
    return sorted({named(requirement) for requirement in every} - {"patchwords"})


def test_every_dependency_is_pinned_and_explained(pins: dict[str, str], wanted: list[str]) -> None:
    page = normal((REPOSITORY / "docs" / "dependencies.md").read_text())
    assert [name for name in wanted if name not in pins] == []
    assert [name for name in wanted if name not in page] == []


def test_every_installed_version_is_the_pinned_one(pins: dict[str, str]) -> None:
    packages = metadata.distributions(path=[sysconfig.get_path("purelib")])  # setuptools adds its own to sys.path
    installed = {normal(d.metadata["Name"]): d.version.partition("+")[0] for d in packages}
    assert "torch" in installed
    for each in ("patchwords", "pip"):
        installed.pop(each, None)
    assert {name: version for name, version in installed.items() if pins.get(name) != version} == {}
    assert [name for name in pins if name.startswith(("nvidia", "triton", "cuda"))] == []


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what set-up reads, with a python that makes an environment whose pip notes what it is asked."""
    root = tmp_path / "a copy"
    (root / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "python").write_text(
        f"""#!/bin/sh
echo "$@" >> "{root}/calls"
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip"*) ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""
    )
    (root / "python").chmod(0o755)
    return root


def set_up(root: Path, extras: str = "all", **environment: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": str(root / "python")} | environment
    command = [str(root / "scripts" / "setup"), extras]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, cwd="/")


def installs(root: Path) -> list[str]:
    return [line for line in (root / "calls").read_text().splitlines() if "pip install" in line]


def test_setup_says_what_it_does_once_and_nothing_when_it_is_done(copy: Path) -> None:
    first = set_up(copy)
    assert first.returncode == 0, first.stderr
    assert "making the virtual environment" in first.stdout and "done" in first.stdout
    assert len(installs(copy)) == 1 and installs(copy)[0].endswith("-c constraints.txt -e .[all]")
    second = set_up(copy)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(installs(copy)) == 1


def test_setup_installs_again_when_a_version_changes(copy: Path) -> None:
    set_up(copy)
    with open(copy / "constraints.txt", "a") as constraints:
        constraints.write("zzz==1\n")
    assert "installing" in set_up(copy).stdout
    assert len(installs(copy)) == 2


def test_setup_refuses_an_old_python_in_one_line(copy: Path) -> None:
    (copy / "python").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    done = set_up(copy)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Python 3.9.2 is too old") and done.stderr.count("\n") == 1
