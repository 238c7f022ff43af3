"""S-07: with local attention the receptive field is a cone that grows with depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..figures.plot import Grid, Plot, Series
from .draws import drawn_model
from .idea import Check, Effort, Idea, Result, verdict_of
from .reach import conv_supports, pixel_config, supports

SIDE, DEPTH, RADII = 17, 5, (1, 2, 3)
PLACES = ((8, 8), (0, 0), (3, 12))
"""of the patch that looks: in the middle, in a corner, near a border"""


def run(effort: Effort) -> Result:
    """Find the exact support of the Jacobian after each layer, for several radii and places, and of convolutions."""
    found = {(radius, place): supports(local_model(effort.seed, radius), place, effort.seed)
             for radius in RADII for place in PLACES}  # fmt: skip
    wrong = sum(
        int((seen != square(place, radius * (layer + 1))).sum())
        for (radius, place), layers in found.items()
        for layer, seen in enumerate(layers)
    )
    convolved = [conv_supports(SIDE, DEPTH, place, effort.seed) for place in PLACES]
    apart = sum(
        int((a != b).sum())
        for place, layers in zip(PLACES, convolved, strict=True)
        for a, b in zip(found[1, place], layers, strict=True)
    )
    middle = {radius: tuple(float(width(seen)) for seen in found[radius, PLACES[0]]) for radius in RADII}
    checks = (
        Check("patches in which a support is not the square of side 1 + 2 r L, cut at the border", wrong, "==", 0.0),
        *(
            Check(f"side of the support after {layers} layers of radius {radius}", middle[radius][layers - 1], "==",
                  float(1 + 2 * radius * layers))
            for radius, layers in ((1, 1), (1, 4), (2, 4), (3, 2))
        ),
        Check("patches in which 3x3 convolutions differ from attention of radius 1", apart, "==", 0.0),
    )  # fmt: skip
    reason = (
        "After L layers of radius r a patch depends on exactly the square of side 1 + 2 r L about it, up to the "
        "border; 3x3 convolutions have the same supports as radius 1."
    )
    depths = tuple(float(layer + 1) for layer in range(DEPTH))
    lines = [Series(f"radius {radius}", depths, sides) for radius, sides in middle.items()]
    lines.append(Series("global", depths, (float(SIDE),) * DEPTH))
    maps = tuple(seen.double().numpy() for seen in found[1, PLACES[0]])
    plots = (
        Plot(f"The cone on a grid of {SIDE} x {SIDE}", "layers L", "side of the support (patches)", tuple(lines)),
        Grid("What the middle patch depends on, radius 1", tuple(f"layer {n + 1}" for n in range(DEPTH)), maps),
    )
    figures = {"cases compared": len(found) * DEPTH}
    return Result(verdict_of(checks), reason, checks, figures, plots)


def local_model(seed: int, radius: int) -> nn.Module:
    """Return a ViT with local attention of this radius."""
    return drawn_model(pixel_config(SIDE, DEPTH, attention="local", attention_window=radius, position="none"), seed)


def square(place: tuple[int, int], reach: int) -> Tensor:
    """Return the patches at most `reach` rows and columns from `place`: (SIDE, SIDE) bool."""
    rows, columns = (torch.arange(SIDE) - centre for centre in place)
    return (rows.abs() <= reach)[:, None] & (columns.abs() <= reach)[None]


def width(seen: Tensor) -> int:
    """Return how many columns hold something."""
    return int(seen.any(dim=0).sum())


IDEA = Idea(
    name="local-cone",
    number="S-07",
    claim="With local attention the receptive field is a cone that grows with depth, as it is with convolutions.",
    experiment="Find the exact support of the Jacobian after each layer, for radius 1 to 3 and for convolutions.",
    paper="2010.11929, sec. 2 (local attention)",
    trained=False,
    run=run,
)
