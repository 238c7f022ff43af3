"""S-03: attention is an inner product for each pair."""

from __future__ import annotations

import torch
from torch import Tensor

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from ..models.attention import attend
from .draws import drawn_model, largest, normal
from .idea import Check, Effort, Idea, Result, verdict_of
from .operations import Operations

GRIDS = ((4, 5), (8, 10), (12, 15), (16, 20), (20, 25))
"""the last has 500 patches"""


def run(effort: Effort) -> Result:
    """Count the dot products of a model's attention for up to 500 tokens, and make one head's by hand."""
    counts = [counted(effort.seed, grid) for grid in GRIDS]
    tokens, layers_heads, products, flops, head_dim = counts[-1]
    by_hand, error = one_at_a_time(effort.seed, GRIDS[-1])
    wrong = [each for each in counts if each[2] != each[0] ** 2 * each[1]]
    checks = (
        Check("dot products a head and layer, 500 tokens", products / layers_heads, "==", 250_000.0),
        Check("dot products taken one at a time for one head", float(by_hand), "==", 250_000.0),
        Check("weights from those against the model's, largest difference", error, "<", 1e-12),
        Check("sizes whose count is not T^2", float(len(wrong)), "==", 0.0),
        Check("FLOPs of q k^T over 2 T^2 D_h", flops / (2 * tokens**2 * head_dim * layers_heads), "==", 1.0),
    )
    reason = (
        f"{tokens} tokens take exactly {products // layers_heads:,} dot products in each head of each layer, T^2, "
        "of 2 D_h FLOPs each; made one at a time they give the model's weights."
    )
    figures = {"tokens": tokens, "heads times layers": layers_heads, "FLOPs of q k^T, all": flops}
    line = Series("counted", tuple(float(each[0]) for each in counts), tuple(each[2] / each[1] for each in counts))
    square = Series("T^2", line.x, tuple(x**2 for x in line.x))
    plot = Plot("One dot product for each pair", "tokens T", "dot products a head", (line, square))
    return Result(verdict_of(checks), reason, checks, figures, (plot,))


def _model(seed: int, grid: tuple[int, int]) -> tuple[torch.nn.Module, Tensor]:
    size = (2 * grid[0], 2 * grid[1])
    config = ViTConfig(
        image_size=size, patch_size=(2, 2), dim=32, depth=2, num_heads=4, mlp_dim=32, class_token=False, pool="mean",
        num_classes=10,
    )  # fmt: skip
    return drawn_model(config, seed), normal(seed, "pairs picture", 1, 3, *size)


def counted(seed: int, grid: tuple[int, int]) -> tuple[int, int, int, int, int]:
    """Return (T, heads times layers, dot products, FLOPs of them, D_h), read off the products that torch runs."""
    model, picture = _model(seed, grid)
    config, tokens = model.config, grid[0] * grid[1]
    with torch.no_grad(), Operations() as operations:
        model(picture, {})
    of_pairs = [each for each in operations.products() if each[1:] == (tokens, config.head_dim, tokens)]
    products = sum(count * rows * columns for count, rows, _, columns in of_pairs)
    flops = sum(2 * count * rows * inner * columns for count, rows, inner, columns in of_pairs)
    return tokens, config.depth * config.num_heads, products, flops, config.head_dim


def one_at_a_time(seed: int, grid: tuple[int, int]) -> tuple[int, float]:
    """Return how many dot products a loop over pairs takes, and how far its weights are from those of `attend`."""
    tokens = grid[0] * grid[1]
    q, k = (normal(seed, f"pairs {name}", tokens, 8) for name in "qk")
    queries, keys = q.tolist(), k.tolist()
    scores = [[sum(a * b for a, b in zip(query, key, strict=True)) for key in keys] for query in queries]
    weights = torch.softmax(torch.tensor(scores, dtype=torch.float64) / 8**0.5, dim=-1)
    _, made = attend(q[None, None], k[None, None], k[None, None], explicit=True)
    return sum(len(row) for row in scores), largest(weights - made[0, 0])


IDEA = Idea(
    name="pairs",
    number="S-03",
    claim="Attention takes one inner product for every pair of tokens: T^2 in each head of each layer.",
    experiment="Count the products that a model runs for 20 to 500 tokens; make those of one head one at a time.",
    paper="2010.11929, app. A, eq. 6",
    trained=False,
    run=run,
)
