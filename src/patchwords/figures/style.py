"""How figures look, and the two ways they leave: PNG on white, SVG in the colour of the page around it."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec
from xml.sax.saxutils import quoteattr

from ..errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NARROW_IN, WIDE_IN = 390 / 96, 1200 / 96
"""a telephone and a page, in inches of 96 CSS pixels"""

P = ParamSpec("P")

INK = "#131416"
"""lines and letters; `currentColor` in an SVG"""
QUIET = "#767779"
"""what stands back; readable on white and on black"""
SERIES = ("#2b7bba", "#d55e00", "#00936b", "#b0589c", "#8c7a00", "#6f6f9e")
"""colours of lines and dots, to be told apart by colour-blind eyes (after Okabe and Ito); 3:1 on white and on black"""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

TITLE_PT, LABEL_PT, TICK_PT, NOTE_PT, SMALL_PT = 10.0, 8.5, 8.0, 7.5, 7.0

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "axes.labelcolor": INK,
    "axes.labelpad": 3.0,
    "axes.labelsize": LABEL_PT,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.titlesize": LABEL_PT,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "figure.dpi": 100,
    "font.family": ["DejaVu Sans"],
    "font.size": TICK_PT,
    "grid.color": QUIET,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "image.composite_image": False,
    "hatch.linewidth": 0.4,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "patch.linewidth": 0.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "patchwords",
    "svg.image_inline": True,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": TICK_PT,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": TICK_PT,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


def new_figure(width_in: float = 7.0, height_in: float = 4.0) -> Figure:
    """Return an empty figure. Every `draw_` keeps the width, between NARROW_IN and WIDE_IN, and sets the height.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with _style():
        from matplotlib.figure import Figure

        return Figure(figsize=(width_in, height_in))


def styled(draw: Callable[P, None]) -> Callable[P, None]:
    """Make `draw` independent of the user's matplotlibrc, and of what was drawn before."""

    @functools.wraps(draw)
    def inside(*args: P.args, **options: P.kwargs) -> None:
        with _style():
            draw(*args, **options)

    return inside


def png(figure: Figure, dpi: float = 200) -> bytes:
    """Return `figure` as a PNG on white; the same figure gives the same bytes."""
    return _saved(figure, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


def svg(figure: Figure, label: str = "") -> bytes:
    """Return `figure` as an SVG to stand alone or inside a page; the same figure gives the same bytes.

    Letters are text, black is `currentColor`, the background is transparent, nothing is fetched, and nothing in it
    (style element, ids of groups) reaches into the page. `label` is read out in its place; "": the figure's title.
    """
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = _saved(figure, format="svg", dpi=72, facecolor="none", metadata=nothing).decode()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<g id=\"[^\"]*\"", "<g", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    root = f'<svg role="img" aria-label={quoteattr(label or str(figure.get_label()))}'
    return (root + ' style="stroke-linejoin: round; stroke-linecap: butt"' + text[len("<svg") :]).encode()


def _saved(figure: Figure, **options: Any) -> bytes:
    stream = io.BytesIO()
    with _style():
        figure.savefig(stream, **options)
    return stream.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib.style
    except ImportError as fault:
        fix = "Install it: pip install 'patchwords[plot]'"
        raise ConfigError("needs matplotlib, which is not installed", where="figures", fix=fix) from fault
    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")  # a browser has other fonts
        yield
