"""Attention maps over a picture, layer by layer: what the class token or a patch looks at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .overlay import as_rgb, lit, thumbnail
from .sheet import Sheet
from .style import SEQUENTIAL, styled
from .subset import spaced, subset_told
from .tiles import Tile, draw_tiles, tile_size

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from ..inspection.attention import AttentionMaps


Maps = list[tuple[str, np.ndarray]]
Part = tuple[float, float, float, float]
"""(left, top, width, height) of a picture, as shares of it"""


@styled
def draw_attention(
    result: AttentionMaps,
    figure: Figure,
    *,
    pictures: Sequence[np.ndarray],
    picture: int = 0,
    most_layers: int = 8,
) -> None:
    """Draw the picture, then for each layer the picture lit by attention, and the map itself, mean over heads.

    Shares are told in multiples of the even share 1 / N, so that 1 means "no more than any other patch" on every
    grid. Source: 2010.11929, sec. 4.5 and D.8.

    Args:
        pictures: the model's pictures, (H, W, 3) or (H, W) uint8, as many as in `result`.
        picture: number of the one to draw, from 0.
        most_layers: of more, so many evenly spaced ones are drawn, and the figure says so.
    """
    from matplotlib.colors import Normalize

    shown = as_rgb(pictures[picture])
    maps = result.mean_maps[:, picture]
    layers = spaced(len(maps), most_layers)
    named = [("mean of layers", maps.mean(axis=0)), *((f"layer {layer + 1}", maps[layer]) for layer in layers)]
    if result.pool_maps is not None:
        named.append(("pooling", result.pool_maps[picture].mean(axis=0)))
    even = [(name, values * values.size) for name, values in named]
    sheet = Sheet(figure, f"Where attention goes: {query_words(result.query)}")
    columns = 2 * sheet.columns(len(even), 1.8 if sheet.width < 6 else 2.4)
    aspect = shown.shape[0] / shown.shape[1]
    small = thumbnail(shown, max(tile_size(sheet, columns, aspect)))
    norm = Normalize(0, top_of([values for _, values in even]))
    drawn = draw_tiles(sheet, _tiles(small, even, norm, asked_patch(result)), columns, aspect=aspect)
    sheet.scale(drawn[-1], "attention to a patch, in multiples of the even share (1: as any other)", clipped="high")
    sheet.note(
        f"Mean over {maps_heads(result)}. Pictures: lit where the map is high, each to its own maximum, drawn smoothly "
        "between patches; maps: one colour a patch, one scale for all.",
        _prefix_told(result, picture),
        subset_told(layers, len(maps), "layers"),
    )
    sheet.finish()


def _tiles(shown: np.ndarray, named: Maps, norm: Normalize, asked: Part | None) -> list[Tile]:
    """Return the picture beside the first map, then for each map the picture lit by it, and itself."""
    made = []
    for number, (name, values) in enumerate(named):
        left = Tile(lit(shown, values), name) if number else Tile(shown, "picture", framed=asked)
        made += [left, Tile(values, "" if number else name, {"norm": norm, "cmap": SEQUENTIAL})]
    return made


def asked_patch(result: AttentionMaps) -> Part | None:
    """Return where the patch lies whose attention it is; None when it is no patch."""
    found = re.fullmatch(r"patch \((\d+), (\d+)\)", result.query)
    if found is None:
        return None
    rows, columns = result.maps.shape[-2:]
    return (int(found[2]) - 1) / columns, (int(found[1]) - 1) / rows, 1 / columns, 1 / rows


def top_of(maps: Sequence[np.ndarray], share: float = 0.995) -> float:
    """Return, to two figures, what all but half a per cent of all values stay below; 1 when there is none."""
    values = np.concatenate([np.ravel(one) for one in maps])
    values = values[np.isfinite(values)]
    top = float(f"{np.quantile(values, share):.2g}") if len(values) else 0.0
    return top if top > 0 else 1.0


def query_words(query: str) -> str:
    """Return whose attention it is, in words."""
    return {"class": "class token", "distillation": "distillation token"}.get(query, query)


def maps_heads(result: AttentionMaps) -> str:
    """Return "4 heads"."""
    heads = result.maps.shape[2]
    return f"{heads} heads" if heads != 1 else "1 head"


def _prefix_told(result: AttentionMaps, picture: int) -> str:
    share = result.prefix_share[:, picture].mean(axis=(0, 1)) if len(result.tokens) else np.zeros(0)
    told = [f"{text.percent(float(s))} to the {query_words(t)}" for t, s in zip(result.tokens, share, strict=True)]
    return f"Besides the patches, {text.listed(told)} (mean over layers)." if told else ""
