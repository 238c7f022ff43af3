"""The live page in a real browser: a server in a process of its own, Chromium, and what went on in the page."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from patchwords.checkpoint import save_model
from patchwords.config import ViTConfig
from patchwords.models import build
from patchwords.preprocess import Preprocess

CHROMIUM = os.environ.get("PATCHWORDS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
SHOTS = os.environ.get("PATCHWORDS_SHOTS", "")
"""folder for pictures of the page; none are made without it"""
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_WATCH = """
window.drawn = []; window.frames_ms = []; window.pwned = 0; window.alert = () => { window.pwned++; };
const plain = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (callback) => plain((time) => {
  const start = performance.now();
  callback(time);
  window.drawn.push(performance.now() - start);
});
let last = performance.now();
const tick = () => plain(() => {
  const now = performance.now();
  window.frames_ms.push(now - last);
  last = now;
  tick();
});
tick();
"""
_DROP = """async ([bytes, name]) => {
  const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name);
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(file);
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  window.dropped = performance.now();
}"""


def saved(folder: Path, classes: Sequence[str], seed: int = 0, **options: Any) -> Path:
    """Write a ViT with random weights, head included, as a model folder."""
    config = ViTConfig(**(dict(num_classes=len(classes)) | options))
    torch.manual_seed(seed)
    model = build(config)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    preprocess = Preprocess(image_size=config.image_size, resize="squash")
    save_model(folder, config, model.state_dict(), tuple(classes), preprocess, {})
    return folder


@contextlib.contextmanager
def server(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `patchwords inspect ARGUMENTS --live` and give its address and process; it is stopped at the end."""
    command = [sys.executable, "-m", "patchwords", "inspect", *map(str, arguments), "--live", "--no-browser"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found.group().rstrip("/"), process
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """A headless Chromium, or a skip that says what is missing."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    if not CHROMIUM:
        pytest.skip("needs Chromium: install it or set PATCHWORDS_CHROMIUM")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


class Tab:
    """A page of the browser with all that it asked for and said."""

    def __init__(self, browser: Any, address: str, hash: str = "", **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.add_init_script(_WATCH)
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.said.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.goto(f"{address}/{hash}")

    def drop(self, content: bytes, name: str) -> None:
        """Drop a file on the page."""
        self.page.evaluate(_DROP, [base64.b64encode(content).decode(), name])

    def ready(self, stages: int = 1) -> None:
        """Wait until picture, prediction and map are drawn."""
        self.page.wait_for_function(
            """(count) => document.querySelectorAll(".frame").length === count
              && [...document.querySelectorAll(".frame")].every((frame) => frame.querySelector(".map").width > 1
                && frame.querySelector(".photo").width > 1 && !frame.querySelector(".note").textContent)
              && document.querySelectorAll(".answer .class").length > 0""",
            arg=stages,
        )

    def hover(self, row: int, column: int, grid: tuple[int, int], stage: int = 0) -> None:
        """Put the pointer on the middle of a patch, counted from 0."""
        box = self.page.locator(".frame").nth(stage).bounding_box()
        x, y = box["x"] + (column + 0.5) * box["width"] / grid[1], box["y"] + (row + 0.5) * box["height"] / grid[0]
        self.page.mouse.move(x, y)
        self.settle()

    def settle(self) -> None:
        """Wait for two frames."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, where: str) -> str:
        return self.page.locator(where).first.inner_text().replace("\u00a0", " ")

    def shot(self, name: str, whole: bool = False) -> None:
        """Keep a picture of the page, where a folder for it is set."""
        if SHOTS:
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=whole)

    def check(self) -> None:
        """Nothing went wrong, nothing was asked of anybody else, nothing planted ran."""
        assert not self.said, self.said
        assert all(url.startswith((self.address, "blob:", "data:")) for url in self.requests), self.requests
        assert not self.page.evaluate("window.pwned")


@contextlib.contextmanager
def opened(browser: Any, address: str, hash: str = "", **options: Any) -> Iterator[Tab]:
    """Open the page; at the end everything must have gone well."""
    tab = Tab(browser, address, hash, **options)
    try:
        yield tab
        tab.check()
    finally:
        tab.context.close()
