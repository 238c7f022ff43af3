"""A page opened in Chromium, where it and Playwright are there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Seen:
    """What happened in the browser."""

    page: Any
    messages: list[str] = field(default_factory=list)
    """of the console, and errors"""
    requests: list[str] = field(default_factory=list)
    """but the page itself and data: addresses"""


@contextmanager
def opened(path: Path, profile: Path, width: int = 1440, scheme: str = "light") -> Iterator[Seen]:
    """Open the file `path`; skip the test when there is no browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium on the PATH")
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            str(profile), executable_path=program, args=list(ARGUMENTS), color_scheme=scheme,
            viewport={"width": width, "height": 900},
        )  # fmt: skip
        seen = Seen(context.pages[0])
        seen.page.on("console", lambda message: seen.messages.append(message.text))
        seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
        seen.page.on("dialog", lambda dialog: (seen.messages.append(f"dialog {dialog.message}"), dialog.dismiss()))
        address = path.absolute().as_uri()
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(address)
        try:
            yield seen
        finally:
            seen.requests[:] = [url for url in seen.requests if url != address and not url.startswith("data:")]
            context.close()
