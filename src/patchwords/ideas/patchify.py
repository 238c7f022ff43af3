"""S-10: a picture is cut into patches and unrolled to a sequence."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..architecture import ViTConfig
from ..errors import ConfigError
from ..figures.plot import Grid
from ..models import build_empty
from ..models.layers import PatchMatrix
from .draws import normal
from .idea import Check, Effort, Idea, Result, verdict_of

SIZES = (((224, 224), (16, 16)), ((32, 32), (4, 4)), ((30, 20), (5, 2)), ((9, 7), (3, 7)), ((5, 5), (1, 1)))
"""pictures and patches, square and not"""


def run(effort: Effort) -> Result:
    """Unroll pictures with the model's own patch matrix, put them together again, and try a size that is not whole."""
    broken = sum(not round_trip(effort.seed, size, patch) for size, patch in SIZES)
    disordered = sum(not in_raster_order(size, patch) for size, patch in SIZES)
    unrolled = unroll(normal(effort.seed, "patchify", 1, 3, 224, 224), (16, 16))
    built, given = refusal_of_config(250, 16), refusal_of_picture(250, 16)
    checks = (
        Check("sizes whose patches do not make the same picture again, bit for bit", float(broken), "==", 0.0),
        Check("sizes whose patches are not in raster order", float(disordered), "==", 0.0),
        Check("224 pixels in patches of 16: how many", float(unrolled.shape[1]), "==", 196.0),
        Check("numbers in each, 16 x 16 x 3", float(unrolled.shape[2]), "==", 768.0),
        Check("250 pixels in patches of 16 are refused, by settings", float("250" in built), "==", 1.0),
        Check("250 pixels in patches of 16 are refused, by the model", float("250" in given), "==", 1.0),
    )
    figures = {"refused by settings": built, "refused by the model": given, "patches a side, 250 / 16": 250 / 16}
    reason = (
        "A picture of 224 pixels is 196 patches of 768 numbers in raster order, and the patches are the picture, bit "
        "for bit; 250 pixels are not a whole number of patches of 16 and are refused with what would fit."
    )
    return Result(verdict_of(checks), reason, checks, figures, _grids())


def unroll(pictures: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Return the patches (B, N, C P_1 P_2) of pictures (B, C, H, W): the patch matrix with the identity for E."""
    channels, width = pictures.shape[1], pictures.shape[1] * patch_size[0] * patch_size[1]
    matrix = PatchMatrix(channels, patch_size, width, bias=False).to(pictures.dtype)
    matrix.weight.data = torch.eye(width, dtype=pictures.dtype).view_as(matrix.weight)
    with torch.no_grad():
        return matrix(pictures)


def round_trip(seed: int, size: tuple[int, int], patch: tuple[int, int]) -> bool:
    """Return whether torch's fold makes the very picture of the patches."""
    picture = normal(seed, f"patchify {size}", 2, 3, *size)
    return bool((F.fold(unroll(picture, patch).transpose(1, 2), size, patch, stride=patch) == picture).all())


def in_raster_order(size: tuple[int, int], patch: tuple[int, int]) -> bool:
    """Return whether patch i is the i-th of a loop over rows, then columns, unrolled channel, row, column."""
    picture = torch.arange(3.0 * size[0] * size[1], dtype=torch.float64).view(1, 3, *size)
    looped = [
        picture[0, :, top : top + patch[0], left : left + patch[1]].flatten()
        for top in range(0, size[0], patch[0])
        for left in range(0, size[1], patch[1])
    ]
    return bool((unroll(picture, patch)[0] == torch.stack(looped)).all())


def refusal_of_config(side: int, patch: int) -> str:
    """Return what settings of that size are answered; "" when they are taken."""
    try:
        ViTConfig(image_size=(side, side), patch_size=(patch, patch))
    except ConfigError as fault:
        return fault.line()
    return ""


def refusal_of_picture(side: int, patch: int) -> str:
    """Return what a picture of that size is answered by a model for another; "" when it is taken."""
    config = ViTConfig(image_size=(patch, patch), patch_size=(patch, patch), dim=8, depth=1, num_heads=1, mlp_dim=8)
    try:
        build_empty(config)(torch.empty(1, 3, side, side, device="meta"))
    except ConfigError as fault:
        return fault.line()
    return ""


def _grids() -> tuple[Grid, ...]:
    """Return a drawn picture, the same cut apart, and its patches in one row."""
    side, patch = 64, 16
    down, across = np.mgrid[:side, :side] / (side - 1)
    inside = np.hypot(down - 0.45, across - 0.5) < 0.3
    ground = np.stack([0.35 + 0.3 * down, 0.55 + 0.3 * (1 - down), 0.95 - 0.5 * down], axis=-1)
    picture = np.where(inside[..., None], np.stack([0.95 - 0.2 * across, 0.5 * down, 0.2 + 0 * down], axis=-1), ground)
    patches = unroll(torch.from_numpy(picture).permute(2, 0, 1)[None], (patch, patch))[0]
    cut = patches.view(-1, 3, patch, patch).permute(0, 2, 3, 1).numpy()
    apart = np.full((side + 3 * 4, side + 3 * 4, 3), np.nan)
    for number, each in enumerate(cut):
        top, left = (place * (patch + 4) for place in divmod(number, side // patch))
        apart[top : top + patch, left : left + patch] = each
    words = tuple(f"{number + 1}" for number in range(len(cut)))
    return (
        Grid("A picture and its 16 patches", ("64 x 64 pixels", "patches of 16"), (picture, apart)),
        Grid("The sequence", words, tuple(cut)),
    )


IDEA = Idea(
    name="patchify",
    number="S-10",
    claim="A picture is cut into patches, for example of 16 x 16 pixels, and unrolled to a sequence.",
    experiment="Unroll pictures of several sizes, put them together again, and try 250 pixels in patches of 16.",
    paper="2010.11929, sec. 3.1, eq. 1",
    trained=False,
    run=run,
)
