"""S-04: attention becomes a very large task very quickly."""

from __future__ import annotations

from functools import partial

import torch

from ..figures.plot import Plot, Series
from ..models.attention import attend
from .draws import largest, normal
from .idea import Check, Effort, Idea, Result, verdict_of
from .operations import most_bytes
from .streaming import streamed
from .timing import exponent, least_seconds

TOKENS = (256, 512, 1024, 2048, 4096, 8192)
HEAD_DIM = 128
"""of one head; wide, so that the time is that of the products and not that of writing the map to memory"""
NARROW = 16
"""head width where memory is measured: q, k, v and the answer, which grow with T, are then small beside the map"""


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Time the scores of one head and count the bytes of attention, with its map of weights and without."""
    q, k, v = (
        normal(effort.seed, f"quadratic {name}", 1, 1, TOKENS[-1], HEAD_DIM, dtype=torch.float32) for name in "qkv"
    )
    parts = [(q[:, :, :count], k[:, :, :count], v[:, :, :count]) for count in TOKENS]
    narrow = [tuple(each[..., :NARROW] for each in part) for part in parts]
    naive = [most_bytes(partial(attend, *part, explicit=True)) for part in narrow]
    streaming = [most_bytes(partial(streamed, *part)) for part in narrow]
    seconds = score_seconds(q[0, 0], k[0, 0])
    flowing = least_seconds([partial(streamed, *part) for part in parts[2:5]])
    apart = largest(streamed(*parts[3]) - attend(*parts[3], explicit=True)[0])
    checks = (
        Check("exponent of memory in T, weights kept", exponent(TOKENS, naive), ">=", 1.98),
        Check("exponent of memory in T, weights kept", exponent(TOKENS, naive), "<=", 2.02),
        Check("exponent of the time of the scores", exponent(TOKENS, seconds), ">=", 1.85),
        Check("exponent of the time of the scores", exponent(TOKENS, seconds), "<=", 2.15),
        Check("exponent of memory, streaming softmax", exponent(TOKENS, streaming), ">=", 0.9),
        Check("exponent of memory, streaming softmax", exponent(TOKENS, streaming), "<=", 1.1),
        Check("exponent of time, streaming softmax: not linear", exponent(TOKENS[2:5], flowing), ">", 1.5),
        Check("streaming against kept weights, largest difference", apart, "<", 1e-5),
    )
    reason = (
        f"Twice the tokens take {2 ** checks[2].value:.2g} times the time for the scores (processor time of one "
        f"thread, least of several rounds) and {2 ** checks[0].value:.2g} times the memory; a streaming softmax needs "
        "memory in proportion to the tokens, and as much more time."
    )
    figures = {f"bytes at {TOKENS[-1]} tokens, weights kept": naive[-1], "bytes, streaming": streaming[-1]}
    figures |= {f"seconds of the scores, {count} tokens": each for count, each in zip(TOKENS, seconds, strict=True)}
    return Result(verdict_of(checks), reason, checks, figures, _plots(naive, streaming, seconds))


def score_seconds(q: torch.Tensor, k: torch.Tensor) -> list[float]:
    """Return seconds of q k^T for the first T of q and k (tokens, D_h), written where memory is already at hand."""
    out = torch.empty(TOKENS[-1] ** 2)
    works = [partial(torch.mm, q[:n], k[:n].t(), out=out[: n * n].view(n, n)) for n in TOKENS]
    return least_seconds(works)


def _plots(naive: list[int], streaming: list[int], seconds: list[float]) -> tuple[Plot, ...]:
    tokens = tuple(float(count) for count in TOKENS)
    square = tuple(seconds[-1] * (count / TOKENS[-1]) ** 2 for count in TOKENS)
    memory = tuple(
        Series(name, tokens, tuple(each / 2**20 for each in values))
        for name, values in (("weights kept", naive), ("streaming softmax", streaming))
    )
    return (
        Plot("Memory of one head", "tokens T", "MiB", memory, log_x=True, log_y=True),
        Plot(
            "Time of the scores of one head", "tokens T", "seconds",
            (Series("measured", tokens, tuple(seconds)), Series("T^2 through the last", tokens, square)),
            log_x=True, log_y=True,
        ),
    )  # fmt: skip


IDEA = Idea(
    name="quadratic",
    number="S-04",
    claim="Attention becomes a very large task very quickly: its time and its map of weights grow as T^2.",
    experiment="Measure time and memory of one head for 256 to 8192 tokens, with the map of weights and streaming.",
    paper="2010.11929, sec. 1 and 2; 1805.02867 and 2112.05682 for the streaming softmax",
    trained=False,
    run=run,
)
