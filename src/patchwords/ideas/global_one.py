"""S-08: global attention reaches everywhere in a single layer."""

from __future__ import annotations

import math

from torch import nn

from ..figures.plot import Grid, Plot, Series
from .draws import drawn_model
from .idea import Check, Effort, Idea, Result, verdict_of
from .reach import pixel_config, supports

CORNER = (0, 0)
GRIDS = {"CIFAR-10 in patches of 4": 8, "CIFAR-10 in pixels": 32}
"""what -> patches a side"""


def run(effort: Effort) -> Result:
    """Find what every patch depends on after one global layer, and after how many local ones a corner sees all."""
    side = GRIDS["CIFAR-10 in patches of 4"]
    model = drawn_model(pixel_config(side, 1, class_token=True, position="learned"), effort.seed)
    least = min(
        int(supports(model, (row, column), effort.seed)[0].sum()) for row in range(side) for column in range(side)
    )
    checks = [Check(f"patches that every patch depends on after one global layer, of {side**2}", least, "==", side**2)]
    lines = []
    for name, side in GRIDS.items():
        needed = side - 1
        shares = local_shares(effort.seed, side)
        reached = next((layers for layers, share in shares.items() if share == 1.0), math.inf)
        checks.append(Check(f"{name}: layers of radius 1 until a corner depends on all", reached, "==", needed))
        layers, percent = tuple(map(float, shares)), tuple(100 * share for share in shares.values())
        lines.append(Series(f"{name}, radius 1", layers, percent))
    lines.append(Series("global", lines[-1].x, (100.0,) * len(lines[-1].x)))
    reason = (
        "After one layer of global attention every patch depends on every patch; with windows of radius 1 a corner "
        f"depends on all after {checks[1].value:g} layers for 8 x 8 patches and {checks[2].value:g} for 32 x 32 pixels."
    )
    plot = Plot("What a corner depends on", "layers", "patches (%)", tuple(lines))
    maps = [supports(local_model(effort.seed, 8), CORNER, effort.seed), supports(model, CORNER, effort.seed)]
    grid = Grid(
        "What the upper left patch depends on, after one layer", ("local, radius 1", "global"),
        tuple(each[0].double().numpy() for each in maps),
    )  # fmt: skip
    return Result(verdict_of(tuple(checks)), reason, tuple(checks), {}, (plot, grid))


def local_model(seed: int, side: int) -> nn.Module:
    """Return a ViT with windows of radius 1 and one layer fewer than the side of its grid."""
    local = {"attention": "local", "attention_window": 1, "position": "none", "num_heads": 1, "dim": 4, "mlp_dim": 4}
    return drawn_model(pixel_config(side, side - 1, **local), seed)


def local_shares(seed: int, side: int) -> dict[int, float]:
    """Return the share of all patches that a corner depends on after 1, 6, 11 ... layers, and after the last two."""
    last = side - 1
    layers = sorted({*range(1, last, 1 if side < 16 else 5), last - 1, last})
    found = supports(local_model(seed, side), CORNER, seed, [layer - 1 for layer in layers])
    return {layer: float(seen.double().mean()) for layer, seen in zip(layers, found, strict=True)}


IDEA = Idea(
    name="global-one",
    number="S-08",
    claim="Global attention reaches everywhere in a single layer; local attention needs (side - 1) / r layers.",
    experiment="Find the exact support of the Jacobian of every patch, and of a corner under windows of radius 1.",
    paper="2010.11929, sec. 4.5 (attention distance)",
    trained=False,
    run=run,
)
