"""Levers: the step without each of them is still the step; the levers are put back."""

from __future__ import annotations

import json

import pytest
import torch

from patchwords.bench import levers
from patchwords.cli import main
from patchwords.models import attention, kernels


def test_each_lever_is_measured_and_put_back(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    every = levers.ways_in_bf16
    before = attention.EXPLICIT_TOKENS, kernels.linear, kernels.mkl_is_slow, torch.optim.AdamW
    monkeypatch.setattr(kernels, "ONEDNN_PRODUCT", 0)
    monkeypatch.setattr(levers, "ways_in_bf16", lambda task: (w for w in every(task) if "compiled" not in w[0].side))
    asked = ["--model", "vit_nano_patch4_32", "--batch-size", "4", "--rounds", "1", "--json"]
    assert main(["bench", "step", "--ablate", *asked]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 9 + 1 + kernels.mkl_is_slow() and all(row["passed"] and row["least"] > 0 for row in rows)
    assert len({row["case"] for row in rows}) == 2
    assert (attention.EXPLICIT_TOKENS, kernels.linear, kernels.mkl_is_slow, torch.optim.AdamW) == before
