"""The report of a study: its tables are the numbers, its figures are readable, its page is safe and stands alone."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import time

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from patchwords import figures
from patchwords.figures import study as drawn
from patchwords.study.page import write_report
from patchwords.study.results import Results
from patchwords.study.statistics import summarise
from patchwords.study.verdict import verdict
from tests.figures import looks
from tests.report.browser import opened
from tests.report.tiny import HOSTILE, Parsed
from tests.study import made

DRAWINGS = ("learning", "compute", "split", "shift")


@functools.cache
def usual() -> Results:
    return made.study(pictures=300)


@functools.cache
def large() -> Results:
    """Seven models and a checkpoint, two levels of augmentation, long names."""
    names = ("vit_tiny_patch4_32", "cnn", "hybrid", "mlp", "mixer", "local", "lstm")
    plain = made.study({name: made.CURVES["cnn"] for name in names}, pictures=100)
    strong = [dataclasses.replace(cell, augment="strong") for cell in plain.cells]
    tuned = [dataclasses.replace(cell, model="runs/of a long name/cifar10-vit-small", arm="transfer")
             for cell in plain.cells if cell.model == "cnn"]  # fmt: skip
    return Results(plain.question, plain.classes, (*plain.cells, *strong, *tuned))


@functools.cache
def smallest() -> Results:
    cell = made.cell("vit", 10, 0, np.arange(20) < 13, votes=np.arange(20) % 3, shift_consistency=0.5, curve=())
    return Results({}, ("a", "b", "c"), (cell, dataclasses.replace(cell, seed=1)))


@functools.cache
def summary_of(kind):
    return summarise(kind(), 20)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "out"
    usual_again = made.study(pictures=300)
    return folder, write_report(usual_again, folder, resamples=100)


def test_the_tables_are_the_numbers(written):
    folder, summary = written
    page = Parsed((folder / "report.html").read_text())
    rows = page.tables["Right answers, best first at each size"][1:]
    scores = [score for size in summary.sizes for score in summary.at(size)]
    assert len(rows) == len(scores) == 16
    for row, score in zip(rows, scores, strict=True):
        assert row[:2] == [str(score.size), score.entry.model]
        numbers = [100 * score.mean, 100 * score.low, 100 * score.high, 100 * score.sd, score.seeds]
        assert [float(cell) for cell in row[2:7]] == pytest.approx(numbers, rel=1e-8)
        assert float(row[8]) == pytest.approx(score.flops / 1e12) and int(row[9]) == score.parameters
    tests = page.tables["Paired tests, corrected for all 24 of them (Holm)"][1:]
    assert [row[6] for row in tests] == ["yes" if pair.significant else "no" for pair in summary.pairs]
    assert [float(row[7]) for row in tests] == pytest.approx([pair.holm for pair in summary.pairs])
    met = page.tables["Crossings of learning curves"][1:]
    assert [row[2] for row in met] == [each.state for each in summary.crossings]


def test_files_beside_the_page(written):
    folder, summary = written
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    assert float(rows[0]["top1"]) == pytest.approx(summary.at(500)[0].mean)
    assert {path.name for path in folder.glob("*.csv")} == {
        "scores.csv", "pairs.csv", "crossings.csv", "equal_flops.csv", "split.csv"
    }  # fmt: skip
    told = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert told["verdict"] == verdict(summary).lines() and len(told["pairs"]) == 24
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in DRAWINGS for kind in ("png", "svg")
    }


def test_every_sentence_of_the_verdict_is_on_the_page(written):
    folder, summary = written
    shown = Parsed((folder / "report.html").read_text()).text
    for sentence in verdict(summary).lines():
        assert sentence in shown
    assert "every model saw the same number of training samples" in shown and "0.0003, 0.001, 0.003" in shown


def test_the_same_results_give_the_same_bytes(tmp_path):
    results = made.study({"a": (0.5, 0.6), "b": (0.6, 0.5)}, sizes=(10, 20), pictures=80)
    for name in ("one", "two"):
        write_report(results, tmp_path / name, resamples=50)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 15
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_names_of_models_are_text(tmp_path):
    results = made.study({HOSTILE: (0.5, 0.6), "=b": (0.6, 0.5)}, sizes=(10, 20), pictures=50, data=f"/x/{HOSTILE}")
    write_report(results, tmp_path, resamples=30)
    page = Parsed((tmp_path / "report.html").read_text())
    assert HOSTILE in page.text and not any(name == "img" and "onerror" in found for name, found in page.elements)
    assert ",'=b," in (tmp_path / "scores.csv").read_text()


def test_nothing_is_done_yet(tmp_path):
    write_report(Results({"models": ["vit"]}, ("a",)), tmp_path, resamples=10)
    assert "Nothing is done yet." in Parsed((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize("width", [390, 1440])
def test_in_chromium(written, width, tmp_path):
    with opened(written[0] / "report.html", tmp_path / "profile", width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        assert seen.page.title() == "cnn, hybrid, vit, mlp on cifar10"
        seen.page.click("#scores th:nth-child(3) button")  # sorts
        assert seen.page.locator("#verdict .says p").first.inner_text().startswith("With 500 pictures")
    assert seen.messages == [] and seen.requests == []


@pytest.mark.parametrize("width", [figures.NARROW_IN, figures.WIDE_IN], ids=["telephone", "page"])
@pytest.mark.parametrize("kind", [usual, large, smallest], ids=lambda kind: kind.__name__)
def test_nothing_in_a_figure_is_cut_or_covered(kind, width):
    summary = summary_of(kind)
    for name in DRAWINGS:
        figure = figures.new_figure(width)
        start = time.process_time()
        getattr(drawn, f"draw_{name}")(summary, figure)
        assert time.process_time() - start < 2
        assert figure.get_size_inches()[0] == pytest.approx(width)
        found = looks.letters(figure)
        assert looks.cut(figure, found) == [] and looks.overlaps(figure, found) == [], name
        assert looks.unlabelled(figure) == [] and min(text.get_size() for text, *_ in found) >= 7


def test_figures_show_the_numbers():
    summary = summary_of(usual)
    figure = figures.new_figure(7)
    drawn.draw_learning(summary, figure)
    (axes,) = figure.axes
    for entry, line in zip(
        summary.entries, [line for line in axes.lines if len(line.get_xdata()) == 4][::3], strict=True
    ):
        means = [100 * score.mean for score in summary.scores if score.entry == entry]
        assert line.get_ydata() == pytest.approx(means)
    figure = figures.new_figure(7)
    drawn.draw_split(summary, figure)
    for axes, size in zip(figure.axes, summary.sizes, strict=True):
        here = [each for each in summary.decompositions if each.size == size]
        ends = [bar.get_x() + bar.get_width() for bar in axes.patches[len(here) :]]
        assert ends == pytest.approx([100 * each.error for each in here])


def test_every_model_looks_different():
    shown = drawn.looks_of(summary_of(large).level("none").entries)
    told = {(str(look["color"]), look["marker"], str(look["linestyle"])) for look in shown.values()}
    assert len(told) == len(shown) == 8
