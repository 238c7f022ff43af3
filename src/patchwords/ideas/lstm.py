"""S-20: from LSTM to transformer: one step to any word, instead of as many as lie between."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from ..architecture import LSTMConfig, ViTConfig
from ..figures.plot import Plot, Series
from .draws import generator
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import accuracy, learn, mean_and_sd, new_model

LENGTHS = {False: (8, 32, 128), True: (8, 32, 128, 512)}
"""tokens; the cue is the first"""
CUES = 4
BATCH = 64
RATES = {"lstm": ("adamw", 5e-3), "vit": ("muon", 1e-3)}
"""kind -> optimizer and its learning rate; Muon knows no matrices of an LSTM"""
STEPS = {False: 250, True: 2000}
SEEDS = {False: 1, True: 3}
TESTS = 1024
TIMED = {False: (64, 256), True: (64, 256, 1024, 4096)}
"""tokens of one sequence whose forward and backward pass is timed"""
DECODED, WIDTH = 8192, 512
"""tokens and width for which the cost of one more token is printed"""


def run(effort: Effort) -> Result:
    """Train an LSTM and a transformer to name the first of ever more tokens, and measure what reaches them."""
    lengths = LENGTHS[effort.full]
    seeds = [effort.seed + number for number in range(SEEDS[effort.full])]
    named = {kind: [[recalled(kind, t, seed, effort) for seed in seeds] for t in lengths] for kind in ("lstm", "vit")}
    means = {kind: [mean_and_sd(each)[0] for each in named[kind]] for kind in named}
    reach = {kind: [sensitivity(kind, t, effort.seed) for t in lengths] for kind in ("lstm", "vit")}
    chance = (means["lstm"][-1] - 1 / CUES) / math.sqrt((1 - 1 / CUES) / CUES / (TESTS * len(seeds)))
    fall = {kind: values[-1] / values[0] for kind, values in reach.items()}
    near, far = lengths[0], lengths[-1]
    checks = (
        Check(f"transformer, {near} to {far} tokens: worst accuracy", min(means["vit"]), ">", 0.95),
        Check(f"LSTM, {near} tokens: accuracy", means["lstm"][0], ">", 0.95),
        Check(f"LSTM, {far} tokens: standard errors above chance", chance, "<", 3.0),
        # an average over all tokens lets near / far through
        Check(f"new LSTM: derivative by the cue, {far} tokens over {near}", fall["lstm"], "<", near / far / 100),
        Check(f"new transformer: derivative by the cue, {far} tokens over {near}", fall["vit"], ">", near / far / 10),
    )
    reason = (
        f"After {STEPS[effort.full]} steps the transformer names the first of {far} tokens in "
        f"{100 * means['vit'][-1]:.3g} % of the sequences, the LSTM in {100 * means['lstm'][-1]:.3g} % (chance "
        f"{100 / CUES:.3g} %; of {near} tokens {100 * means['lstm'][0]:.3g} %). In a new LSTM the derivative by the "
        f"cue falls by {fall['lstm']:.1g} on the way, in a new transformer by {fall['vit']:.1g}. One more token costs "
        "the LSTM the same however much it has read, which attention cannot say."
    )
    x = tuple(float(t) for t in lengths)
    lines = (Series("transformer", x, tuple(means["vit"])), Series("LSTM", x, tuple(means["lstm"])))
    reaches = (Series("transformer", x, tuple(reach["vit"])), Series("LSTM", x, tuple(reach["lstm"])))
    plots = (
        Plot("Naming the first token", "tokens", "accuracy", lines, log_x=True),
        Plot("What reaches a new model", "tokens", "derivative by the first token", reaches, log_x=True, log_y=True),
    )
    figures: dict[str, float | int | str] = {
        f"{name}, {t} tokens: accuracy": means[kind][place]
        for kind, name in (("lstm", "LSTM"), ("vit", "transformer"))
        for place, t in enumerate(lengths)
    }
    verdict = verdict_of(checks, "qualified" if checks[0].met and means["lstm"][-1] < means["vit"][-1] else "refuted")
    return Result(verdict, reason, checks, figures | costs(effort), plots)


def sequences(seed: int, step: int, count: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Return one batch: a cue, marked as such, then others that are not; the label is the cue.

    Returns:
        pictures (B, CUES + 1, 1, T), one token a column; labels (B,).
    """
    shown = torch.randint(CUES, (count, tokens), generator=generator(seed, f"sequences {tokens} {step}"))
    marked = torch.zeros(count, tokens, 1)
    marked[:, 0] = 1.0
    pictures = torch.cat([nn.functional.one_hot(shown, CUES).float(), marked], dim=-1)
    return pictures.transpose(1, 2)[:, :, None].contiguous(), shown[:, 0]


def reader(kind: str, tokens: int, seed: int) -> nn.Module:
    """Return a new LSTM that answers after the last token, or a new transformer of one layer; of about one size."""
    shape = {"image_size": (1, tokens), "patch_size": (1, 1), "in_channels": CUES + 1, "num_classes": CUES}
    if kind == "lstm":
        return new_model(LSTMConfig(**shape, dim=32, hidden_dim=32, depth=1), seed)
    return new_model(ViTConfig(**shape, dim=32, depth=1, num_heads=2, mlp_dim=64, position="none"), seed)


def recalled(kind: str, tokens: int, seed: int, effort: Effort) -> float:
    """Return the accuracy on new sequences of a model trained on sequences of this length."""
    model, (optimizer, lr) = reader(kind, tokens, seed), RATES[kind]
    learn(
        model, lambda step: sequences(seed, step, BATCH, tokens), STEPS[effort.full], lr, seed, optimizer=optimizer,
        weight_decay=0.0, progress=effort.progress, name=f"{kind}, {tokens} tokens, seed {seed}",
    )  # fmt: skip
    return accuracy(model, *sequences(seed, -1, TESTS, tokens))


def sensitivity(kind: str, tokens: int, seed: int) -> float:
    """Return the norm of the derivative of a new model's features by the first token, mean over 8 sequences."""
    model = reader(kind, tokens, seed).double().eval()
    model.head = nn.Identity()
    pictures = sequences(seed, -2, 8, tokens)[0].double().requires_grad_()
    features = model(pictures)
    weights = torch.randn(features.shape, generator=generator(seed, "sequences weights"), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((features * weights).sum(), pictures)
    return float(gradient[..., 0].flatten(1).norm(dim=1).mean())


def costs(effort: Effort) -> dict[str, float | int | str]:
    """Return steps one after the other, measured seconds, and the price of one more token of both."""
    told: dict[str, float | int | str] = {}
    for tokens in TIMED[effort.full]:
        pictures, _ = sequences(effort.seed, -3, 8, tokens)
        for kind, name in (("lstm", "LSTM"), ("vit", "transformer")):
            model, one_by_one = reader(kind, tokens, effort.seed), tokens if kind == "lstm" else 1
            told[f"{name}, {tokens} tokens: steps one after the other"] = one_by_one
            told[f"{name}, {tokens} tokens: milliseconds, forward and backward, 8 sequences"] = timed(model, pictures)
    read, kept = 2 * DECODED * WIDTH, 2 * WIDTH
    told |= {
        f"one more token after {DECODED}, width {WIDTH}, LSTM layer: multiplications": 8 * WIDTH**2,
        f"one more token after {DECODED}, width {WIDTH}, attention block: multiplications": 12 * WIDTH**2 + read,
        f"numbers kept for it after {DECODED} tokens, LSTM layer": kept,
        f"numbers kept for it after {DECODED} tokens, attention block": read,
    }
    return told


def timed(model: nn.Module, pictures: Tensor) -> float:
    """Return milliseconds of a forward and backward pass, the fastest of three after one that is not counted."""
    fastest = math.inf
    for _ in range(4):
        begun = time.perf_counter()
        model(pictures).logsumexp(dim=1).sum().backward()
        fastest = min(fastest, time.perf_counter() - begun) if _ else math.inf
    return round(1e3 * fastest, 2)


IDEA = Idea(
    name="lstm",
    number="S-20",
    claim="The transformer took the LSTM's place: any word is one step away, and all words are read at once. "
    "The LSTM stays cheaper for each further word of a long text.",
    experiment="Name the first of 8 to 512 tokens: accuracy, the derivative that reaches it, time, and steps that must "
    "be done one after the other.",
    paper="2010.11929, sec. 1 and 2; 1706.03762, table 1",
    trained=True,
    run=run,
)
