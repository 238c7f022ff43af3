"""Similarity of layers (CKA) as a map of squares: one model with itself, or two models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import name_ticks
from .sheet import Edges, Sheet
from .style import SEQUENTIAL, TICK_PT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.similarity import Similarity


TOKENS = {"mean": "the mean of its patches", "cls": "its class token", "all": "all its tokens side by side"}


@styled
def draw_similarity(result: Similarity, figure: Figure, *, names: tuple[str, str] = ("model", "other model")) -> None:
    """Draw linear CKA of each layer with each, first layers at the lower left. Source: 2108.08810, figs. 1 and 2.

    Args:
        names: of the two models; of one model with itself only the first is used.
    """
    from matplotlib.colors import Normalize

    sheet = Sheet(figure, "Which layers see alike")
    down, across = ([text.short_layer(name) for name in layers] for layers in (result.layers, result.other_layers))
    left = 0.35 + max(text.width_in(name, TICK_PT) for name in down)
    low = 0.4 + max(text.width_in(name, TICK_PT) for name in across)
    square = len(down) / len(across)
    aspect = min(max(square, 0.4), 2.0)
    (axes,) = sheet.panels(1, 1, Edges(left, 0.15, 0.1, low), aspect=aspect, widest=5.0 / max(1.0, aspect))
    drawn = axes.imshow(
        result.cka, norm=Normalize(0, 1), cmap=SEQUENTIAL, origin="lower", aspect="auto", interpolation="none"
    )
    axes.spines[:].set_visible(False)
    wide, high = sheet.size_of(axes)
    line = text.height_in("1", TICK_PT)
    name_ticks(axes.yaxis, range(len(down)), down, high, line)
    name_ticks(axes.xaxis, range(len(across)), across, wide, line)
    axes.tick_params(axis="x", rotation=90)
    first, second = ("layer", "layer") if result.same_model else (f"layer of {text.plain(name)}" for name in names)
    axes.set_ylabel(text.fitted(first, high))
    axes.set_xlabel(text.fitted(second, wide))
    sheet.scale(drawn, "linear CKA (1: the same up to rotation and scale)")
    known = result.cka[np.isfinite(result.cka)]
    beyond = known.size and (known.min() < 0 or known.max() > 1)
    tokens = [TOKENS.get(token, token) for token in dict.fromkeys((result.tokens, result.other_tokens))]
    sheet.note(
        f"{result.pictures} pictures, each as {text.listed(tokens)}; minibatches of {result.batch_size}, unbiased.",
        "The estimate leaves 0..1 in places: drawn as the nearer end." if beyond else "",
        "Empty: the layer is the same for all pictures." if known.size < result.cka.size else "",
    )
    sheet.finish()
