"""S-11: one single matrix for all patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..models import build_empty, model_config
from ..models.layers import PatchMatrix
from .draws import largest, normal, orders
from .idea import Check, Effort, Idea, Result, verdict_of
from .sets import shuffled

SIDES = (32, 224, 512)
MODEL = "vit_base_patch16_224"


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Count the parameters of the patch matrix for three picture sizes, shuffle patches, and compare a convolution."""
    counts = {side: parameters(side) for side in SIDES}
    config = model_config(MODEL)
    expected = config.patch_size[0] * config.patch_size[1] * config.in_channels * config.dim + config.dim
    checks = [
        Check(f"parameters at {side} pixels, over P^2 C D + D", count / expected, "==", 1.0)
        for side, count in counts.items()
    ]
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        moved, convolved = differences(effort.seed, dtype)
        bits = torch.finfo(dtype).bits
        checks.append(Check(f"shuffled patches against shuffled embeddings, float{bits}", moved, "<", limit))
        checks.append(Check(f"the matrix against a convolution of stride P, float{bits}", convolved, "<", limit))
    reason = (
        f"P^2 C D + D = {expected:,} parameters serve pictures of 32, 224 and 512 pixels alike; shuffling the patches "
        "shuffles the embeddings, and the product is the convolution with that kernel and stride."
    )
    figures = {f"patches at {side} pixels": (side // config.patch_size[0]) ** 2 for side in SIDES}
    return Result(verdict_of(tuple(checks)), reason, tuple(checks), figures)


def parameters(side: int) -> int:
    """Return how many parameters the patch embedding of ViT-B/16 has for pictures of `side` pixels."""
    model = build_empty(model_config(MODEL, image_size=side))
    return sum(parameter.numel() for parameter in model.patch_embed.parameters())


def differences(seed: int, dtype: torch.dtype) -> tuple[float, float]:
    """Return how far embedding and shuffling are from commuting, and the matrix from the convolution; largest."""
    size, patch, dim = 32, (4, 4), 48
    matrix = PatchMatrix(3, patch, dim).to(dtype)
    matrix.weight.data = normal(seed, "embed weight", dim, 3, *patch, dtype=dtype) / 7
    matrix.bias.data = normal(seed, "embed bias", dim, dtype=dtype)
    picture = normal(seed, "embed picture", 1, 3, size, size, dtype=dtype)
    order = orders(seed, "embed", 10, (size // 4) ** 2)
    embedded = matrix(picture)
    moved = largest(matrix(shuffled(picture, order, patch)) - embedded[0][order])
    convolved = F.conv2d(picture, matrix.weight, matrix.bias, stride=patch).flatten(2).transpose(1, 2)
    return moved, largest(convolved - embedded)


IDEA = Idea(
    name="embed",
    number="S-11",
    claim="One single matrix embeds all patches, wherever they lie and however many there are.",
    experiment="Count its parameters for three picture sizes; shuffle patches; compare the equal convolution.",
    paper="2010.11929, sec. 3.1, eq. 1",
    trained=False,
    run=run,
)
