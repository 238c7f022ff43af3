"""S-06: attention is said to be the expensive operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..architecture import ViTConfig
from ..cost import cost_of
from ..figures.plot import Plot, Series
from ..models import build_empty, model_config
from .draws import drawn_model, normal
from .idea import Check, Effort, Idea, Result
from .timing import least_seconds

MODEL = "vit_base_patch16_224"
QUADRATIC, PROJECTIONS = ("scores", "weighted sum"), ("qkv", "projection")
TIMED = (197, 785)
"""tokens: pictures of 224 and of 448 pixels"""
LONGEST = 2**15
"""tokens up to which crossings are looked for"""
SHOWN = (50, 100, 197, 400, 785, 1600, 3200, 6400, 12800)


@torch.no_grad()
def run(effort: Effort) -> Result:
    """Split the cost of ViT-B/16 into parts, find the sequence lengths where attention takes over, and time a block."""
    config, at_224 = model_config(MODEL), shares(197)
    dim = config.dim
    over_mlp = first_tokens(lambda tokens: shares(tokens)["attention"] >= shares(tokens)["MLP"])
    over_all = first_tokens(lambda tokens: shares(tokens)["quadratic"] >= 0.5)
    seconds = {tokens: timed(effort.seed, tokens) for tokens in TIMED}
    claimed = (
        Check("B/16 at 224 pixels: share of attention, projections included", at_224["attention"], ">", 0.5),
        Check("B/16 at 224 pixels: share of what grows with T^2", at_224["quadratic"], ">", 0.5),
    )
    bounds = (
        Check("FLOPs computed over FLOPs counted while it runs", counted_over_computed(), "==", 1.0),
        Check("tokens where attention passes the MLP, over 2 D: at least", over_mlp / (2 * dim), ">=", 0.9),
        Check("the same: at most", over_mlp / (2 * dim), "<=", 1.1),
        Check("tokens where the part in T^2 passes all else, over 6 D: at least", over_all / (6 * dim), ">=", 0.9),
        Check("the same: at most", over_all / (6 * dim), "<=", 1.1),
    )
    known = all(check.met for check in bounds)
    verdict = "refuted" if not known else "confirmed" if all(check.met for check in claimed) else "qualified"
    reason = (
        f"At 196 patches it is not: attention with its projections is {100 * at_224['attention']:.2g} % of the "
        f"multiply-adds of B/16, its part in T^2 {100 * at_224['quadratic']:.2g} %, the MLP {100 * at_224['MLP']:.2g} "
        f"%. It passes the MLP from {over_mlp:,} tokens on, and its part in T^2 passes all else from {over_all:,}."
    )
    figures = {f"share of {name}, 197 tokens": share for name, share in at_224.items()}
    figures |= {"tokens where attention passes the MLP": over_mlp, "tokens where T^2 passes all else": over_all}
    for tokens, (attention, mlp) in seconds.items():
        figures[f"share of attention in the time of both, {tokens} tokens"] = attention / (attention + mlp)
    return Result(verdict, reason, (*claimed, *bounds), figures, (_plot(),))


def sized(tokens: int) -> ViTConfig:
    """Return B/16 for a picture one patch high that makes this many tokens."""
    return model_config(MODEL, image_size=(16, 16 * (tokens - 1)))


def shares(tokens: int) -> dict[str, float]:
    """Return the shares of all multiply-adds: attention, what of it grows with T^2, the MLP."""
    cost = cost_of(sized(tokens))
    macs = {part.name: part.macs for part in cost.parts}
    quadratic = sum(macs[name] for name in QUADRATIC)
    attention = quadratic + sum(macs[name] for name in PROJECTIONS)
    return {"attention": attention / cost.macs, "quadratic": quadratic / cost.macs, "MLP": macs["MLP"] / cost.macs}


def first_tokens(passes: Callable[[int], bool]) -> int:
    """Return the smallest number of tokens at which `passes` is true, by halving; LONGEST when there is none."""
    low, high = 2, LONGEST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return low


def counted_over_computed() -> float:
    """Return FLOPs counted while B/16 runs (nothing is computed: meta device), over those of the formula."""
    model = build_empty(model_config(MODEL)).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    return counter.get_total_flops() / cost_of(model.config).flops


def timed(seed: int, tokens: int) -> tuple[float, float]:
    """Return processor seconds of attention and of the MLP of one block of B/16."""
    config = model_config(MODEL, image_size=(16, 16 * (tokens - 1)), depth=1)
    model = drawn_model(config, seed, torch.float32)
    z, places = model.embed(normal(seed, "expensive picture", 1, 3, *config.image_size, dtype=torch.float32))
    block = model.blocks[0]
    attention, mlp = least_seconds([partial(block.attn, z, places), partial(block.mlp, z)])
    return attention, mlp


def _plot() -> Plot:
    found = [shares(tokens) for tokens in SHOWN]
    names = {"attention": "attention with projections", "quadratic": "its part in T^2", "MLP": "MLP"}
    lines = tuple(
        Series(words, tuple(map(float, SHOWN)), tuple(100 * each[name] for each in found))
        for name, words in names.items()
    )
    return Plot("What ViT-B/16 computes", "tokens T", "share of the multiply-adds (%)", lines, log_x=True)


IDEA = Idea(
    name="expensive",
    number="S-06",
    claim="Multi-head attention is the expensive operation.",
    experiment="Split the multiply-adds of ViT-B/16 into parts, find where attention takes over, and time one block.",
    paper="2010.11929, app. A and table 6",
    trained=False,
    run=run,
)
