"""The page: nothing in it runs or fetches but its own script; names are text; tables sort; both widths and themes."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
import torch

import patchwords as pw
from patchwords import figures
from patchwords.figures.style import styled
from patchwords.report.finding import Sheet
from patchwords.report.inline import inline_svg
from patchwords.report.markup import rounded, sheet, text
from tests.report.browser import opened
from tests.report.tiny import HOSTILE, Parsed, draw_pictures, tiny

SCRIPT = '"><script>document.title="ran"<'  # with the slash of </script> it could be no file


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A page of a model whose classes and pictures have names that would run."""
    work = tmp_path_factory.mktemp("hostile")
    pictures = draw_pictures(work / "pictures", 4)
    pictures[0] = pictures[0].rename(work / "pictures" / f"{SCRIPT}.png")
    pictures[1] = pictures[1].rename(work / "pictures" / "'onload=alert(1) x='.png")
    pictures[3].write_bytes(b"damaged")
    pictures[3] = pictures[3].rename(work / "pictures" / "<svg onload=alert(2)>.png")
    loaded = tiny(classes=(HOSTILE, "</title><script>alert(3)</script>", "&lt;b&gt;"))
    with torch.no_grad():
        loaded.model.head.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    only = ["distance", "attention", "attribution", "lens", "nearest"]
    pw.inspect(loaded, pictures, only=only, out=work / "seen")
    return work / "seen" / "report.html"


def test_names_are_text(hostile):
    page = Parsed(hostile.read_text())
    kinds = {name for name, _ in page.elements}
    assert kinds.isdisjoint({"iframe", "object", "embed", "form", "base", "foreignobject", "animate", "set"})
    assert [name for name, _ in page.elements].count("script") == 1
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
        for key in ("href", "src"):
            value = attributes.get(key) or ""
            assert not value or value.startswith(("#", "data:image/", "data:,")), (name, key, value[:60])
        assert "style" not in attributes, (name, attributes["style"])
    assert HOSTILE in page.text and f"{SCRIPT}.png" in page.text and "<svg onload=alert(2)>.png" in page.text


def test_the_policy_allows_only_what_is_in_the_page(hostile):
    content = hostile.read_text()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', content)[1]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'" and allowed["img-src"] == "data:"
    for element, rule in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{element}>(.*?)</{element}>", content, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert allowed[rule] == f"'sha256-{digest}'"
    assert "http://" not in re.sub(r'xmlns="[^"]*"', "", content) and "https://" not in content


def test_ids_are_unique_and_references_lead_somewhere(hostile):
    page = Parsed(hostile.read_text())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for value in attributes.values():
            for target in re.findall(r"url\(#([^)]+)\)", value or ""):
                assert target in ids, target
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids, target


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_in_chromium(hostile, tmp_path, width, scheme):
    with opened(hostile, tmp_path / "profile", width, scheme) as seen:
        page = seen.page
        assert page.title().startswith("Inside ")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        wide, narrow = (page.locator(f"#distance figure .{kind} svg") for kind in ("wide", "narrow"))
        assert (wide.is_visible(), narrow.is_visible()) == (width > 640, width <= 640)
        ink = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 380) == (scheme == "dark"), ink
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
        page.wait_for_timeout(200)
        assert page.title().startswith("Inside ")
    assert seen.messages == [] and seen.requests == []


def test_the_table_of_heads_sorts_and_filters(hostile, tmp_path):
    with opened(hostile, tmp_path / "profile") as seen:
        page = seen.page
        table = page.locator("#distance table", has_text="Every head")
        distances = (
            "rows => rows.filter(row => !row.hidden).map(row => "
            "[row.cells[0].innerText, Number(row.cells[2].querySelector('data').value)])"
        )
        found = table.locator("tbody tr").evaluate_all(distances)
        assert [layer for layer, _ in found] == ["1", "1", "2", "2"]
        table.locator("thead button", has_text="distance").click()
        values = [value for _, value in table.locator("tbody tr").evaluate_all(distances)]
        assert values == sorted(values, reverse=True)
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
        table.locator("thead button", has_text="distance").click()
        values = [value for _, value in table.locator("tbody tr").evaluate_all(distances)]
        assert values == sorted(values)
        page.locator("#distance select").select_option(label="layer 1")
        found = table.locator("tbody tr").evaluate_all(distances)
        assert {layer for layer, _ in found} == {"1"} and len(found) == 2
    assert seen.messages == []


@styled
def plot(figure) -> None:
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [1, 3, 2], "o")
    axes.set_title("a < b & c")


def test_inline_svg_has_no_style_attribute_and_ids_of_its_own():
    figure = figures.new_figure(width_in=3)
    plot(figure)
    made = inline_svg(figures.svg(figure), "one")
    assert "style=" not in made and "xlink" not in made and made.startswith("<svg")
    assert "a &lt; b &amp; c" in made and 'font-size="' in made and "currentColor" in made
    ids = re.findall(r' id="([^"]+)"', made)
    assert ids and all(each.startswith("one-") for each in ids)
    assert {each[1:] for each in re.findall(r' href="(#[^"]+)"', made)} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", made)) <= set(ids)


def test_numbers_are_shown_short_and_kept_whole():
    assert [rounded(value) for value in (0.0, 0.12345, 1.5, 123.456, 12345.6, 0.00012, -2.5)] == [
        "0.000", "0.123", "1.50", "123.5", "12,346", "0.00012", "−2.50",
    ]  # fmt: skip
    assert rounded(float("nan")) == "–" and rounded(float("inf")) == "∞"
    made = sheet(Sheet("t", [{"a": 1.23456789, "b": "<i>"}], {"a": "A", "b": "B"}))
    assert '<data value="1.23456789">1.23</data>' in made and "&lt;i&gt;" in made
    assert text("a\n\x07<") == "a\\n\\x07&lt;"
