"""S-05: every pixel to every pixel."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..errors import ConfigError
from ..figures.plot import Plot, Series
from ..models.attention import attend
from .draws import largest, normal
from .idea import Check, Effort, Idea, Result, verdict_of
from .timing import least_seconds

LIMIT_BYTES = 2**31
"""of one map of weights"""
HEAD_DIM = 16
SIDE = 250
SAMPLE = 64
"""queries whose answer is checked against the map of their own weights"""


def attend_within(q: Tensor, k: Tensor, v: Tensor, limit: int = LIMIT_BYTES) -> tuple[Tensor, Tensor]:
    """Return what `attend` does with its weights, unless they would not fit.

    Raises:
        ConfigError: the weights would take more than `limit` bytes; names their number and size.
    """
    scores = math.prod(q.shape[:-1]) * k.shape[-2]
    size = scores * q.element_size()
    if size > limit:
        what = f"{scores:,} scores would take {size / 1e9:.1f} GB, and the limit is {limit / 1e9:.1f} GB"
        raise ConfigError(what, where="attention", fix="Give patches in place of pixels, or stream the softmax")
    return attend(q, k, v, explicit=True)


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Count scores for pixels and for patches, time both at 32 x 32, and meet 250 x 250 pixels."""
    refusal, worst = whole_picture(effort.seed)
    pixel_seconds, patch_seconds = small_pictures(effort.seed)
    checks = (
        Check("scores of 250 x 250 pixels, a head and layer", float(scores_of(250, 1)), "==", 3_906_250_000.0),
        Check("scores of 32 x 32 pixels", float(scores_of(32, 1)), "==", 1_048_576.0),
        Check("scores of the same in patches of 4", float(scores_of(32, 4)), "==", 4_096.0),
        Check("224 pixels, patches of 16: how many times fewer", scores_of(224, 1) / scores_of(224, 16), "==", 16.0**4),
        Check("time of the scores, 32 x 32 pixels over patches of 4", pixel_seconds / patch_seconds, ">", 100.0),
        Check("the memory guard refuses 250 x 250 and names 15.6 GB", float("15.6 GB" in refusal), "==", 1.0),
        Check(f"streamed, {SAMPLE} of 62,500 queries against their own weights", worst, "<", 1e-5),
    )
    reason = (
        "250 x 250 pixels are (250^2)^2 = 3,906,250,000 scores in every head of every layer: the map of weights is "
        "refused, and the fused kernel, which keeps none, does one head. Patches of P pixels divide the scores by P^4; "
        f"at 32 x 32 pixels and P = 4, {pixel_seconds / patch_seconds:.0f} times less processor time was measured."
    )
    figures = {"refusal": refusal, "GB of 250 x 250, float32": 4 * scores_of(250, 1) / 1e9}
    figures |= {"GB of 250 x 250, bfloat16": 2 * scores_of(250, 1) / 1e9, "head width of the streamed head": HEAD_DIM}
    figures |= {"seconds of scores, 32 x 32 pixels": pixel_seconds, "seconds, patches of 4": patch_seconds}
    return Result(verdict_of(checks), reason, checks, figures, (_plot(),))


def scores_of(side: int, patch: int) -> int:
    """Return the scores of one head for a square picture of `side` pixels in patches of `patch`."""
    return ((side // patch) ** 2) ** 2


def whole_picture(seed: int) -> tuple[str, float]:
    """Return how 250 x 250 pixels are refused, and the largest error of one head done without keeping weights."""
    q, k, v = (normal(seed, f"pixels {name}", 1, 1, SIDE**2, HEAD_DIM, dtype=torch.float32) for name in "qkv")
    try:
        attend_within(q, k, v)
        refusal = "none"
    except ConfigError as fault:
        refusal = fault.line()
    done, _ = attend(q, k, v)
    some = torch.linspace(0, SIDE**2 - 1, SAMPLE).long()
    exact, _ = attend_within(q[:, :, some].double(), k.double(), v.double())
    return refusal, largest(done[:, :, some] - exact)


def small_pictures(seed: int, batch: int = 8, width: int = 64) -> tuple[float, float]:
    """Return seconds of the scores of `batch` pictures of 32 x 32: in pixels, and in patches of 4."""
    works = []
    for count in (1024, 64):
        q, k = (normal(seed, f"pixels small {name}", batch, count, width, dtype=torch.float32) for name in "qk")
        works.append(partial(torch.bmm, q, k.transpose(1, 2), out=torch.empty(batch, count, count)))
    pixels, patches = least_seconds(works)
    return pixels, patches


def _plot() -> Plot:
    sides = (32, 64, 96, 128, 160, 192, 224, 256)
    lines = tuple(
        Series(f"patches of {patch}" if patch > 1 else "pixels", tuple(map(float, sides)),
               tuple(4 * scores_of(side, patch) / 1e9 for side in sides))
        for patch in (1, 4, 16)
    )  # fmt: skip
    return Plot("One map of weights", "side of the picture (pixels)", "GB (float32)", lines, log_y=True)


IDEA = Idea(
    name="pixels",
    number="S-05",
    claim="Every pixel to every pixel is out of reach, (250^2)^2 scores for a small picture; patches divide it by P^4.",
    experiment="Count and time the scores of pixels and of patches; give 250 x 250 pixels to attention.",
    paper="2010.11929, sec. 1 and 3.1",
    trained=False,
    run=run,
)
