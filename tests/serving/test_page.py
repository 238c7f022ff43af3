"""The page as people use it, in Chromium: what it shows, that it is quick, and that nothing planted in a name runs."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import patchwords as pw
from patchwords.inspection import attention_distance, attention_maps, attention_rollout

from ..inspection.tiny import tiny_cnn, tiny_vit
from .browser import Tab, launched, opened, saved, server
from .site import loaded, running

CLASSES = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\u202egnp.exe",
    "plain & simple",
    "a very long name " * 12,
    "sixth",
)
GRID = (4, 6)
NAME = "<img src=x onerror=alert(3)>.png"


def photograph(size: tuple[int, int] = (64, 96), seed: int = 3) -> bytes:
    """A PNG of soft coloured spots."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (6, 9, 3), np.uint8))
    out = io.BytesIO()
    small.resize(size[::-1], Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 4 x 6 patches, 3 layers of 2 heads, with hostile class names."""
    folder = tmp_path_factory.mktemp("models") / "first"
    options = dict(image_size=(32, 48), patch_size=(8, 8), dim=24, depth=3, num_heads=2, mlp_dim=32)
    return saved(folder, CLASSES, **options)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2 x 3 patches that averages them: no class token, 6 layers."""
    folder = tmp_path_factory.mktemp("models") / "second"
    options = dict(image_size=(32, 48), patch_size=(16, 16), dim=16, depth=6, num_heads=4, mlp_dim=32, seed=1)
    return saved(folder, ("one", "two", "three"), class_token=False, pool="mean", **options)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / NAME
    path.write_bytes(photograph())
    return path


@pytest.fixture(scope="module")
def site(small: Path, given: Path) -> Iterator[str]:
    """Address of a server of the small model with one picture."""
    with server(small, given) as (address, _):
        yield address


@pytest.fixture(scope="module")
def pair(small: Path, other: Path, given: Path) -> Iterator[str]:
    """Address of a server of both models."""
    with server(small, given, "--compare", other) as (address, _):
        yield address


def pixels_of(model: Path, content: bytes) -> tuple[Any, Any]:
    """The model, and its input for a picture."""
    opened_model = pw.load(model)
    return opened_model.model, opened_model.preprocess.normalize(opened_model.preprocess.pixels(content)[None])


def shares(text: str) -> list[float]:
    return [float(found) / 100 for found in re.findall(r"([\d.]+) %", text)]


def test_a_dropped_picture_is_seen_and_names_are_text(chromium: Any, site: str, small: Path) -> None:
    content = photograph(seed=8)
    with opened(chromium, site) as tab:
        tab.ready()
        tab.drop(content, NAME)
        tab.page.wait_for_function("() => document.querySelectorAll('.pick').length === 2")
        tab.ready()
        model, pixels = pixels_of(small, content)
        best = model(pixels).softmax(-1)[0].detach()
        first = tab.page.locator(".class").first
        assert abs(shares(first.inner_text().replace("\u00a0", " "))[0] - float(best.max())) < 1e-3
        names = tab.page.locator(".class .name").all_inner_texts()
        assert CLASSES[0] in names and CLASSES[1] in names and CLASSES[3] in names
        assert not any("\u202e" in name for name in names)
        assert tab.page.locator(".pick").first.get_attribute("title") == NAME
        assert tab.page.locator("img:not([src^='/']), main script").count() == 0
        assert "picture=" in tab.page.url
        tab.page.reload()
        tab.ready()
        tab.shot("small-1440")


def test_the_page_trusts_no_name_of_the_server(chromium: Any, site: str) -> None:
    names = ("<img src=x onerror=alert(1)>", "\u202etxt.exe\u0007", "javascript:alert(1)")
    labels = [{"index": i, "class": name, "logit": 1.0, "probability": 0.3} for i, name in enumerate(names)]
    with opened(chromium, site) as tab:
        tab.page.route("**/api/predict*", lambda route: route.fulfill(json={"labels": labels, "classes": 6}))
        tab.page.reload()
        tab.ready()
        shown = tab.page.locator(".class .name").all_inner_texts()
        assert shown == [names[0], "\ufffdtxt.exe\ufffd", names[2]]


def test_hovering_shows_exactly_the_models_attention(chromium: Any, site: str, small: Path) -> None:
    model, pixels = pixels_of(small, photograph())
    maps = attention_maps(model, pixels, (1, 4)).maps
    with opened(chromium, site, "#layer=2&head=2") as tab:
        tab.ready()
        asked = len(tab.requests)
        tab.hover(1, 4, GRID)
        text, expected = tab.text(".readout"), maps[1, 0, 1]
        row, column = np.unravel_index(expected.argmax(), GRID)
        where = "itself" if (row, column) == (1, 4) else f"row {row + 1}, column {column + 1}"
        assert text.startswith(f"Row 2, column 5 looks most at {where} ({100 * expected.max():#.3g} %)"), text
        drawn = tab.page.evaluate("""() => { const c = document.querySelector(".map");
            return Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data); }""")
        green = np.array(drawn).reshape(*GRID, 4)[..., 1]  # grows with the value in this scale
        order = np.argsort(expected.ravel(), kind="stable")
        assert (np.diff(green.ravel()[order].astype(int)) >= 0).all()
        for number in range(GRID[0] * GRID[1]):
            tab.hover(*divmod(number, GRID[1]), GRID)
        assert len(tab.requests) == asked
        assert tab.page.evaluate("Math.max(...window.drawn)") < 100


def test_which_head_of_layer_1_looks_furthest(chromium: Any, site: str, small: Path) -> None:
    model, pixels = pixels_of(small, photograph())
    distance = attention_distance(model, pixels).distance_px
    with opened(chromium, site) as tab:
        tab.ready()
        tab.page.select_option("#only", "1")
        furthest = tab.page.locator("#all .thumb").first
        head = int(distance[0].argmax()) + 1
        assert furthest.locator(".label").inner_text() == f"1 · {head}"
        assert abs(float(furthest.locator(".px").inner_text().split()[0]) - distance[0].max()) < 0.06
        assert "furthest" in tab.page.locator(f"#heads .thumb:nth-child({head + 1})").get_attribute("aria-label")
        tab.page.select_option("#only", "")
        listed = tab.page.locator("#all .px").all_inner_texts()
        values = [float(text.split()[0]) for text in listed]
        assert values == sorted(values, reverse=True) and len(values) == distance.size
        furthest.click()
        layer, head = np.unravel_index(distance.argmax(), distance.shape)
        assert f"head={head + 1}" in tab.page.url and tab.text("#heads-title") == f"Heads of layer {layer + 1}"


def test_keys_go_everywhere(chromium: Any, site: str) -> None:
    with opened(chromium, site) as tab:
        tab.ready()
        press = tab.page.keyboard.press
        for _ in range(30):
            press("Tab")
            if tab.page.evaluate("document.activeElement.classList.contains('frame')"):
                break
        else:
            pytest.fail("the picture cannot be reached with the Tab key")
        assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        for key in ("ArrowDown", "ArrowDown", "ArrowRight", "PageUp", ".", "."):
            press(key)
        tab.settle()
        assert tab.text(".readout").startswith("Row 4, column 5")
        assert tab.text("#depth-name") == "layer 2 of 3"
        assert tab.page.locator("#heads [aria-pressed=true] .label").inner_text() == "head 2"
        tab.page.wait_for_function("() => location.hash.includes('query=4%2C5')")
        assert "layer 2, head 2" in tab.text("#live")
        press("Escape")
        tab.settle()
        assert tab.text(".readout").startswith("Class token")
        tab.page.focus("#tab-attention")
        press("ArrowRight")
        tab.ready()
        assert "view=rollout" in tab.page.url


def test_the_address_restores_the_view_and_back_goes_back(chromium: Any, site: str) -> None:
    with opened(chromium, site, "#layer=3&head=1&query=2,6&scale=common&style=light&opacity=35") as tab:
        tab.ready()
        assert tab.text("#depth-name") == "layer 3 of 3" and tab.text(".readout").startswith("Row 2, column 6")
        assert [tab.page.input_value(f"#{name}") for name in ("scale", "style", "opacity")] == ["common", "light", "35"]
        tab.page.click("#tab-rollout")
        tab.page.select_option("#fusion", "max")
        tab.ready()
        tab.page.go_back()
        assert tab.page.input_value("#fusion") == "mean"
        tab.page.go_back()
        tab.ready()
        assert tab.page.get_attribute("#tab-attention", "aria-selected") == "true"
        assert tab.text("#depth-name") == "layer 3 of 3"
    nonsense = "#model=9&compare=__proto__&layer=999&head=77&query=9,99&view=nothing&target=-4&opacity=9999&picture=%00"
    with opened(chromium, site, nonsense.replace("&picture=%00", "")) as tab:
        tab.ready()
        assert tab.text(".readout").startswith("Class token")


def test_rollout_is_that_of_the_library(chromium: Any, site: str, small: Path) -> None:
    model, pixels = pixels_of(small, photograph())
    expected = attention_rollout(model, pixels, fusion="max").maps[-1, 0]
    with opened(chromium, site, "#view=rollout&fusion=max") as tab:
        tab.ready()
        tab.page.wait_for_function("() => document.querySelector('.readout').textContent.startsWith('Class')")
        assert f"({100 * expected.max():#.3g} %)" in tab.text(".readout")
        tab.hover(0, 0, GRID)
        assert tab.text(".readout").startswith("Row 1, column 1 is mostly made of")


def test_a_class_says_what_speaks_for_it_and_whether_that_beats_chance(chromium: Any, site: str) -> None:
    with opened(chromium, site) as tab:
        tab.ready()
        tab.page.locator(".class").nth(1).click()
        name = tab.page.locator(".class .name").nth(1).inner_text()
        tab.ready()
        assert "view=attribution" in tab.page.url and f"What speaks for {name}" in tab.text("#about")
        tab.page.get_by_text("Measure all methods").click()
        tab.page.wait_for_function("() => document.querySelectorAll('.verdict.good, .verdict.bad').length === 6")
        for text in tab.page.locator(".method").all_inner_texts():
            assert re.search(r"explains (no )?more than chance", text) and re.search(r"deletion [\d.]+ \(chance", text)
        tab.page.locator(".method").nth(1).click()
        tab.ready()
        tab.hover(2, 2, GRID)
        assert re.match(r"Row 3, column 3: −?[\d.e −]+\. Asked about", tab.text(".readout"))
        tab.shot("small-attribution", whole=True)
        tab.page.click("#tab-patches")
        tab.ready()
        tab.hover(2, 2, GRID)
        assert re.match(r"Row 3, column 3: [\d.e −]+ %\.", tab.text(".readout"))
        tab.page.click("#tab-receptive")
        tab.ready()
        assert "centre token" in tab.text(".readout")


def test_two_models_are_asked_about_the_same_place(chromium: Any, pair: str) -> None:
    with opened(chromium, pair, "#layer=3&head=2") as tab:
        tab.ready(2)
        assert tab.page.locator(".answer").count() == 2
        asked = len(tab.requests)
        tab.hover(3, 4, GRID)
        assert tab.page.locator(".readout").nth(0).inner_text().startswith("Row 4, column 5")
        assert tab.page.locator(".readout").nth(1).inner_text().startswith("Row 2, column 3")
        tab.hover(0, 0, (2, 3), stage=1)
        assert tab.page.locator(".readout").nth(0).inner_text().startswith("Row 2, column 2")
        assert len(tab.requests) == asked
        tab.page.locator("#sides button").nth(1).click()
        assert tab.text("#heads-title") == "Heads of layer 6"
        assert tab.page.locator("#heads .thumb").count() == 5
        tab.shot("pair-1440")
        tab.page.select_option("#model", "1")
        tab.ready(2)
        assert tab.page.input_value("#compare") == "0"
        tab.page.select_option("#compare", "")
        tab.ready(1)


def test_a_model_without_attention_shows_what_it_can(chromium: Any) -> None:
    with running(loaded(tiny_cnn())) as port, opened(chromium, f"http://127.0.0.1:{port}") as tab:
        assert "Drop a picture here" in tab.text(".empty")
        assert tab.page.is_disabled("#png")
        tab.shot("empty-1440")
        tab.drop(photograph(), "x.png")
        tab.ready()
        tab.page.wait_for_function("() => document.querySelector('.readout').textContent.includes('No attention')")
        assert tab.page.locator("#layers .thumb").count() > 1
        tab.page.click("#tab-attribution")
        tab.ready()
        assert tab.page.locator(".method").count() == 5


def test_attention_pooling_can_be_asked(chromium: Any) -> None:
    model = tiny_vit(pool="map", class_token=False)
    with running(loaded(model)) as port, opened(chromium, f"http://127.0.0.1:{port}", "#query=pooling&head=2") as tab:
        tab.drop(photograph((12, 8)), "x.png")
        tab.ready()
        tab.page.select_option("#asked", "pooling")
        tab.settle()
        told = tab.text(".readout")
        content = Image.open(io.BytesIO(photograph((12, 8))))
        pixels = loaded(model).preprocess.normalize(torch.from_numpy(np.array(content)).permute(2, 0, 1)[None])
        expected = attention_maps(model, pixels).pool_maps[0, 1]
        assert told.startswith("Attention pooling looks most at") and f"({100 * expected.max():#.3g} %)" in told


def test_a_picture_dropped_before_the_page_stands_is_taken(chromium: Any) -> None:
    with running(loaded(tiny_vit())) as port:
        tab = Tab(chromium, "about:blank")
        held: list[Any] = []
        tab.page.route("**/api/state*", lambda route: held.append(route))
        with tab.page.expect_request("**/api/state*"):
            tab.page.goto(f"http://127.0.0.1:{port}/")
        tab.drop(photograph((12, 8)), "early.png")
        assert held and tab.page.locator(".pick").count() == 0
        held[0].continue_()
        tab.ready()
        assert tab.page.locator(".pick").get_attribute("title") == "early.png"
        tab.context.close()


def test_a_bad_picture_and_a_lost_server_are_told_in_a_line(chromium: Any, small: Path, given: Path) -> None:
    with server(small, given) as (address, process):
        tab = Tab(chromium, address)
        tab.ready()
        tab.drop(b"not a picture at all", "<b>bad</b>.png")
        tab.page.wait_for_selector("#alert:not([hidden])")
        told = tab.text("#alert-text")
        assert "<b>bad</b>.png" in told and "Traceback" not in told and "\n" not in told.strip()
        assert tab.page.locator(".frame").count() == 1
        tab.page.click("#alert-close")
        assert tab.page.locator("#alert").is_hidden()
        process.terminate()
        process.wait(20)
        tab.hover(1, 1, GRID)
        assert tab.text(".readout").startswith("Row 2, column 2")
        tab.page.click("#tab-rollout")
        tab.page.wait_for_selector("#alert:not([hidden])")
        assert "does not answer" in tab.text("#alert-text") and tab.page.locator("#alert-retry").is_visible()
        assert all("ERR_CONNECTION_REFUSED" in said or "422" in said or "415" in said for said in tab.said), tab.said
        tab.context.close()


def test_what_is_seen_can_be_kept(chromium: Any, site: str, small: Path) -> None:
    with opened(chromium, site, "#layer=2&head=1&query=2,3") as tab:
        tab.ready()
        with tab.page.expect_download() as found:
            tab.page.click("#png")
        with Image.open(found.value.path()) as kept:
            assert kept.format == "PNG" and kept.width == 480 + 20 and kept.height > 320
        with tab.page.expect_download() as found:
            tab.page.click("#npz")
        model, pixels = pixels_of(small, photograph())
        with zipfile.ZipFile(found.value.path()) as archive:
            assert json.loads(str(np.load(archive.open("meta.npy"))))["tokens"] == 25
            weights = np.load(archive.open("weights.npy"))
        expected = attention_maps(model, pixels, (1, 2)).maps[1, 0, 0]
        assert np.allclose(weights[1, 0, 1 + 8, 1:].reshape(GRID), expected, atol=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_in_one_column(chromium: Any, pair: str, scheme: str) -> None:
    phone = dict(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme)
    with opened(chromium, pair, **phone) as tab:
        tab.ready(2)
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
        box = tab.page.locator(".frame").first.bounding_box()
        assert box["width"] > 300
        tab.page.touchscreen.tap(box["x"] + box["width"] * 0.99, box["y"] + box["height"] * 0.01)
        tab.settle()
        assert tab.text(".readout").startswith("Row 1, column 6")
        small = tab.page.evaluate("""() =>
          [...document.querySelectorAll("button, select, a.button, input[type=range]")]
            .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 44)
            .map((each) => each.outerHTML)""")
        assert not small, small
        tab.shot(f"phone-{scheme}", whole=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_told_from_its_ground(chromium: Any, site: str, scheme: str) -> None:
    with opened(chromium, site, color_scheme=scheme) as tab:
        tab.ready()
        inks = ("text", "soft", "accent", "good", "bad")
        pairs = [(ink, on) for ink in inks for on in ("panel", "ground", "tint")]
        pairs += [("text", "sunk"), ("on-accent", "accent"), ("text", "alert")]
        pairs += [("deletion", "tint"), ("insertion", "tint")]
        colours = tab.page.evaluate(
            """(names) => { const style = getComputedStyle(document.documentElement);
            return Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()])); }""",
            sorted({name for pair in pairs for name in pair}),
        )
        for ink, on in pairs:
            assert contrast(colours[ink], colours[on]) >= 4.5, (ink, on, contrast(colours[ink], colours[on]))


def contrast(one: str, other: str) -> float:
    """Contrast of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
def test_vit_s16_is_seen_and_hovered_in_time(chromium: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = dict(image_size=(224, 224), patch_size=(16, 16), dim=384, depth=12, num_heads=6, mlp_dim=1536)
    model = saved(tmp_path / "s16", [f"class {number}" for number in range(1000)], **options)
    (tmp_path / "warm.png").write_bytes(photograph((256, 256)))
    with server(model, tmp_path / "warm.png") as (address, _), opened(chromium, address) as tab:
        tab.ready()
        seconds = []
        for seed in range(3):
            before = tab.page.url
            tab.drop(photograph((480, 640), seed), f"{seed}.png")
            tab.page.wait_for_function("(before) => location.href !== before", arg=before)
            tab.ready()
            seconds.append(tab.page.evaluate("(performance.now() - window.dropped) / 1000"))
        asked = len(tab.requests)
        tab.page.evaluate("window.drawn.length = window.frames_ms.length = 0")
        for number in range(0, 196, 2):
            tab.hover(*divmod(number, 14), (14, 14))
        assert len(tab.requests) == asked
        drawn, frames = (np.array(tab.page.evaluate(f"window.{name}")) for name in ("drawn", "frames_ms"))
        drawn = drawn[drawn > 0.2]  # frames in which a map was drawn, not those of waiting
        with capsys.disabled():
            print(
                f"\nfirst view {np.round(seconds, 2)} s; {len(drawn)} draws ms {told(drawn)}; frames ms {told(frames)}"
            )
        assert min(seconds) < 2.5
        assert np.quantile(drawn, 0.95) < 16.7


def told(values: np.ndarray) -> str:
    return f"median {np.median(values):.1f}, p95 {np.quantile(values, 0.95):.1f}, most {values.max():.1f}"
