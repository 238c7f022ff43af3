"""One optimizer step against plain formulas."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from patchwords.config import OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from patchwords.data.mixing import Mixer
from patchwords.models import create_model
from patchwords.training.step import (
    Shard,
    TrainState,
    accumulate_gradients,
    clip_gradients,
    train_step,
    update_average,
    weighted_loss,
)

TINY = {"image_size": 8, "patch_size": 4, "in_channels": 1, "dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32}


def state(dtype=torch.float32, head: float = 0.5, **settings) -> TrainState:
    """A state of a tiny model whose head is not zero."""
    torch.manual_seed(0)
    model = create_model("vit_digits", num_classes=5, **TINY, **settings.pop("model", {})).train()
    torch.nn.init.normal_(model.head.weight, std=head)
    optimizer = OptimizerConfig(
        **({"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "clip_norm": 0.0} | settings.pop("optimizer", {}))
    )
    train = TrainConfig(**({"batch_size": 12} | settings))
    schedule = ScheduleConfig(name="constant", warmup_epochs=0)
    run = dataclasses.replace(RunConfig(), optimizer=optimizer, train=train, schedule=schedule)
    return TrainState(model, run, 100, 0, dtype)


def batch(count: int = 12, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 8, 8, generator=source, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, 5, (count,), generator=source)
    return images, F.one_hot(labels, 5).float(), torch.ones(count)


def cut(parts: tuple[torch.Tensor, ...], shards: int) -> list[Shard]:
    return [Shard(*pieces) for pieces in zip(*(part.chunk(shards) for part in parts), strict=True)]


def test_shards_add_up_to_the_whole_batch_in_float64():
    """The gradient of V shards, weights included, is that of the mean over the batch (float64, 1e-12)."""
    model = state().model.double()
    images, targets, weights = batch(dtype=torch.float64)
    weights[3] = weights[10] = 0
    whole = (F.cross_entropy(model(images), targets.double(), reduction="none") * weights).sum() / weights.sum()
    expected = torch.autograd.grad(whole, list(model.parameters()))
    for shards in (1, 2, 3, 6):
        total = sum(shard.weights.sum() for shard in cut((images, targets, weights), shards))
        added = [torch.zeros_like(p) for p in model.parameters()]
        for part in cut((images, targets.double(), weights.double()), shards):
            loss = (F.cross_entropy(model(part.images), part.targets, reduction="none") * part.weights).sum() / total
            for mine, gradient in zip(added, torch.autograd.grad(loss, list(model.parameters())), strict=True):
                mine += gradient
        for mine, theirs in zip(added, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shards", [1, 2, 3, 6])
def test_accumulated_gradient_is_that_of_the_mean_loss(shards):
    mine, reference = state(), state()
    parts = batch()
    parts[2][3] = 0
    loss = accumulate_gradients(mine, cut(parts, shards))
    losses = F.cross_entropy(reference.model(parts[0]), parts[1], reduction="none")
    expected = (losses * parts[2]).sum() / parts[2].sum()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, parameter in reference.model.named_parameters():
        torch.testing.assert_close(mine.weights[name].grad, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_same_shards_give_the_same_bits_whatever_was_drawn_before():
    results = []
    for noise in (0, 5):
        mine = state(model={"dropout": 0.3, "drop_path": 0.2})
        torch.manual_seed(noise)
        for _ in range(3):
            train_step(mine, cut(batch(), 3), list)
        results.append(torch.cat([weight.detach().flatten() for weight in mine.weights.values()]))
    assert torch.equal(*results)


def test_a_picture_of_weight_0_gives_no_gradient():
    gradients = []
    for value in (0.0, 1e4):
        mine, (images, targets, weights) = state(), batch()
        weights[5], images[5] = 0, value
        accumulate_gradients(mine, cut((images, targets, weights), 2))
        gradients.append([weight.grad for weight in mine.weights.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    mine = state()
    result = train_step(mine, cut((*batch()[:2], torch.zeros(12)), 2), list)
    assert result.loss == 0 and result.grad_norm == 0


def test_clipping():
    mine = state(optimizer={"clip_norm": 0.25})
    accumulate_gradients(mine, cut(batch(), 1))
    before = {name: weight.grad.clone() for name, weight in mine.weights.items()}
    expected = math.sqrt(sum(float(g.double().pow(2).sum()) for g in before.values()))
    assert expected > 0.25 and clip_gradients(mine).item() == pytest.approx(expected, rel=1e-5)
    for name, gradient in before.items():
        torch.testing.assert_close(mine.weights[name].grad, gradient * (0.25 / expected), rtol=1e-4, atol=1e-8)
    assert clip_gradients(mine).item() == pytest.approx(0.25, rel=1e-4)


def test_sgd_by_hand():
    mine = state(optimizer={"momentum": 0.5})
    velocity = {name: torch.zeros_like(weight) for name, weight in mine.weights.items()}
    for _ in range(3):
        accumulate_gradients(mine, cut(batch(), 2))
        expected = {}
        for name, weight in mine.weights.items():
            velocity[name] = 0.5 * velocity[name] + weight.grad
            expected[name] = weight.detach() - 0.1 * velocity[name]
        result = train_step(mine, cut(batch(), 2), list)
        for name, weight in mine.weights.items():
            torch.testing.assert_close(weight.detach(), expected[name], rtol=1e-5, atol=1e-7)
    assert result.lr == 0.1 and mine.step == 3


def test_average_by_hand():
    mine = state(ema_decay=0.5)
    average = {name: weight.detach().clone() for name, weight in mine.weights.items()}
    for step in range(1, 15):
        train_step(mine, cut(batch(), 1), list)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, weight in mine.weights.items():
            average[name] = decay * average[name] + (1 - decay) * weight.detach()
    for name, expected in average.items():
        torch.testing.assert_close(mine.averaged()[name], expected, rtol=1e-5, atol=1e-6)
    plain = state()
    update_average(plain)
    assert plain.averaged() is plain.weights and not plain.ema


def test_label_smoothing_is_torchs():
    images, labels = torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2, 3, 4, 0])
    from patchwords.config import AugmentConfig

    _, targets = Mixer(AugmentConfig(), 5, 0.1, 0)(images, labels, step=0, shard=0, weights=torch.ones(6))
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    mine = weighted_loss(logits, Shard(images, targets, torch.ones(6))) / 6
    torch.testing.assert_close(mine, F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_two_heads_are_taught_equally():
    logits, other = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(4))
    shard = Shard(*batch())
    both = weighted_loss((logits, other), shard)
    torch.testing.assert_close(both, (weighted_loss(logits, shard) + weighted_loss(other, shard)) / 2)


def test_bf16_masters_stay_fp32():
    """The model holds the rounded weights; what is moved, averaged and saved is float32, and small steps add up."""
    mine = state(torch.bfloat16, optimizer={"lr": 1e-5}, ema_decay=0.9)
    start = {name: weight.detach().clone() for name, weight in mine.weights.items()}
    for _ in range(4):
        train_step(mine, cut(batch(dtype=torch.bfloat16), 2), list)
    saved = mine.tensors()
    floating = {n: t for n, t in saved.items() if n.startswith(("weights", "ema", "optimizer"))}
    assert {tensor.dtype for tensor in floating.values()} == {torch.float32}
    assert {parameter.dtype for parameter in mine.model.parameters()} == {torch.bfloat16}
    for name, parameter in mine.model.named_parameters():
        assert torch.equal(parameter, mine.weights[name].to(torch.bfloat16)), name
    moved = [n for n, w in mine.weights.items() if not torch.equal(w, start[n])]
    assert len(moved) == len(mine.weights)
    fresh = state(torch.bfloat16, optimizer={"lr": 1e-5}, ema_decay=0.9)
    fresh.load_tensors(saved, 4)
    assert torch.equal(fresh.model.head.weight, mine.model.head.weight) and fresh.step == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_fp32_model_and_weights_share_storage_and_learn(optimizer):
    mine = state(optimizer={"name": optimizer, "lr": 0.01, "muon_lr": 0.01})
    first = train_step(mine, cut(batch(), 2), list).loss
    for _ in range(30):
        last = train_step(mine, cut(batch(), 2), list).loss
    assert last < 0.7 * first
    for name, parameter in mine.model.named_parameters():
        assert parameter.data_ptr() == mine.weights[name].data_ptr()
    assert mine.non_finite() == ""
    mine.weights["head.bias"].data[0] = float("nan")
    assert mine.non_finite() == "weights/head.bias"


def test_every_step_and_shard_draws_anew():
    """With a learning rate of 0 only the dropout differs: between steps, between shards, between seeds."""
    model = {"dropout": 0.5}
    part = cut(batch(), 1)[0]
    mine = state(model=model, optimizer={"lr": 0.0})
    losses = [train_step(mine, [part], list).loss for _ in range(3)]
    assert len(set(losses)) == 3
    once, twice = (accumulate_gradients(state(model=model), [part] * count).item() for count in (1, 2))
    assert once == losses[0] and once != pytest.approx(twice, rel=1e-6)
    assert accumulate_gradients(state(model=model, seed=1), [part]) != once
