"""Bench of inference: engines beside each other, int8 and merging apart from the rest, no figure of a wrong answer."""

from __future__ import annotations

import pytest

from patchwords.bench import infer

pytest.importorskip("onnxruntime", reason="needs patchwords[export]")


def test_every_engine_is_checked_and_timed() -> None:
    rows = infer.measure_inference("vit_digits", 3, 2, engines=("torch", "onnx"), merge=2)
    found = {row.case.removeprefix("infer vit_digits"): set() for row in rows}
    for row in rows:
        found[row.case.removeprefix("infer vit_digits")].add(row.side)
        assert row.passed and len(row.seconds) == 2 and len(row.checks) == 2, row
        assert (row.of_peak is None) == row.side.endswith("int8")
    plain = {"patchwords torch fp32", "patchwords torch bf16", "patchwords onnx fp32"}
    assert found[", batch 3"] == found[", merging 2, batch 3"] == plain
    assert found[", int8, batch 3"] == found[", merging 2, int8, batch 3"] == {"patchwords onnx int8"}


def test_away_from_the_processor_torch_alone_is_measured() -> None:
    """ "cpu:0" is such a device, and this processor."""
    rows = infer.measure_inference("vit_digits", 2, 2, device="cpu:0")
    assert {row.side for row in rows} == {"patchwords torch fp32", "patchwords torch bf16"}
    assert all(row.passed and row.of_peak for row in rows)


def test_a_side_that_answers_otherwise_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(infer.BOUNDS, "bf16", 1e-9)
    rows = infer.measure_inference("vit_digits", 2, 2, engines=("torch",))
    right = {row.side: row.passed for row in rows}
    assert right == {"patchwords torch fp32": True, "patchwords torch bf16": False}
    assert [row.seconds for row in rows if not row.passed] == [()]
