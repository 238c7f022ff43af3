"""S-22: a convolution is a special case of attention."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..architecture import ViTConfig
from ..figures.plot import Plot, Series
from ..models.attention import Attention
from ..models.position import Places, locate
from .draws import drawn_model, largest, normal
from .idea import Check, Effort, Idea, Result, verdict_of

SIDE, CHANNELS = 10, 6
ALPHAS = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 50.0)
OFFSETS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))
"""of the key from the query, one a head"""


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Make a 3x3 convolution of a nine-head layer, its heads ever sharper, and see what eight heads leave."""
    kernel = normal(effort.seed, "is-conv kernel", CHANNELS, CHANNELS, 3, 3) / 3
    picture = normal(effort.seed, "is-conv picture", 2, CHANNELS, SIDE, SIDE)
    convolved = F.conv2d(picture, kernel)
    errors = [largest(attended(effort.seed, kernel, picture, alpha) - convolved) for alpha in ALPHAS]
    falling = [place for place, error in enumerate(errors) if ALPHAS[place] >= 4 and error > 1e-12]
    rate = -float(np.polyfit([ALPHAS[place] for place in falling], np.log([errors[place] for place in falling]), 1)[0])
    left = eight_heads(kernel)
    checks = (
        Check("nine heads, alpha = 50: largest difference from conv2d", errors[-1], "<", 1e-5),
        Check("alpha = 16: largest difference", errors[ALPHAS.index(16.0)], "<", 1e-5),
        Check("the error falls as exp(-b alpha), b", rate, ">", 0.9),
        Check("eight heads, any patterns: share of the kernel that is left over", left, ">", 1e-2),
    )
    reason = (
        "Nine heads whose positional bias is -alpha |offset - shift|^2, one for each of the nine shifts, are a 3x3 "
        f"convolution away from the border, up to an error of {errors[-1]:.1g} at alpha = 50; eight heads leave at "
        f"least {100 * left:.2g} % of this kernel, whatever fixed patterns they have."
    )
    figures = {f"difference at alpha = {alpha:g}": error for alpha, error in zip(ALPHAS, errors, strict=True)}
    line = Series("nine heads", ALPHAS, tuple(errors))
    floor = Series("eight heads, at best (share of the kernel)", ALPHAS, (left,) * len(ALPHAS))
    plot = Plot("A convolution made of attention", "alpha", "largest difference", (line, floor), log_y=True)
    return Result(verdict_of(checks), reason, checks, figures, (plot,))


def attended(seed: int, kernel: Tensor, picture: Tensor, alpha: float) -> Tensor:
    """Return what nine heads of a ViT's own attention make of a picture (B, C, H, W), away from the border.

    q and k are zero: where a head looks is its positional bias alone (1911.03584, theorem 1 and lemma 1).
    """
    count = len(OFFSETS)
    config = ViTConfig(
        image_size=(SIDE, SIDE), patch_size=(1, 1), in_channels=CHANNELS, dim=count * CHANNELS, depth=1,
        num_heads=count, mlp_dim=1, position="relative", class_token=False, pool="mean", num_classes=0,
    )  # fmt: skip
    attention: Attention = drawn_model(config, seed).blocks[0].attn
    attention.relative_position_bias_table.copy_(sharp_table(alpha))
    _write(attention, kernel)
    tokens = F.pad(picture.flatten(2).transpose(1, 2), (0, (count - 1) * CHANNELS))  # content in the first channels
    places: Places = locate(config, config.grid, tokens)
    maps = attention(tokens, places)[..., :CHANNELS].transpose(1, 2).unflatten(2, config.grid)
    return maps[..., 1:-1, 1:-1]


def sharp_table(alpha: float) -> Tensor:
    """Return the bias -alpha |offset - shift|^2 for every offset (rows of the table) and head."""
    steps = torch.arange(1.0 - SIDE, SIDE, dtype=torch.float64)
    heads = [
        (steps[:, None] + down).square() + (steps[None] + right).square()  # the table's offsets are query minus key
        for down, right in OFFSETS
    ]
    return -alpha * torch.stack([each.flatten() for each in heads], dim=1)


def _write(attention: Attention, kernel: Tensor) -> None:
    """Set U_qkv to pass the content to every head, and U_msa to the nine matrices of the kernel."""
    dim = attention.qkv.weight.shape[1]
    for parameter in (attention.qkv.weight, attention.qkv.bias, attention.proj.weight, attention.proj.bias):
        parameter.zero_()
    for head, (down, right) in enumerate(OFFSETS):
        own = slice(head * CHANNELS, (head + 1) * CHANNELS)
        attention.qkv.weight[2 * dim :][own, :CHANNELS] = torch.eye(CHANNELS, dtype=torch.float64)
        attention.proj.weight[:CHANNELS, own] = kernel[:, :, 1 + down, 1 + right]


def eight_heads(kernel: Tensor) -> float:
    """Return the smallest share of the kernel's norm that eight heads with fixed patterns leave over.

    A head adds (pattern over the nine places) x (matrix over channels), a term of rank one of the kernel seen as
    (9, C C); what the best eight terms leave is its ninth singular value (Eckart and Young).
    """
    values = np.linalg.svd(kernel.flatten(2).permute(2, 0, 1).flatten(1).numpy(), compute_uv=False)
    return float(np.sqrt((values[8:] ** 2).sum() / (values**2).sum()))


IDEA = Idea(
    name="is-conv",
    number="S-22",
    claim="A convolution is a special case of attention: nine heads with relative positions are a 3x3 convolution.",
    experiment="Build the layer, sharpen its heads by alpha, compare conv2d; bound what any eight heads can do.",
    paper="1911.03584, theorem 1",
    trained=False,
    run=run,
)
