"""What each layer would answer: accuracy and agreement by depth, and the answer of each patch by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .axis import layer_places, layer_ticks
from .overlay import as_rgb
from .sheet import Edges, Sheet
from .style import LINES, MARKERS, SEQUENTIAL, SERIES, SMALL_PT, styled
from .subset import spaced, subset_told
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.lens import Lens


@styled
def draw_lens(
    result: Lens,
    figure: Figure,
    *,
    pictures: Sequence[np.ndarray] = (),
    classes: Sequence[str] = (),
    most_pictures: int = 4,
) -> None:
    """Draw accuracy and agreement by layer, then for some pictures the probability each patch gives the class.

    Source: 2108.08810, sec. 7 (what single tokens know); "logit lens".

    Args:
        pictures: (H, W, 3) or (H, W) uint8, the first of those measured; none: no maps.
        classes: names of the classes.
    """
    sheet = Sheet(figure, "What each layer would answer")
    (axes,) = sheet.panels(1, 1, Edges(top=0.1), height=2.2, widest=6.5)
    places, lines = layer_places(result.layers), []
    kinds = (
        ("right answers", result.accuracy),
        ("same answer as the model", result.agreement),
        ("right answers of single patches", result.patch_accuracy),
    )
    for number, (words, share) in enumerate(kinds):
        if np.isfinite(share).any():
            look = {"color": SERIES[number], "marker": MARKERS[number], "linestyle": LINES[number]}
            axes.plot(places, 100 * share, **look)
            lines.append((words, look))
    axes.set_ylim(0, 105)
    axes.set_ylabel("pictures or patches (%)")
    layer_ticks(axes, result.layers)
    sheet.key(lines)
    told = _draw_maps(sheet, result, pictures, classes, most_pictures)
    sheet.note(
        f"Each layer is read by the model's own last norm and head; {result.rank.shape[1]} pictures.",
        told,
    )
    sheet.finish()


def _draw_maps(sheet: Sheet, result: Lens, pictures: Sequence[np.ndarray], classes: Sequence[str], most: int) -> str:
    """Place rows of a picture and its maps; return what is to be said of them."""
    from matplotlib.colors import Normalize

    count = min(len(pictures), len(result.targets), most)
    if not count:
        return ""
    layers = spaced(len(result.layers), int(sheet.room / 0.68) - 1)
    shape, tiles = as_rgb(pictures[0]).shape, []
    for number in range(count):
        target = int(result.targets[number])
        tiles.append(Tile(as_rgb(pictures[number]), classes[target] if len(classes) else f"class {target}"))
        for layer in layers:
            name = text.tile_layer(result.layers[layer]) if number == 0 else ""
            colours = {"norm": Normalize(0, 1), "cmap": SEQUENTIAL}
            tiles.append(Tile(result.maps[layer, number], name, colours))
    drawn = draw_tiles(sheet, tiles, 1 + len(layers), aspect=shape[0] / shape[1], widest=1.1, size=SMALL_PT)
    sheet.scale(drawn[-1], "probability that a patch by itself gives the named class")
    return "Above a picture: the class asked about; above a map: its layer. " + subset_told(
        layers, len(result.layers), "layers"
    )
