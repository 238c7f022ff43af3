"""S-12: what is fed in is not the number of a patch but a learned vector from a table."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..architecture import ViTConfig
from ..figures.plot import Grid
from ..models.position import middle, position_rows, resample
from .draws import drawn_model, largest, normal, orders
from .idea import Check, Effort, Idea, Result, verdict_of

CONFIG = ViTConfig(
    image_size=(32, 32), patch_size=(4, 4), dim=32, depth=1, num_heads=2, mlp_dim=32, num_classes=10
)  # fmt: skip
"""a grid of 8 x 8 patches"""


def run(effort: Effort) -> Result:
    """Compare the table's rows with one-hot vectors times the table, and look at the gradient of an unused row."""
    looked_up, added = lookups(effort.seed)
    unused, used, sizes = gradients(effort.seed)
    kept, stretched = resized(effort.seed)
    checks = (
        Check("table[i] against one-hot(i) times the table", looked_up, "==", 0.0),
        Check("what the model adds to the tokens against the table", added, "<", 1e-12),
        Check("gradient of rows that were not used", unused, "==", 0.0),
        Check("least gradient among the rows used", used, ">", 0.0),
        Check("the table resized to its own grid", kept, "==", 0.0),
        Check("rows after resizing 8 x 8 to 12 x 6, less 72", float(stretched - 72), "==", 0.0),
    )
    reason = (
        "Looking a row up is multiplying the table by a one-hot vector, exactly; only rows that were used get a "
        "gradient, all others get exactly none; and the table can be resized to another grid."
    )
    grid = Grid("A picture of 4 x 4 patches out of the middle: who learns", ("gradient of each row",), (sizes,), "size")
    return Result(verdict_of(checks), reason, checks, {"rows of the table": int(CONFIG.grid[0] ** 2 + 1)}, (grid,))


@torch.no_grad()
def lookups(seed: int) -> tuple[float, float]:
    """Return the difference of lookup and product, and of what a model adds and the rows of its table; largest."""
    model = drawn_model(CONFIG, seed)
    table = model.pos_embed[0]
    numbers = orders(seed, "table", 1, len(table))[0]
    product = F.one_hot(numbers, len(table)).to(table) @ table
    picture = normal(seed, "table picture", 2, 3, *CONFIG.image_size)
    tokens, _ = model.embed(picture)
    without = torch.cat([model.cls_token.expand(2, -1, -1), model.patch_embed(picture)], dim=1)
    rows = position_rows(model.pos_embed, CONFIG, CONFIG.grid, tokens)
    return largest(product - table[numbers]), max(largest(tokens - without - table), largest(rows[0] - table))


def gradients(seed: int) -> tuple[float, float, np.ndarray]:
    """Return the largest gradient of an unused row, the least of a used one, and the size of each (rows, columns).

    The picture is a part out of the middle of a whole one, so that it needs the positions there and no others.
    """
    model = drawn_model(CONFIG, seed).train()
    model.set_windows()
    model(normal(seed, "table part", 2, 3, 16, 16)).square().sum().backward()
    sizes = model.pos_embed.grad[0, 1:].norm(dim=1).view(CONFIG.grid)
    needed = torch.zeros(CONFIG.grid, dtype=torch.bool)
    middle(needed, (4, 4))[:] = True
    return float(sizes[~needed].max()), float(sizes[needed].min()), sizes.numpy()


@torch.no_grad()
def resized(seed: int) -> tuple[float, int]:
    """Return how far a table resized to its own grid is from itself, and the rows of one resized to 12 x 6."""
    table = normal(seed, "table resized", 8, 8, CONFIG.dim)
    return largest(resample(table, (8, 8)) - table), resample(table, (12, 6)).flatten(0, 1).shape[0]


IDEA = Idea(
    name="table",
    number="S-12",
    claim="A patch is told its place not by a number but by a learned vector, looked up in a table.",
    experiment="Compare lookup and one-hot product; look at the gradients of used and unused rows; resize the table.",
    paper="2010.11929, sec. 3.1, eq. 1, and sec. 3.2",
    trained=False,
    run=run,
)
