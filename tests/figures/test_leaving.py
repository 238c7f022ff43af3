"""How figures leave: the same bytes each time, SVGs that ask for nothing and fit into any page, names as plain text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib
from PIL import Image

from patchwords import figures
from patchwords.figures.text import plain
from tests.figures import looks, results

NAMES = sorted(results.cases("smallest"))
HOSTILE = (
    "$math$ and $\\frac{1}{2}$",
    "<img src=x onerror=alert(1)>",
    "]]> & </svg><script>alert(1)</script>",
    "a line\nand another\x00\x1b[31m",
    "\u202eright to left\u2066",
    "emoji 🦆 and 汉字",
    "x" * 200,
    "",
)


@pytest.fixture(scope="module")
def usual():
    return results.cases("usual")


def drawn(case: results.Case, width: float = figures.NARROW_IN):
    draw, result, options = case
    figure = figures.new_figure(width)
    draw(result, figure, **options)
    return figure


@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_whatever_the_user_prefers(usual, name):
    figure = drawn(usual[name])
    first = (figures.png(figure, dpi=60), figures.svg(figure))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "image.cmap": "jet", "text.parse_math": True}):
        again = drawn(usual[name])
        assert (figures.png(again, dpi=60), figures.svg(again)) == first


@pytest.mark.parametrize("name", NAMES)
def test_svg_stands_in_any_page(usual, name):
    text = figures.svg(drawn(usual[name])).decode()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("role") == "img" and root.get("aria-label")
    assert not re.search(r"<style|<script|<!DOCTYPE|<metadata|131416|#000000", text)
    assert "currentColor" in text and "<text" in text
    links = re.findall(r"href=\"(.{0,12})", text) + re.findall(r"url\((.)", text)
    assert all(link.startswith(("data:image/p", "#")) for link in links)
    ids, used = re.findall(r" id=\"([^\"]+)\"", text), re.findall(r"(?:url\(|href=\")#([^\")]+)", text)
    assert set(used) <= set(ids) and not any(each.startswith(("axes", "figure", "text")) for each in ids)


def test_png_is_white_and_svg_transparent(usual):
    figure = drawn(usual["distance"])
    image = np.asarray(Image.open(BytesIO(figures.png(figure))).convert("RGBA"))
    assert (image[0, 0] == 255).all() and image.shape[1] == round(figures.NARROW_IN * 200)
    background = re.search(r"<path [^>]*style=\"fill: #ffffff", figures.svg(figure).decode())
    assert background is None


def test_hostile_names_are_plain_text():
    judged = results.evaluation(HOSTILE, 200)
    photos = results.photographs(3)
    asked = results.attributions(2, (32, 32), 3)
    shown: list[results.Case] = [
        (figures.draw_confusion, judged, {}),
        (figures.draw_accuracy, judged, {}),
        (figures.draw_confusion, results.evaluation(HOSTILE * 4, 900), {}),
        (figures.draw_rollout, results.rollout(2, 3, (4, 4)), {"pictures": photos, "names": HOSTILE}),
        (figures.draw_attribution, asked, {"pictures": photos, "picture": [0, 1], "classes": HOSTILE}),
        (figures.draw_lens, results.lens(2, 3, (4, 4)), {"pictures": photos, "classes": HOSTILE}),
        (figures.draw_similarity, results.similarity(4, 4, False), {"names": HOSTILE[:2]}),
        (
            figures.draw_nearest,
            results.neighbours(3, 3, 8),
            {"queries": photos, "pictures": photos * 3, "query_names": HOSTILE, "names": HOSTILE},
        ),
    ]
    for case in shown:
        figure = drawn(case, 7.0)
        found = looks.letters(figure)
        assert looks.cut(figure, found) == [] and looks.overlaps(figure, found) == []
        assert not any(text.get_parse_math() for text, *_ in found)
        figures.png(figure, dpi=50)
        root = ElementTree.fromstring(figures.svg(figure).decode())
        assert not {element.tag.split("}")[1] for element in root.iter()} & {"img", "script", "foreignObject"}
    words = looks.said(drawn(shown[1], figures.WIDE_IN))
    assert "$math$ and $\\frac{1}{2}$" in words and "<img src=x" in words and "🦆" in words


@pytest.mark.parametrize("name", HOSTILE)
def test_plain_is_one_line_of_known_length(name):
    line = plain(name, 12)
    assert len(line) <= 12 and "\n" not in line and all(ord(c) >= 32 and c not in "\u202e\u2066" for c in line)


def test_matplotlib_is_asked_for_only_when_drawing(monkeypatch):
    import sys

    from patchwords.errors import ConfigError

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ConfigError, match=r"patchwords\[plot\]"):
        figures.new_figure()
