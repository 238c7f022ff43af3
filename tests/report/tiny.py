"""Small models of every kind with pictures to look at, and what a browser makes of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from patchwords.checkpoint import LoadedModel
from patchwords.config import ViTConfig
from patchwords.models import build
from patchwords.preprocess import Preprocess

KINDS: dict[str, dict[str, Any]] = {
    "class token": {},
    "averaged, relative": {"pool": "mean", "class_token": False, "position": "relative", "relative_slope": 1.0},
    "attention pooling": {"pool": "map", "class_token": False, "position": "sincos_2d"},
    "registers, rotary": {"num_registers": 2, "position": "rope"},
    "rectangle": {"image_size": (12, 20), "patch_size": (4, 5), "position": "learned_2d"},
    "no positions": {"position": "none"},
    "no head": {"num_classes": 0},
    "every token answers": {"pool": "none"},
    "one layer": {"depth": 1, "num_heads": 1},
}
HOSTILE = "<img src=x onerror=document.title='ran'>"


def tiny(kind: str = "class token", seed: int = 0, classes: tuple[str, ...] = ("bar", "dot", "ring")) -> LoadedModel:
    """Return an untrained model of one of `KINDS`."""
    settings: dict[str, Any] = dict(image_size=(16, 16), patch_size=(4, 4), dim=16, depth=2, num_heads=2, mlp_dim=24)
    settings |= {"num_classes": len(classes)} | KINDS[kind]
    torch.manual_seed(seed)
    model = build(ViTConfig(**settings))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    names = classes if settings["num_classes"] else ()
    return LoadedModel(model.eval(), names, Preprocess(image_size=settings["image_size"], resize="squash"), {})


def draw_pictures(folder: Path, count: int = 6, side: int = 20) -> list[Path]:
    """Write noise as PNG files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    paths = []
    for number in range(count):
        pixels = torch.randint(0, 256, (side, side, 3), generator=generator, dtype=torch.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.numpy()).save(paths[-1])
    return paths


class Parsed(HTMLParser):
    """What a browser would find in a page: elements, attributes, texts, tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption, self._row, self._open = "", [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._open = tag
        if tag == "tr":
            self._row = []
        elif tag in ("td", "th"):
            self._row.append("")
        elif tag == "data":
            self._row[-1] = dict(attributes)["value"] or ""
            self._open = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append(self._row)
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in ("style", "script"):
            self.texts.append(data)
        if self._open == "caption":
            self._caption = data
        elif self._open in ("td", "th", "button") and self._row:
            self._row[-1] += data

    @property
    def text(self) -> str:
        """All text that is shown."""
        return " ".join(self.texts)
