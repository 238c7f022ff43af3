"""Promises about the code itself: its size, its captions, what it imports and how fast it answers."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .tree import PACKAGE, REPOSITORY, caption, pages

MODULES = sorted(PACKAGE.rglob("*.py"))
OTHERS = sorted(path for name in ("tests", "benchmarks", "scripts") for path in (REPOSITORY / name).rglob("*.py"))
MOST_LINES, MOST_LINES_ELSEWHERE, MOST_LINES_OF_A_FUNCTION = 400, 500, 60
HELP_SECONDS = 0.3

TORCH_FREE = ("patchwords.cli", "patchwords.config", "patchwords.models.zoo", "patchwords.data.levels")


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_is_short_and_has_a_caption(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    about = caption(path)
    assert 10 <= len(about) <= 120, f"the first line of the docstring is the caption, not {about!r}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= MOST_LINES_OF_A_FUNCTION, node.name


@pytest.mark.parametrize("path", OTHERS, ids=named)
def test_a_test_or_script_is_not_long(path: Path) -> None:
    assert path.read_text().count("\n") <= MOST_LINES_ELSEWHERE


@pytest.mark.parametrize("path", [PACKAGE / "config.py", *sorted((PACKAGE / "architecture").glob("*.py"))], ids=named)
def test_every_setting_says_what_it_means(path: Path) -> None:
    for cls in ast.parse(path.read_text()).body:
        if not (isinstance(cls, ast.ClassDef) and cls.decorator_list):
            continue
        for field, after in zip(cls.body, [*cls.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert told, f"{cls.name}.{field.target.id} has no line under it that says what it means"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_imported_by(module: str) -> None:
    done = python(f"import {module}, sys; print(sorted({{'torch', 'numpy', 'PIL', 'yaml'}} & set(sys.modules)))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_core_needs_only_torch_numpy_pillow_and_safetensors() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    blocked = {"yaml", "rich", "matplotlib"} | {
        name.partition(">")[0].replace("scikit-learn", "sklearn") for name in extras
    }
    done = python(
        f"""
import sys
for name in {sorted(blocked)!r}:
    sys.modules[name] = None
import patchwords as pw, torch
model = pw.create_model("vit_digits", num_classes=3, drop_path=0.1)
print(tuple(model(torch.zeros(2, 1, 8, 8)).shape), pw.model_config("vit_base_patch16_224").dim)
print(len(pw.list_models("vit_base*")) > 5, pw.Preprocess().image_size, pw.RunConfig().train.seed)
"""
    )
    assert (done.stdout, done.stderr) == ("(2, 3) 768\nTrue (224, 224) 0\n", "")


def test_help_answers_in_a_blink() -> None:
    command = [sys.executable, "-m", "patchwords", "--help"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0 and "patchwords COMMAND --help" in done.stdout
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < HELP_SECONDS


def test_imports_go_one_way() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-logo"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_what_pages_say_of_the_code_is_true() -> None:
    for page, text in pages().items():
        assert page.read_text() == text, f"{page.name}: write it anew: python -m tests.tree --write"
