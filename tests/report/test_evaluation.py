"""`eval --report`: the same numbers as `eval` prints, mistakes with pictures and maps, names as text."""

from __future__ import annotations

import pytest

import patchwords as pw
from tests.command_line import assert_one_line, call
from tests.conftest import draw_folder
from tests.report.browser import opened
from tests.report.tiny import HOSTILE, Parsed


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("eval") / "eval.html"
    data = draw_folder(out.parent / "data", ("bar", "dot", "ring", HOSTILE.replace("/", "")), per_class=6)
    answer = call("eval", run, data, "--report", out)
    assert answer.code == 0, answer.err
    return out, answer, pw.evaluate(run, str(data))


def test_the_page_says_what_eval_says(page):
    out, answer, measured = page
    made = Parsed(out.read_text())
    key = {row[0]: row[1] for row in made.tables["Key numbers"]}
    assert f"report {out}" in answer.out
    assert key["pictures"] == str(measured.total) == "24" and key["right"] == str(measured.correct)
    assert float(next(value for name, value in key.items() if name.startswith("expected"))) == pytest.approx(
        measured.ece
    )
    classes = made.tables["Every class"][1:]
    assert [row[0] for row in classes] == list(measured.classes)
    for row, wanted in zip(classes, measured.per_class(), strict=True):
        assert [float(cell) for cell in row[1:4]] == pytest.approx([wanted[n] for n in ("precision", "recall", "f1")])
    mistakes = made.tables["Worst mistakes, most certain first"][1:]
    assert [row[1] for row in mistakes] == [mistake.path for mistake in measured.mistakes]
    assert f"{measured.correct} of 24 pictures right" in made.text and "95 % interval" in made.text
    assert "6 pictures are of classes that the model does not know" in made.text and HOSTILE in made.text


def test_each_mistake_has_its_picture_and_a_map(page):
    out, _, measured = page
    images = [attributes for name, attributes in Parsed(out.read_text()).elements if name == "img"]
    assert len(images) == 2 * len(measured.mistakes) > 0
    assert all(each["src"].startswith("data:image/png;base64,") for each in images)
    assert any("what speaks for" in each["alt"] for each in images)


def test_in_chromium(page, tmp_path):
    with opened(page[0], tmp_path / "profile", 390) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
        assert seen.page.title() == "run on the test pictures of data"
    assert seen.messages == [] and seen.requests == []


def test_no_page_where_none_can_be(run, tmp_path):
    assert_one_line(call("eval", run, "--report", tmp_path), 73, "is a folder")
    assert_one_line(call("eval", run, "--report", tmp_path / "no" / "x.html"), 73, "there is no folder")
