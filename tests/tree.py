"""The captioned tree of the README, made from the first line of every file.

python -m tests.tree            print it
python -m tests.tree --write    put it between the two marks in README.md
"""

from __future__ import annotations

import ast
import itertools
import json
import sys
from pathlib import Path

from patchwords.architecture import ARCHITECTURES, TITLES
from patchwords.ideas import FURTHER, names

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "src" / "patchwords"
FIGURES = REPOSITORY / "docs" / "argument" / "figures"
MARKS = "<!-- {}: made by `python -m tests.tree --write` -->", "<!-- end of {} -->"
COLUMN = 28

FOLDERS = {
    "benchmarks": "each script says what it measures and prints its figures",
    "docs": "a page for each question",
    "scripts": "what the Makefile calls",
    "tests": "the package's tree again, with a test beside each file; tests/golden: figures made elsewhere",
}
ROOT_FILES = {
    "CHANGELOG.md": "what changed, by version",
    "CONTRIBUTING.md": "how to change something",
    "Makefile": "make demo, test, slow, lint, setup, clean",
    "constraints.txt": "the version of everything that is installed",
    "pyproject.toml": "dependencies, tools and the rules of who may import whom",
}


def caption(path: Path) -> str:
    """Return the caption of a Python module, shell script or Markdown page: its first line of words."""
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#!")]
    return lines[0].lstrip("# ") if lines else ""


def tree() -> str:
    """Return the tree as text."""
    lines = [f"src/patchwords/             {caption(PACKAGE / '__init__.py')}"]
    for path in sorted(PACKAGE.glob("*.py")):
        if path.stem not in ("__init__", "__main__"):
            lines.append(_line(2, path.name, caption(path)))
    for folder in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        lines.append(_line(2, f"{folder.name}/", caption(folder / "__init__.py")))
        lines += [_line(4, path.name, caption(path)) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    for name, about in FOLDERS.items():
        lines.append(_line(0, f"{name}/", about))
        if name != "tests":
            files = [path for path in sorted((REPOSITORY / name).iterdir()) if path.is_file()]
            lines += [_line(2, path.name, caption(path)) for path in files]
    lines += [_line(0, name, about) for name, about in ROOT_FILES.items()]
    return "\n".join(lines)


def _line(indent: int, name: str, about: str) -> str:
    return f"{' ' * indent + name:<{COLUMN}}{about}".rstrip()


def switches() -> str:
    """Return a table for each kind of model, of every setting: name, default, the line under it."""
    told = []
    for kind, settings in ARCHITECTURES.items():
        made, rows = settings(), ["| switch | default | meaning |", "|---|---|---|"]
        (body,) = [node.body for node in ast.parse((PACKAGE / "architecture" / f"{kind}.py").read_text()).body
                   if isinstance(node, ast.ClassDef)]  # fmt: skip
        for field, about in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign):
                default = getattr(made, field.target.id)
                shown = str(default).lower() if isinstance(default, bool) else _plain(default)
                rows.append(f"| `{field.target.id}` | {shown} | {' '.join(about.value.value.split())} |")
        told.append(f"### {TITLES[kind][0].upper()}{TITLES[kind][1:]}: `kind={kind}`\n\n" + "\n".join(rows))
    return "\n\n".join(told)


def ideas() -> str:
    """Return a table of every idea: what is claimed, what came out, and why."""
    rows = ["| | idea | claim | verdict | form | why |", "|---|---|---|---|---|---|"]
    for name in (*names(), *FURTHER):
        told = json.loads((FIGURES / f"{name}.json").read_text())
        verdict = told["verdict"] if told["verdict"] == "confirmed" else f"**{told['verdict']}**"
        cells = [told["number"], f"`{name}`", told["claim"], verdict, told["form"], told["reason"]]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def pages() -> dict[Path, str]:
    """Return {page: the text that it should have}."""
    readme, model, table = REPOSITORY / "README.md", REPOSITORY / "docs" / "model.md", REPOSITORY / "docs" / "ideas.md"
    return {
        readme: _between(readme.read_text(), "tree", f"```\n{tree()}\n```"),
        model: _between(model.read_text(), "switches", f"\n{switches()}\n"),
        table: _between(table.read_text(), "ideas", f"\n{ideas()}\n"),
    }


def _between(text: str, name: str, made: str) -> str:
    begin, end = (mark.format(name) for mark in MARKS)
    assert text.count(begin) == text.count(end) == 1, f"the marks of {name} are not there once"
    return f"{text.partition(begin)[0]}{begin}\n{made}\n{end}{text.partition(end)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        for page, text in pages().items():
            page.write_text(text)
    else:
        print(tree())
