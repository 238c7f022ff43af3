"""Promises of the pages: every block marked `sh run` or `python run` works, every link leads somewhere.

A marked block is run as it stands, in the order of the page, in a folder with `pictures/` (three class folders).
`patchwords train` without a number of steps is given a small one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from patchwords.overrides import all_settings

from .command_line import call
from .conftest import REPOSITORY, draw_folder

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```(sh|python) run\n(.*?)^```$", re.M | re.S)
STEPS = "--train.steps 20 --train.tensorboard false"


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def quick(line: str) -> str:
    """Return a line of shell that trains for a few steps only."""
    return f"{line} {STEPS}" if line.startswith("patchwords train") and "--train.steps" not in line else line


def execute(kind: str, code: str, folder: Path) -> None:
    if kind == "python":
        with contextlib.chdir(folder):
            exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})
        return
    lines = [quick(line) for line in code.splitlines()]
    if all(line.startswith("patchwords ") and not set(line) & set("|<>&;$`*~") for line in lines):
        with contextlib.chdir(folder):  # nothing for a shell to do: in this process, where torch is loaded once
            for line in lines:
                answer = call(*shlex.split(line)[1:])
                assert answer.code == 0, f"{line}\n{answer.out}{answer.err}"
        return
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | nowhere | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    draw_folder(folder / "pictures")
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_marked_blocks_run(page: Path, workplace: Path) -> None:
    for kind, code in blocks(page):
        execute(kind, code, workplace)


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such file or folder"):
        execute("sh", "patchwords audit nowhere\npatchwords models\n", tmp_path)
    with pytest.raises(AssertionError, match="no such file or folder"):
        execute("sh", "patchwords audit nowhere\ntrue\n", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_every_setting_is_explained() -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    settings = [name for name in all_settings() if not name.startswith("model.")]  # tests/tree.py lists those
    assert [name for name in settings if f"`{name}`" not in told] == []
