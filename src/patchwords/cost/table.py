"""A cost as a table to read: part by part, then tokens, operations and memory."""

from __future__ import annotations

from .count import Cost
from .vit import dear_tokens


def cost_table(cost: Cost, title: str = "", batch_size: int = 1, precision: str = "fp32") -> list[str]:
    """Return `cost` as lines of text.

    Args:
        title: of the first line.
        batch_size: pictures that the memory is given for.
        precision: "fp32" or "bf16".
    """
    rows, columns = cost.config.image_size
    width = max(len(part.name) for part in cost.parts)
    width = max(width, len("activations"))
    head = f"{title}: " if title else ""
    lines = [
        f"{head}one picture of {rows}x{columns}",
        "",
        f"{'part':<{width}} {'parameters':>14} {'MFLOP':>12} {'share':>7}",
    ]
    for part in cost.parts:
        share = part.flops / max(cost.flops, 1)
        lines.append(f"{part.name:<{width}} {part.parameters:>14,} {part.flops / 1e6:>12,.2f} {share:>7.1%}")
    total = f"{'total':<{width}} {cost.parameters:>14,} {cost.flops / 1e6:>12,.2f} {1:>7.1%}"
    return [*lines, total, "", *_operations(cost, width), *_memory(cost, width, batch_size, precision)]


def _operations(cost: Cost, width: int) -> list[str]:
    """Return the lines of tokens and operations."""
    forwards = f"{amount(cost.flops)}FLOP a picture: multiplications and additions of matrix products and convolutions"
    training = f"{amount(cost.training_flops)}FLOP a picture: three times that by the rule"
    lines = [
        f"{'tokens':<{width}} {cost.tokens:,}",
        f"{'forwards':<{width}} {forwards}",
        f"{'training':<{width}} {training}; {amount(cost.step_flops)}FLOP as it is computed here",
    ]
    if cost.attention_flops and cost.config.attention == "global":
        own, block = dear_tokens(cost.config)
        share = f"{cost.attention_flops / cost.flops:.1%} compares tokens"
        dear = f"as much as attention's own matrices at {own:,} tokens, as all of a block at {block:,}"
        lines.append(f"{'attention':<{width}} {share}; {dear}")
    return lines


def _memory(cost: Cost, width: int, batch_size: int, precision: str) -> list[str]:
    """Return the lines of memory: the weights, what a step keeps, what an answer needs at once."""
    pictures = "of a picture" if batch_size == 1 else f"of {batch_size:,} pictures"
    kept = [batch_size * cost.activation_bytes(precision, each) for each in (False, True)]
    peak = [batch_size * cost.inference_bytes(precision, each) for each in (False, True)]
    state = f"{amount(cost.training_state_bytes(precision))}B in training, with gradients and AdamW's averages"
    return [
        f"{'weights':<{width}} {amount(cost.weight_bytes(precision))}B in {precision}; {state}",
        f"{'activations':<{width}} {_either(kept)} {pictures} kept for the backward pass",
        f"{'inference':<{width}} {_either(peak)} {pictures} at once, beside the weights",
    ]


def _either(amounts: list[int]) -> str:
    """Return the bytes with a fused kernel, and where attention weights are written out."""
    fused, written = (f"{amount(each)}B" for each in amounts)
    return fused if fused == written else f"{fused} ({written} with attention weights written out)"


def amount(value: float) -> str:
    """Return a number with three figures and a decimal prefix: "17.6 G"."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:  # 999.6 k is 1 M
            return f"{value / size:,.3g} {prefix}" if value < 1e15 else f"{value / size:,.0f} {prefix}"
    return f"{value:.3g} "
