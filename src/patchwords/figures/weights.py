"""Attention of every token to every token, layer by layer, as the matrix it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import text
from .attention import query_words, top_of
from .sheet import Edges, Sheet
from .style import SEQUENTIAL, styled
from .subset import spaced, subset_told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.attention import AttentionWeights


@styled
def draw_weights(
    result: AttentionWeights, figure: Figure, *, picture: int = 0, most_layers: int = 6, most_tokens: int = 256
) -> None:
    """Draw (query token, key token) for each layer, mean over heads, in multiples of the even share.

    Args:
        picture: number of the one to draw, from 0.
        most_layers: of more, evenly spaced ones are drawn.
        most_tokens: of more, the mean over runs of neighbouring tokens is drawn; the figure says so.
    """
    from matplotlib.colors import Normalize

    weights = result.weights[:, picture].mean(axis=1)
    tokens = weights.shape[-1]
    layers, run = spaced(len(weights), most_layers), -(-tokens // most_tokens)
    matrices = np.stack([pooled(weights[layer], run) for layer in layers]) * tokens
    sheet = Sheet(figure, "Attention of every token to every token")
    edges = Edges(0.55, 0.12, 0.28, 0.46)
    panels = sheet.panels(len(layers), sheet.columns(len(layers), 1.9), edges, aspect=1.0, widest=3.2)
    norm = Normalize(0, top_of([matrices]))
    for axes, layer, matrix in zip(panels, layers, matrices, strict=True):
        extent = (0.5, tokens + 0.5, tokens + 0.5, 0.5)
        drawn = axes.imshow(matrix, norm=norm, cmap=SEQUENTIAL, interpolation="none", aspect="auto", extent=extent)
        axes.set_title(f"layer {layer + 1}")
        places = sorted({1, tokens // 2, tokens} - {0})
        axes.set_xticks(places)
        axes.set_yticks(places)
        axes.set_xlabel("key token")
        axes.set_ylabel("query token")
    sheet.scale(drawn, "attention in multiples of the even share (1: as to any other token)", clipped="high")
    heads = result.weights.shape[2]
    prefix = (
        f"First the {text.listed([query_words(t) for t in result.tokens])}, then patches"
        if result.tokens
        else "The tokens are the patches"
    )
    sheet.note(
        f"Mean over heads ({heads}). {prefix}, row by row of {result.grid[0]} × {result.grid[1]}.",
        f"Each dot is the mean of {run} × {run} neighbours." if run > 1 else "",
        subset_told(layers, len(weights), "layers"),
    )
    sheet.finish()


def pooled(matrix: np.ndarray, run: int) -> np.ndarray:
    """Return the means of blocks of `run` x `run`; the last blocks may be smaller."""
    starts = np.arange(0, len(matrix), run)
    sums = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    counts = np.minimum(run, len(matrix) - starts)
    return sums / counts[:, None] / counts[None]
