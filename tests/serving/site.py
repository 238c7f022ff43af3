"""A live page of tiny models: the application in this process, or behind a real server; and its answers unpacked."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient
from torch import nn

from patchwords.checkpoint import LoadedModel
from patchwords.preprocess import Preprocess
from patchwords.serving import Limits, build_app

from ..inspection.tiny import tiny_cnn, tiny_vit

ADDRESS = "http://127.0.0.1:8000"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "two\nlines\r\nSet-Cookie: a=b",
    "\u202egnp.exe",
    "</script>&amp;",
    "e\udc80",
    "n" * 9999,
)


def picture(seed: int = 0, size: tuple[int, int] = (30, 20)) -> bytes:
    """A PNG of noise."""
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()


def loaded(model: nn.Module, classes: Sequence[str] | None = None) -> LoadedModel:
    """The model with names of classes and a preprocessing of its size."""
    names = [f"class {k}" for k in range(model.config.num_classes)] if classes is None else classes
    preprocess = Preprocess(image_size=model.config.image_size, resize="squash")
    return LoadedModel(model, tuple(names), preprocess, {})


def kinds() -> dict[str, LoadedModel]:
    """A tiny model of every kind that the page must show."""
    vits: dict[str, dict[str, Any]] = {
        "class token": {},
        "mean": {"pool": "mean", "class_token": False},
        "attention pooling": {"pool": "map", "class_token": False},
        "registers": {"num_registers": 3},
        "no head": {"num_classes": 0},
        "relative": {"position": "relative"},
        "every token": {"pool": "none", "class_token": False},
    }
    made: dict[str, nn.Module] = {
        name: tiny_vit(number, **options) for number, (name, options) in enumerate(vits.items())
    }
    return {name: loaded(model) for name, model in (made | {"cnn": tiny_cnn()}).items()}


def client_of(*models: LoadedModel, limits: Limits | None = None, given: Sequence[Any] = ()) -> TestClient:
    """A client of an application with `models`, named by their number."""
    app = build_app([(f"model {number}", each) for number, each in enumerate(models)], given, limits, port=8000)
    return TestClient(app, base_url=ADDRESS)


def unpacked(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and meta of a packed answer, read as the page reads it."""
    length = int.from_bytes(content[:4], "little")
    head, at = json.loads(content[4 : 4 + length]), 4 + length
    assert at % 8 == 0
    arrays = {}
    for told in head["arrays"]:
        kind = np.dtype(told["dtype"]).newbyteorder("<")
        count = int(np.prod(told["shape"]))
        arrays[told["name"]] = np.frombuffer(content, kind, count, at).reshape(told["shape"])
        at += -(-count * kind.itemsize // 8) * 8
    assert at == len(content)
    return arrays, head["meta"]


@contextlib.contextmanager
def running(*models: LoadedModel, limits: Limits | None = None, host: str = "127.0.0.1") -> Iterator[int]:
    """Run a real server in a thread and give its port; at the end it must stop by itself."""
    from patchwords.serving import live

    limits = limits or Limits()
    with live._listen(host, 0) as listening:
        port = listening.getsockname()[1]
        app = build_app([(f"model {number}", each) for number, each in enumerate(models)], (), limits, port=port)
        server = live._server(app, "", False, limits)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield port
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
