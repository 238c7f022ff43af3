"""S-01: attention without positions works on a set."""

from __future__ import annotations

import torch
from torch import Tensor

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from .draws import drawn_model, largest, normal, orders
from .idea import Check, Effort, Idea, Result, verdict_of

PERMUTATIONS = 100
LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5}
CONFIG = {"image_size": (32, 32), "patch_size": (4, 4), "dim": 32, "depth": 4, "num_heads": 4, "mlp_dim": 64}


def run(effort: Effort) -> Result:
    """Shuffle the patches of a picture and look at every layer and at the answer of the model without positions."""
    checks, figures, lines = [], {}, []
    for dtype, limit in LIMITS.items():
        bits = torch.finfo(dtype).bits
        for pool in ("cls", "mean"):
            layers, moved, answer = differences(effort.seed, pool, dtype)
            if pool == "cls":
                name = f"a layer, |f(P z) - P f(z)|, float{bits}, {PERMUTATIONS} permutations"
                checks.append(Check(name, max(layers), "<", limit))
                depth = tuple(float(number + 1) for number in range(len(layers)))
                lines.append(Series(f"float{bits}: f(P z) - P f(z)", depth, tuple(layers)))
                figures[f"largest |f(P z) - f(z)| of a layer, float{bits}"] = min(moved)
            checks.append(Check(f"read-out ({pool}), |g(P z) - g(z)|, float{bits}", answer, "<", limit))
    smallest = min(figures.values())
    checks.append(Check("a layer is not invariant: |f(P z) - f(z)|", smallest, ">", 1e-2))
    reason = (
        f"Over {PERMUTATIONS} permutations of the patches, every layer gives the same tokens in the new order "
        "(equivariant; it is not invariant), and the answer read from the class token or the mean is the same "
        "(invariant), to rounding."
    )
    plot = Plot("Layers and permutations commute", "layer", "largest difference", tuple(lines), log_y=True)
    return Result(verdict_of(tuple(checks)), reason, tuple(checks), figures, (plot,))


def differences(
    seed: int, pool: str, dtype: torch.dtype, position: str = "none"
) -> tuple[list[float], list[float], float]:
    """Return, largest over all permutations: |f(Pz) - Pf(z)| and |f(Pz) - f(z)| a layer, and the answer's change.

    The patches are shuffled in the picture, so that the whole model is in question, the patch matrix too.
    """
    config = ViTConfig(**CONFIG, position=position, pool=pool, class_token=pool == "cls", num_classes=10)
    model = drawn_model(config, seed, dtype)
    picture = normal(seed, "sets picture", 1, 3, *config.image_size, dtype=dtype)
    order = orders(seed, "sets", PERMUTATIONS, config.grid[0] * config.grid[1])
    with torch.no_grad():
        before, after = {}, {}
        model(picture, before)
        model(shuffled(picture, order, config.patch_size), after)
    prefix = model.num_prefix_tokens
    whole = torch.cat([torch.arange(prefix).expand(PERMUTATIONS, -1), order + prefix], dim=1)
    names = [name for name in before if name.endswith("/+mlp")]
    commuted = [largest(after[name] - before[name][0][whole]) for name in names]
    return (
        commuted,
        [largest(after[name] - before[name]) for name in names],
        largest(after["logits"] - before["logits"]),
    )


def shuffled(picture: Tensor, order: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Return the picture (1, C, H, W) with patch `order[b, i]` at place i: (B, C, H, W)."""
    _, channels, height, width = picture.shape
    rows, columns = patch_size
    cut = picture.view(channels, height // rows, rows, width // columns, columns).permute(1, 3, 0, 2, 4).flatten(0, 1)
    laid = cut[order].view(len(order), height // rows, width // columns, channels, rows, columns)
    return laid.permute(0, 3, 1, 4, 2, 5).reshape(len(order), channels, height, width)


IDEA = Idea(
    name="sets",
    number="S-01",
    claim="Attention works on sets: without positions a layer is permutation-equivariant, and its read-out invariant.",
    experiment="Shuffle the patches of a picture in 100 ways and compare every layer and the answer.",
    paper="2010.11929, sec. 3.1 and app. A",
    trained=False,
    run=run,
)
