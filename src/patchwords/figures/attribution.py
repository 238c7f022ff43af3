"""What speaks for a class and what against it: maps of every method over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import text
from .overlay import as_rgb, enlarged, tinted
from .sheet import Sheet
from .style import LABEL_PT, SMALL_PT, styled
from .tiles import Tile, draw_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inspection.attribution import Attribution
    from ..inspection.curves import Curves

METHOD_WORDS = {
    "gradient_rollout": "gradient rollout",
    "integrated_gradients": "integrated grad.",
    "grad_cam": "Grad-CAM",
    "gradient_input": "gradient × input",
}
FOR, AGAINST = np.array([178, 24, 43]) / 255, np.array([33, 102, 172]) / 255


@styled
def draw_attribution(
    result: Attribution | Sequence[Attribution],
    figure: Figure,
    *,
    pictures: Sequence[np.ndarray],
    picture: int | Sequence[int] = 0,
    classes: Sequence[str] = (),
    curves: Curves | None = None,
) -> None:
    """Draw the picture, then in pale greys under the map of each method: red speaks for the class, blue against it.

    Args:
        result: of one method, or of several on the same pictures.
        pictures: (H, W, 3) or (H, W) uint8, as many as in `result`.
        picture: number of the one to draw, from 0, or several numbers.
        classes: names of the classes.
        curves: of the same methods: the figure then says which of them explain anything.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    results = [result] if hasattr(result, "maps") else list(result)
    numbers = [picture] if isinstance(picture, int) else list(picture)
    sheet = Sheet(figure, "What speaks for a class")
    for number in numbers:
        shown = as_rgb(pictures[number])
        target = int(results[0].targets[number])
        name = text.plain(classes[target] if len(classes) else f"class {target}", 40)
        sheet.write(f"{name}: logit {text.number(float(results[0].logits[number]))}", size=LABEL_PT, after=0.02)
        tiles = [Tile(shown, "picture")]
        tiles += [Tile(over(shown, one.maps[number]), METHOD_WORDS.get(one.method, one.method)) for one in results]
        columns = sheet.columns(len(tiles), 0.95)
        draw_tiles(sheet, tiles, columns, aspect=shown.shape[0] / shown.shape[1], widest=1.9, size=SMALL_PT)
    grey = np.full((1, 201, 3), 140, dtype=np.uint8)
    shades = over(grey, np.linspace(-1, 1, 201)[None])[0] / 255
    legend = ScalarMappable(Normalize(-1, 1), ListedColormap(shades))
    sheet.scale(legend, "against (blue) or for (red), share of the largest value of each map", clipped="both")
    sheet.note("Values beyond 99.5 % of a map have the colour of its largest.", _explains_told(curves))
    sheet.finish()


def over(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the picture (H, W, 3) in pale greys under the signed map (rows, columns), as (H, W, 3) uint8."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    size = np.abs(values)
    top = float(np.quantile(size, 0.995)) or float(size.max(initial=0)) or 1.0
    share = enlarged(np.clip(values / top, -1, 1), picture.shape[:2])
    colours = np.where(share[..., None] > 0, FOR, AGAINST)
    return tinted(picture, colours, np.abs(share))


def _explains_told(curves: Curves | None) -> str:
    if curves is None:
        return ""
    found = [METHOD_WORDS.get(m, m) for m, good in zip(curves.methods[:-1], curves.explains, strict=False) if good]
    if not found:
        return "By deletion and insertion none of these maps is better than a random order of patches."
    return f"By deletion and insertion better than a random order of patches: {text.listed(found)}."
