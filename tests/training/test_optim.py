"""Schedules, parameter groups and optimizers; the paper's tables as presets."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch

from patchwords.config import OptimizerConfig, RunConfig, ScheduleConfig
from patchwords.errors import ConfigError
from patchwords.models import create_model, list_models, model_config
from patchwords.presets import PRESETS, apply_preset
from patchwords.training.lanes import Lanes
from patchwords.training.optim import build_optimizers, is_hidden_matrix, layer_scales, schedule_factor

MODELS = ("vit_digits", "vit_tiny_patch4_32")


def test_schedule_values():
    cosine, linear = ScheduleConfig(name="cosine"), ScheduleConfig(name="linear", final=0.1)
    assert schedule_factor(cosine, 0, 100, 10) == pytest.approx(1 / 11)
    assert schedule_factor(cosine, 9, 100, 10) == pytest.approx(10 / 11)
    assert schedule_factor(cosine, 10, 100, 10) == 1.0
    assert schedule_factor(cosine, 55, 100, 10) == pytest.approx(0.5)
    assert schedule_factor(cosine, 100, 100, 10) == pytest.approx(0.0, abs=1e-12)
    assert schedule_factor(linear, 0, 100, 0) == 1.0
    assert schedule_factor(linear, 50, 100, 0) == pytest.approx(0.55)
    assert schedule_factor(linear, 100, 100, 0) == pytest.approx(0.1)
    assert all(schedule_factor(ScheduleConfig(name="constant"), s, 100, 10) == 1.0 for s in (10, 50, 100))
    values = [schedule_factor(cosine, step, 100, 10) for step in range(101)]
    assert values[:11] == sorted(values[:11]) and values[10:] == sorted(values[10:], reverse=True)
    assert values[0] > 0 and max(values) == 1.0 and all(math.isfinite(value) for value in values)


PRETRAINING = {  # P-26, table 3: (peak learning rate, epochs, weight decay, dropout, schedule, clip)
    "paper_jft_b32": (8e-4, 7, 0.1, 0.0, "linear", 0.0),
    "paper_jft_b16": (8e-4, 7, 0.1, 0.0, "linear", 0.0),
    "paper_jft_l32": (6e-4, 7, 0.1, 0.0, "linear", 0.0),
    "paper_jft_l16": (4e-4, 7, 0.1, 0.0, "linear", 0.0),
    "paper_jft_l16_14": (4e-4, 14, 0.1, 0.0, "linear", 0.0),
    "paper_jft_h14": (3e-4, 14, 0.1, 0.0, "linear", 0.0),
    "paper_imagenet21k_b": (1e-3, 90, 0.03, 0.1, "linear", 0.0),
    "paper_imagenet21k_l": (1e-3, 30, 0.03, 0.1, "linear", 0.0),
    "paper_imagenet21k_l_90": (1e-3, 90, 0.03, 0.1, "linear", 0.0),
    "paper_imagenet": (3e-3, 300, 0.3, 0.1, "cosine", 1.0),
}
FINE_TUNING = {  # P-27, table 4: (learning rates tried, steps)
    "paper_finetune_imagenet": ((0.003, 0.01, 0.03, 0.06), 20_000),
    "paper_finetune_cifar10": ((0.001, 0.003, 0.01, 0.03), 10_000),
    "paper_finetune_cifar100": ((0.001, 0.003, 0.01, 0.03), 10_000),
    "paper_finetune_pets": ((0.001, 0.003, 0.01, 0.03), 500),
    "paper_finetune_flowers": ((0.001, 0.003, 0.01, 0.03), 500),
    "paper_finetune_vtab": ((0.01,), 2_500),
}


def test_every_preset_is_in_the_tables():
    assert PRESETS.keys() == PRETRAINING.keys() | FINE_TUNING.keys()


@pytest.mark.parametrize("name", PRETRAINING)
def test_presets_are_table_3(name):
    run = apply_preset(RunConfig(), name)
    lr, epochs, weight_decay, dropout, schedule, clip = PRETRAINING[name]
    found = run.optimizer
    assert (found.name, found.beta1, found.beta2, found.lr) == ("adamw", 0.9, 0.999, lr)
    assert (found.weight_decay, found.clip_norm, run.model.dropout) == (weight_decay, clip, dropout)
    assert (run.train.batch_size, run.train.epochs, run.train.steps) == (4096, epochs, 0)
    assert (run.schedule.name, run.schedule.warmup_steps) == (schedule, 10_000)
    steps = 100_000
    assert schedule_factor(run.schedule, 0, steps, 10_000) == pytest.approx(0, abs=1e-3)
    assert schedule_factor(run.schedule, 10_000, steps, 10_000) == 1.0
    assert schedule_factor(run.schedule, steps, steps, 10_000) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", FINE_TUNING)
def test_presets_are_table_4(name):
    run = apply_preset(RunConfig(), name)
    tried, steps = FINE_TUNING[name]
    found = run.optimizer
    assert (found.name, found.momentum, found.weight_decay, found.clip_norm) == ("sgd", 0.9, 0.0, 1.0)
    assert found.lr in tried and run.train.steps == steps and run.train.batch_size == 512
    assert run.schedule.name == "cosine"
    assert schedule_factor(run.schedule, 0, steps, 0) == 1.0
    assert run.model.image_size == run.data.image_size == (384, 384)


@pytest.mark.parametrize(("model", "size"), [("vit_huge_patch14_224", 378), ("vit_tiny_patch4_32", 32)])
def test_fine_tuning_is_at_384_or_near_it_where_the_model_sees_224(model, size):
    config = model_config(model)
    data = dataclasses.replace(RunConfig().data, image_size=config.image_size)
    run = apply_preset(RunConfig(model=config, data=data), "paper_finetune_pets")
    assert run.model.image_size == run.data.image_size == (size, size)
    assert apply_preset(run, "paper_finetune_pets") == run


def test_layers_learn_at_their_own_rate():
    """Every group's peak is lr decay^(L + 1 - layer), whatever the optimizer; decay 1 leaves one rate."""
    model = create_model("vit_tiny_patch4_32", depth=3)
    weights = dict(model.named_parameters())
    scales = layer_scales(0.5, {name: model.layer_of(name) for name in weights}, model.layer_of("head.weight"))
    for name in ("adamw", "sgd", "muon"):
        config = OptimizerConfig(name=name, lr=1e-3, muon_lr=0.02)
        optimizers = build_optimizers(config, weights, model.no_weight_decay(), scales)
        names = {id(part): name for name, part in optimizers.moved.items()}
        seen = 0
        for optimizer in optimizers.parts:
            peak = 0.02 if isinstance(optimizer, torch.optim.Muon) else 1e-3
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    full = names[id(weight)]
                    first, number = (full.split(".") + ["0"])[:2]
                    embedding = first in ("patch_embed", "cls_token", "pos_embed")
                    layer = int(number) + 1 if first == "blocks" else 0 if embedding else 4
                    assert group["peak_lr"] == pytest.approx(peak * 0.5 ** (4 - layer)), full
                    seen += weight.numel()
        assert seen == sum(weight.numel() for weight in weights.values())


def test_unknown_preset():
    with pytest.raises(ConfigError, match="Did you mean paper_imagenet"):
        apply_preset(RunConfig(), "paper_imagnet")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("name", sorted({*MODELS, *list_models("*test*"), "vit_micro_convpool_patch4_32"}))
def test_every_weight_is_in_one_group_and_only_matrices_decay(name, optimizer):
    model = create_model(name, num_registers=2) if name == "vit_digits" else create_model(name)
    weights = dict(model.named_parameters())
    optimizers = build_optimizers(OptimizerConfig(name=optimizer, weight_decay=0.3), weights, model.no_weight_decay())
    names = {id(part): name for name, part in optimizers.moved.items()}
    moved = [(o, g, w) for o in optimizers.parts for g in o.param_groups for w in g["params"]]
    addresses = [w.data_ptr() + 4 * i for _, _, w in moved for i in (0, w.numel() - 1)]
    assert len({names[id(w)] for *_, w in moved}) == len(moved) == len(optimizers.moved)
    assert sum(w.numel() for *_, w in moved) == sum(w.numel() for w in weights.values())
    assert len(set(addresses)) == sum(1 + (w.numel() > 1) for *_, w in moved)  # each number once
    groups = [(o, g, re.sub(r"\.(q|k|v|rows)$", "", names[id(w)])) for o, g, w in moved]
    assert {name for *_, name in groups} == set(weights)
    for _, group, weight in groups:
        token = any(word in weight for word in ("token", "pos_embed", "latent"))
        matrix = weights[weight].ndim >= 2 and not token
        assert group["weight_decay"] == (0.3 if matrix else 0.0), weight
    muon = {weight for o, _, weight in groups if isinstance(o, torch.optim.Muon)}
    inside = {n for n, w in weights.items() if n.startswith("blocks.") and w.ndim == 2}
    inside |= {
        n for n, w in weights.items() if n.startswith("patch_embed.backbone.") and w.ndim == 4 and w.shape[1] > 3
    }
    assert muon == (inside if optimizer == "muon" else set())
    assert inside == {n for n, w in weights.items() if is_hidden_matrix(n, w)} and len(inside) >= 4


def test_learning_rates_are_set_from_the_peak():
    weights = {"blocks.0.a.weight": torch.zeros(2, 2), "head.weight": torch.zeros(2, 2), "head.bias": torch.zeros(2)}
    optimizers = build_optimizers(OptimizerConfig(name="muon", lr=1e-3, muon_lr=0.02), weights, set())
    optimizers.set_learning_rate(0.5)
    optimizers.set_learning_rate(0.25)  # of the peak, not of what it was
    rates = {type(o).__name__: {g["lr"] for g in o.param_groups} for o in optimizers.parts}
    assert rates == {"AdamW": {0.25e-3}, "Muon": {0.005}}


def test_muon_moves_a_convolution_as_the_matrix_of_its_unrolled_filters():
    weights = {"patch_embed.backbone.1.0.weight": torch.randn(8, 4, 3, 3).requires_grad_()}
    flat = {
        "blocks.0.a.weight": weights["patch_embed.backbone.1.0.weight"].detach().flatten(1).clone().requires_grad_()
    }
    config = OptimizerConfig(name="muon", muon_lr=0.1)
    convolution, matrix = (build_optimizers(config, named, set()) for named in (weights, flat))
    for _ in range(3):
        gradient = torch.randn(8, 4, 3, 3)
        weights["patch_embed.backbone.1.0.weight"].grad = gradient
        flat["blocks.0.a.weight"].grad = gradient.flatten(1)
        convolution.step(Lanes(1))
        matrix.step(Lanes(1))
        assert torch.equal(weights["patch_embed.backbone.1.0.weight"].flatten(1), flat["blocks.0.a.weight"])


def test_muon_moves_query_key_and_value_each_on_its_own():
    """As if they were three weights; the first update of each is orthogonal, times the learning rate."""
    torch.manual_seed(0)
    stacked = torch.randn(48, 16)
    weights = {"blocks.0.attn.qkv.weight": stacked.clone().requires_grad_()}
    parts = zip("qkv", stacked.chunk(3), strict=True)
    apart = {f"blocks.0.{letter}.weight": part.clone().requires_grad_() for letter, part in parts}
    config = OptimizerConfig(name="muon", muon_lr=0.1, weight_decay=0.0)
    together, single = (build_optimizers(config, named, set()) for named in (weights, apart))
    for step in range(3):
        gradient = torch.randn(48, 16)
        weights["blocks.0.attn.qkv.weight"].grad = gradient
        for weight, part in zip(apart.values(), gradient.chunk(3), strict=True):
            weight.grad = part.contiguous()
        together.step(Lanes(1))
        single.step(Lanes(1))
        moved = weights["blocks.0.attn.qkv.weight"].detach()
        assert torch.equal(moved, torch.cat([weight.detach() for weight in apart.values()]))
        for part in (moved - stacked).chunk(3) if step == 0 else ():
            values = torch.linalg.svdvals(part) / 0.1
            assert values.max() < 1.3 and values.median() > 0.6
