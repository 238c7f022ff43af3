"""The command line called in this process, its two outputs as a poor terminal would show them (ASCII only)."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

from patchwords.cli import main

TINY = (
    "--train.steps=2", "--train.batch_size=8", "--model.dim=16", "--model.depth=1", "--model.num_heads=1",
    "--model.mlp_dim=16", "--train.tensorboard=false", "--train.compile=off", "--data.workers=0",
)  # fmt: skip
"""a training of a fraction of a second"""

BESIDE_ERRORS = re.compile(
    r"(data|model|recipe|machine|augment|optimizer|going on|inspecting|reading|checking|auditing|step|epoch|"
    r"warning: |note: |  )"
)
"""what a line on standard error may start with besides `error: `"""


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def call(*argv: object, stdin: bytes = b"") -> Answer:
    """Run `patchwords ARGV...` and return its answer."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", newline="\n")
    err = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", newline="\n")
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(argument) for argument in argv])
            except SystemExit as stop:  # --help
                code = int(stop.code or 0)
    finally:
        sys.stdin = before
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("ascii"))
    return Answer(code, *texts)


def assert_one_line(answer: Answer, code: int, *words: str) -> None:
    """Check the exit code and that the fault is one line, the last, with these words and a way out."""
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err + answer.out and "bug in patchwords" not in answer.err
    assert len(answer.errors) == 1 and answer.err.rstrip("\n").splitlines()[-1] == answer.errors[0], answer.err
    for line in answer.err.splitlines():
        assert line.startswith("error: ") or BESIDE_ERRORS.match(line), line
    for word in words:
        assert word in answer.errors[0], (word, answer.errors[0])
