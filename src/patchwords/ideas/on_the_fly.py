"""S-15: attention computes its connections from what it reads; an MLP has them fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..architecture import MixerConfig, ViTConfig
from ..errors import ConfigError
from ..figures.plot import Plot, Series
from .draws import generator
from .idea import Check, Effort, Idea, Result, verdict_of
from .learn import Batches, ReadAt, accuracy, answers, learn, mean_and_sd, new_model, parameters

TOKENS, LONGER = 64, 128
LENGTHS = (16, 32, 64, 128, 256)
"""on which the model trained on TOKENS is tried"""
KEY, VALUES = 16, 8
"""channels of a key; how many values there are"""
CHANNELS = KEY + VALUES + 1
BATCH, LR = 64, 5e-3
STEPS = {False: 700, True: 3000}
SEEDS = {False: 1, True: 5}
TESTS = {False: 1024, True: 8192}
SHAPE = {"image_size": (1, TOKENS), "patch_size": (1, 1), "in_channels": CHANNELS, "num_classes": VALUES}
VIT = ViTConfig(
    **SHAPE, dim=32, depth=1, num_heads=1, mlp_dim=64, pool="mean", class_token=False, position="none"
)  # fmt: skip
MIXER = MixerConfig(**SHAPE, dim=32, depth=1, tokens_dim=32, mlp_dim=64)


def run(effort: Effort) -> Result:
    """Train attention and an MLP over places to look up a key, and try both on other lengths."""
    seeds = [effort.seed + number for number in range(SEEDS[effort.full])]
    attention, fixed = ([taught(config, seed, effort) for seed in seeds] for config in (VIT, MIXER))
    count = TESTS[effort.full]
    found = {t: [accuracy(m, *recall(effort.seed, -1, count, t)) for m in attention] for t in LENGTHS}
    mixed = [accuracy(model, *recall(effort.seed, -1, count, TOKENS)) for model in fixed]
    refused = sum(refuses(model, LONGER) for model in fixed)
    sizes = [parameters(models[0]) for models in (attention, fixed)]
    weight = mean_and_sd([routed(model, effort.seed) for model in attention])[0]
    checks = (
        Check(f"attention, {TOKENS} tokens: worst accuracy", min(found[TOKENS]), ">", 0.99),
        Check(f"MLP over places, {TOKENS} tokens: best accuracy", max(mixed), "<", 3 / VALUES),
        Check("parameters of the MLP over those of attention", sizes[1] / sizes[0], ">=", 0.99),
        Check(f"attention, {LONGER} tokens, never seen: worst accuracy", min(found[LONGER]), ">", 0.95),
        Check(f"MLPs that can read {LONGER} tokens", len(fixed) - refused, "==", 0),
    )
    means = {t: mean_and_sd(each)[0] for t, each in found.items()}
    reason = (
        f"After {STEPS[effort.full]} steps one layer of attention looks up the right one of {TOKENS - 1} keys in "
        f"{100 * means[TOKENS]:.4g} % of new pictures, and of {LONGER - 1} in {100 * means[LONGER]:.4g} % without "
        f"training; its query puts {100 * weight:.3g} % of its weight on the key asked for. An MLP over places of the "
        f"same size comes to {100 * mean_and_sd(mixed)[0]:.3g} % (chance {100 / VALUES:.3g} %) and has no weights for "
        "other lengths."
    )
    x = tuple(float(t) for t in LENGTHS)
    lines = (
        Series("attention", x, tuple(means[t] for t in LENGTHS)),
        Series("MLP over places", (float(TOKENS),), (mean_and_sd(mixed)[0],)),
    )
    figures: dict[str, float | int | str] = {f"attention, {t} tokens: accuracy": means[t] for t in LENGTHS}
    figures |= {f"MLP over places, {TOKENS} tokens: accuracy": mean_and_sd(mixed)[0]}
    figures |= {"attention: parameters": sizes[0], "MLP over places: parameters": sizes[1]}
    figures["attention: weight of the query on the key asked for"] = weight
    plot = Plot(f"Looking up a key, trained on {TOKENS} tokens", "tokens", "accuracy", lines, log_x=True)
    verdict = verdict_of(checks, "qualified" if checks[0].met and checks[3].met else "refuted")
    return Result(verdict, reason, checks, figures, (plot,))


def taught(config: ViTConfig | MixerConfig, seed: int, effort: Effort) -> nn.Module:
    """Return a model that was trained to answer from the first token, the one that asks."""
    model = ReadAt(new_model(config, seed), 0)
    learn(
        model, lessons(seed, TOKENS), STEPS[effort.full], LR, seed, weight_decay=0.0,
        progress=effort.progress, name=f"{config.kind}, seed {seed}",
    )  # fmt: skip
    return model


def refuses(model: nn.Module, tokens: int) -> bool:
    """Return whether a model cannot read pictures of this many tokens."""
    try:
        answers(model, recall(0, -1, 1, tokens)[0])
    except ConfigError:
        return True
    return False


def routed(model: nn.Module, seed: int, count: int = 256) -> float:
    """Return the attention of the asking token to the token it asks for, mean over pictures."""
    pictures, _ = recall(seed, -1, count, TOKENS)
    record: dict[str, Tensor] = {}
    with torch.no_grad():
        model.model.forward_features(pictures, record)
    keys = pictures[:, :KEY, 0]
    wanted = (keys[:, :, 1:] == keys[:, :, :1]).all(dim=1)
    weights = record["block00/attn/weights"].mean(dim=1)[:, 0, 1:]
    return float((weights * wanted).sum(dim=1).mean())


def recall(seed: int, step: int, count: int, tokens: int, filled: int = 0) -> tuple[Tensor, Tensor]:
    """Return one batch of the task: find the key that is asked for, and say what stands beside it.

    The first token asks for a key (a direction drawn anew for each picture, with a flag); each of the others has a
    key and a value, and the one asked for is anywhere. Every value stands beside about as many keys as any other.

    Args:
        filled: how many tokens have a key, at places drawn at random; the others are zero. 0: all.

    Returns:
        pictures (B, C, 1, T) of one token a column; labels (B,), the value.
    """
    random = generator(seed, f"recall {tokens} {step}")
    filled = filled or tokens - 1
    keys = torch.randn(count, filled, KEY, generator=random)
    keys *= KEY**0.5 / keys.norm(dim=-1, keepdim=True)
    order = torch.rand(count, filled, generator=random).argsort(dim=1)
    values = (order + torch.randint(VALUES, (count, 1), generator=random)) % VALUES
    wanted = torch.randint(filled, (count,), generator=random)
    places = 1 + torch.rand(count, tokens - 1, generator=random).argsort(dim=1)[:, :filled]
    rows = torch.arange(count)
    pictures = torch.zeros(count, tokens, CHANNELS)
    pictures[:, 0, :KEY], pictures[:, 0, -1] = keys[rows, wanted], 1.0
    shown = nn.functional.one_hot(values, VALUES)
    pictures[rows[:, None], places] = torch.cat([keys, shown, torch.zeros(count, filled, 1)], dim=-1)
    return pictures.transpose(1, 2)[:, :, None], values[rows, wanted]


def lessons(seed: int, tokens: int) -> Batches:
    """Return training batches with 2 keys to choose from, or more, up to all; more often few than many.

    With all of them from the beginning nothing tells the query where to look, and neither model learns for long.
    """

    def batch(step: int) -> tuple[Tensor, Tensor]:
        share = float(torch.rand((), generator=generator(seed, f"recall filled {step}")))
        return recall(seed, step, BATCH, tokens, round(2 * ((tokens - 1) / 2) ** share**2))

    return batch


IDEA = Idea(
    name="on-the-fly",
    number="S-15",
    claim="An MLP knows where its information comes from; a transformer computes the connections on the fly.",
    experiment="Look up a key among others, at a place that is new in each picture: one layer of attention against an "
    "MLP over places of the same size; then twice as many tokens without training.",
    paper="2010.11929, app. A, eq. 5-7; 2105.01601",
    trained=True,
    run=run,
)
