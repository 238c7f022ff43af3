"""Levers: the step without each of them is still the step; the levers are put back."""

from __future__ import annotations

import json

import pytest

from patchwords.bench import levers
from patchwords.cli import main
from patchwords.models import attention, kernels


def test_each_lever_is_measured_and_put_back(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    before, every = (attention.EXPLICIT_TOKENS, kernels.linear), levers.ways
    monkeypatch.setattr(levers, "ways", lambda task: (way for way in every(task) if "compiled" not in way[0].side))
    asked = ["--model", "vit_nano_patch4_32", "--batch-size", "4", "--rounds", "1", "--json"]
    assert main(["bench", "step", "--ablate", *asked]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 8 and all(row["passed"] and row["least"] > 0 for row in rows)
    assert (attention.EXPLICIT_TOKENS, kernels.linear) == before
