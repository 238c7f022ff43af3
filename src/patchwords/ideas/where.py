"""S-13: nobody tells the model where a patch is; it learns that."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import Size
from ..figures.plot import Grid
from ..inspection.position import measure_vectors, position_vectors
from .idea import Check, Effort, Idea, Result
from .learn import mean_and_sd, new_model
from .offsets import mean_by_offset
from .trained import drawn_order, pictures_of, pixel_order, scale_of, seeds_of, trained

ARMS = ("init", "trained", "shuffled, as it lay", "shuffled, put back")

SMALL = {"patch_size": (4, 4), "depth": 2}
"""for the short form: a table of 64 places says more than one of 16, and a shallow model learns it as well"""


def run(effort: Effort) -> Result:
    """Measure the position table before training, after it, and after training on pictures cut up and rearranged."""
    scale = scale_of(effort)
    train, _ = pictures_of(effort)
    config = scale.vit() if effort.full else scale.vit(**SMALL)
    order, inside = drawn_order(config, effort.seed)
    pixels = pixel_order(config.image_size, config.patch_size, order, inside)
    measured: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in seeds_of(effort):
        plain = trained(config, train, scale.recipe, seed, effort, name="ViT")
        moved = trained(config, train, scale.recipe, seed, effort, pixels=pixels, name="ViT on rearranged pictures")
        tables = (patch_vectors(new_model(config, seed)), patch_vectors(plain), patch_vectors(moved))
        for arm, table in zip(ARMS, (*tables, put_back(tables[2], order)), strict=True):
            measured[arm].append(measure_table(table, config.grid, config.cell_size))
    found = {arm: {name: mean_and_sd([each[name] for each in measured[arm]])[0] for name in NAMES} for arm in ARMS}
    return concluded(found, [measured[arm][0]["similarity"] for arm in ARMS], config.grid)


NAMES = ("distance_correlation", "position_r2", "row_and_column_share")


def measure_table(vectors: Tensor, grid: Size, cell_px: Size) -> dict[str, Any]:
    """Return the measures of position vectors (N, D), rows first, and the similarities (rows, columns, rows, columns).

    `distance_correlation` is Spearman's of similarity and distance over all pairs, `position_r2` how well ridge
    regression reads row and column from the vector of a patch it was not fitted to (mean of both),
    `row_and_column_share` the share of the variance that a vector for each row plus one for each column explains.
    """
    numbers = vectors.detach().double().numpy()
    found = measure_vectors(numbers, np.zeros((0, numbers.shape[1])), grid, cell_px)
    return {
        "distance_correlation": found["distance_correlation"],
        "position_r2": (found["row_r2"] + found["column_r2"]) / 2,
        "row_and_column_share": found["row_share"] + found["column_share"],
        "similarity": found["similarity"],
    }


def patch_vectors(model: nn.Module) -> Tensor:
    """Return the position vectors of the patches: (N, D)."""
    with torch.no_grad():
        return position_vectors(model)[0].clone()


def put_back(vectors: Tensor, order: Tensor) -> Tensor:
    """Return the vectors (N, D) at the places from which their patches came: place i showed patch `order[i]`."""
    back = torch.empty_like(vectors)
    back[order] = vectors
    return back


def concluded(found: dict[str, dict[str, float]], maps: list[np.ndarray], grid: Size) -> Result:
    """Return what the measures of the four tables say."""
    init, plain, laid, back = (found[arm] for arm in ARMS)
    checks = (
        Check("trained: correlation of similarity with distance", plain["distance_correlation"], "<", -0.5),
        Check("before training: size of that correlation", abs(init["distance_correlation"]), "<", 0.25),
        Check("trained: R2 of reading row and column from a vector", plain["position_r2"], ">", 0.9),
        Check("before training: that R2", init["position_r2"], "<", 0.2),
        Check("rearranged pictures, patches put back: correlation", back["distance_correlation"], "<", -0.5),
        Check("rearranged pictures, as they lay: its size", abs(laid["distance_correlation"]), "<", 0.25),
    )
    learned = plain["distance_correlation"] < min(-0.25, init["distance_correlation"])
    follows = back["distance_correlation"] < min(-0.25, laid["distance_correlation"])
    verdict = "confirmed" if all(check.met for check in checks) else "qualified" if learned and follows else "refuted"
    reason = (
        "Similarity of position vectors correlates with distance by "
        f"{init['distance_correlation']:.2f} before training and {plain['distance_correlation']:.2f} after it; trained "
        f"on rearranged pictures, by {laid['distance_correlation']:.2f} with where patches lay and "
        f"{back['distance_correlation']:.2f} with where they came from. Row and column are read "
        f"from a vector with an R2 of {plain['position_r2']:.2f}."
    )
    if verdict == "qualified":
        missed = "; ".join(check.name for check in checks if not check.met)
        reason += f" The direction is as claimed; what misses its threshold after this little training: {missed}."
    figures: dict[str, float | int | str] = {
        f"{arm}: {name.replace('_', ' ')}": value for arm, values in found.items() for name, value in values.items()
    }
    count, (top, left) = grid[0] * grid[1], (grid[0] // 2, grid[1] // 2)
    shown = tuple(
        mean_by_offset(np.asarray(each, dtype=float).reshape(count, count), grid)[top:-top, left:-left] for each in maps
    )
    title = "How alike two vectors are, by where the one patch is from the other"
    return Result(verdict, reason, checks, figures, (Grid(title, ARMS, shown, "mean cosine similarity"),))


IDEA = Idea(
    name="where",
    number="S-13",
    claim="Nobody tells the model where a patch lies: it learns that from content, and gives neighbours like vectors.",
    experiment="Measure the position table before and after training, and after training on pictures whose patches "
    "(and the pixels within them) are rearranged, always in the same way.",
    paper="2010.11929, sec. 4.5, fig. 7 centre and fig. 10",
    trained=True,
    run=run,
)
