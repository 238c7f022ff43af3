"""S-02: positions break the set."""

from __future__ import annotations

import torch

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from .draws import drawn_model, largest, normal, orders
from .idea import Check, Effort, Idea, Result, verdict_of
from .sets import CONFIG, shuffled

PERMUTATIONS = 20
POSITIONS = ("none", "learned", "learned_2d", "sincos_2d", "relative", "rope")
SCALES = (0.0, 0.1, 1.0, 10.0, 100.0)
"""of the learned table, as multiples of its initial values"""


def run(effort: Effort) -> Result:
    """Shuffle the patches under every kind of position, and by a permutation that moves nothing."""
    change = {position: relative_change(effort.seed, position) for position in POSITIONS}
    still = max(relative_change(effort.seed, position, moved=False) for position in POSITIONS)
    scaled = tuple(relative_change(effort.seed, "learned", scale=scale) for scale in SCALES)
    checks = (
        Check("learned table: change of the answer", change["learned"], ">", 1e-2),
        *(Check(f"{kind}: change of the answer", change[kind], ">", 1e-2) for kind in POSITIONS[2:]),
        Check("the permutation that moves nothing: change of the answer, all kinds", still, "==", 0.0),
        Check("no positions: change of the answer", change["none"], "<", 1e-12),
    )
    figures = {f"change with the table times {scale:g}": value for scale, value in zip(SCALES, scaled, strict=True)}
    reason = (
        f"With a table of positions, shuffling the patches changes the answer by {100 * change['learned']:.2g} % of "
        "its size; without one by rounding only, and the permutation that moves nothing changes nothing."
    )
    line = Series("learned table", SCALES[1:], scaled[1:])
    flat = Series("no positions", SCALES[1:], (change["none"],) * len(SCALES[1:]))
    plot = Plot(
        "The larger the table, the less a set", "size of the position table (times its initial values)",
        "change of the answer", (line, flat), log_x=True, log_y=True,
    )  # fmt: skip
    return Result(verdict_of(checks), reason, checks, figures, (plot,))


def relative_change(seed: int, position: str, moved: bool = True, scale: float = 1.0) -> float:
    """Return |g(P z) - g(z)| / |g(z)| of the features g, the median over permutations P."""
    slope = 1.0 if position == "relative" else 0.0  # a fresh table of biases is zero: no position at all
    model = drawn_model(ViTConfig(**CONFIG, position=position, relative_slope=slope), seed)
    if position == "learned":
        model.pos_embed.data *= scale
    picture = normal(seed, "sets picture", 1, 3, *model.config.image_size)
    count = model.grid[0] * model.grid[1]
    order = orders(seed, "breakset", PERMUTATIONS, count) if moved else torch.arange(count)[None]
    with torch.no_grad():
        before = model(picture)
        after = torch.cat([model(shuffled(picture, each[None], model.config.patch_size)) for each in order])
    if not moved:
        return largest(after - before)
    return float(((after - before).norm(dim=1) / before.norm()).median())


IDEA = Idea(
    name="breakset",
    number="S-02",
    claim="Positions break the set: the first patch has a vector of its own, and order matters.",
    experiment="Shuffle the patches of a picture under each kind of position and measure how far the answer moves.",
    paper="2010.11929, eq. 1 and app. D.4",
    trained=False,
    run=run,
)
