"""Promises of the cost formula: the operations torch counts and the parameters torch holds, to the last one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from patchwords.architecture import ARCHITECTURES, LSTMConfig
from patchwords.cost import COUNTERS, Kept, Part, cost_of
from patchwords.errors import ConfigError
from patchwords.models import build, build_empty, list_models, model_config

from .configs import EVERY, LSTMS, vit

ZOO = list_models()
SOME = [name for name in ZOO if "tiny" in name or "micro" in name or name == "vit_digits"][::4]
SOME += ["vit_base_patch16_224", "beit_base_patch16_224", "deit_small_distilled_patch16_224"]


def counted(config: Any, training: bool = False) -> int:
    """Return the operations that torch counts for one picture, forwards, or forwards and backwards."""
    model = build_empty(config).train(training)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        answer = model(torch.empty(1, config.in_channels, *config.image_size))
        if training:
            sum(each.sum() for each in (answer if isinstance(answer, tuple) else (answer,))).backward()
    return counter.get_total_flops()


def held(config: Any) -> int:
    return sum(parameter.numel() for parameter in build_empty(config).parameters())


@pytest.mark.parametrize("name", EVERY)
def test_operations_and_parameters_are_those_of_torch(name: str) -> None:
    config = EVERY[name]
    cost = cost_of(config)
    assert (cost.flops, cost.parameters) == (counted(config), held(config))


@pytest.mark.parametrize("name", EVERY)
def test_a_training_step_is_what_torch_counts(name: str) -> None:
    cost = cost_of(EVERY[name])
    assert cost.step_flops == counted(EVERY[name], training=True)
    assert cost.step_flops <= cost.training_flops == 3 * cost.flops


@pytest.mark.parametrize("name", SOME)
def test_models_of_the_zoo(name: str) -> None:
    config = model_config(name)
    assert (cost_of(config).flops, cost_of(config).parameters) == (counted(config), held(config))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if name not in SOME])
def test_all_other_models_of_the_zoo(name: str) -> None:
    test_models_of_the_zoo(name)


def test_every_kind_is_counted() -> None:
    assert COUNTERS.keys() == ARCHITECTURES.keys()
    assert {config.kind for config in EVERY.values()} == COUNTERS.keys()


def test_a_kind_that_nobody_counts_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Other:
        kind: str = "other"

    with pytest.raises(ConfigError, match="the cost of 'other' is not known"):
        cost_of(Other())


@pytest.mark.parametrize("name", ["plain", "relative", "learned_2d", "conv-stem", "mixer", "cnn", "lstm"])
def test_another_size_is_the_model_built_for_it(name: str) -> None:
    config = dataclasses.replace(EVERY[name], image_size=(32, 32))
    assert cost_of(EVERY[name], 32) == cost_of(EVERY[name], (32, 32)) == cost_of(config)
    assert cost_of(EVERY[name], 32).flops == counted(config)


def test_a_size_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be cut into patches"):
        cost_of(vit(), 18)


def test_the_formula_of_the_paper() -> None:
    tokens, dim, depth, mlp_dim = 197, 768, 12, 3072
    embedding = 196 * 16 * 16 * 3 * dim
    blocks = depth * (tokens * (4 * dim**2 + 2 * dim * mlp_dim) + 2 * tokens**2 * dim)
    cost = cost_of(model_config("vit_base_patch16_224", num_classes=0))
    assert (cost.tokens, cost.macs, cost.flops) == (tokens, embedding + blocks, 2 * (embedding + blocks))
    assert cost.attention_flops == 4 * tokens**2 * dim * depth


def test_parts_add_up() -> None:
    cost = cost_of(model_config("vit_base_patch16_224"))
    names = [part.name for part in cost.parts]
    assert names[0] == "patch embedding" and names[-1] == "head" and len(set(names)) == len(names)
    assert sum(part.parameters for part in cost.parts) == cost.parameters == 86_567_656
    norms = next(part for part in cost.parts if part.name == "norms")
    assert (norms.parameters, norms.flops) == (25 * 2 * 768, 0)


def test_heads_change_neither_parameters_nor_operations() -> None:
    costs = [cost_of(vit(num_heads=heads)) for heads in (1, 2, 4, 8)]
    assert len({(cost.parameters, cost.flops, cost.step_flops) for cost in costs}) == 1


def test_comparing_costs_as_much_as_the_matrices_at_2_d_and_6_d() -> None:
    from patchwords.cost.vit import dear_tokens

    own, block = dear_tokens(vit(dim=32, mlp_dim=128))
    assert (own, block) == (64, 192)
    for tokens, names in ((own, ("qkv", "projection")), (block, ("qkv", "projection", "MLP"))):
        config = vit(dim=32, mlp_dim=128, patch_size=(1, 1), image_size=(1, tokens), pool="mean", class_token=False)
        cost = cost_of(config)
        assert cost.attention_flops == sum(part.flops for part in cost.parts if part.name in names)


def step_by_step(layer: nn.Module, tokens: Tensor) -> Tensor:
    """Return what `layer` does, one product a step and direction: (B, N, directions H) of (B, N, inputs)."""
    answers = []
    parameters = list(layer.parameters())
    for backwards in range(len(parameters) // 4):
        of_input, of_state, bias_input, bias_state = parameters[4 * backwards : 4 * backwards + 4]
        state = cell = tokens.new_zeros(len(tokens), of_state.shape[1])
        states = []
        for token in tokens.flip(1).unbind(1) if backwards else tokens.unbind(1):
            gates = F.linear(token, of_input, bias_input) + F.linear(state, of_state, bias_state)
            read, forget, new, write = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + read.sigmoid() * new.tanh()
            state = write.sigmoid() * cell.tanh()
            states.append(state)
        answers.append(torch.stack(states[::-1] if backwards else states, dim=1))
    return torch.cat(answers, dim=2)


@pytest.mark.parametrize("name", LSTMS)
def test_an_lstm_costs_what_its_steps_cost_one_by_one(name: str) -> None:
    config: LSTMConfig = LSTMS[name]
    torch.manual_seed(0)
    model, images = build(config).eval(), torch.randn(1, 3, *config.image_size)
    fused = model(images)
    with FlopCounterMode(display=False) as inside:
        model(images)
    for block in model.blocks:
        block.forward = lambda tokens, record, name, layer=block: step_by_step(layer, tokens)
    with FlopCounterMode(display=False) as counter:
        explicit = model(images)
    torch.testing.assert_close(explicit, fused)
    assert counter.get_total_flops() == cost_of(config).flops >= inside.get_total_flops()


def test_no_torch_is_needed() -> None:
    code = (
        "import sys; from patchwords.cost import cost_of; from patchwords.models.zoo import model_config, list_models;"
        "from patchwords.cost.audit import audit; audit();"
        "print(sum(cost_of(model_config(name)).flops for name in list_models('*_224')) > 0, 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == "True False\n", done.stderr


def test_parts_of_one_name_are_added() -> None:
    both = Part("a", 1, 2, Kept(3), alive=5) + Part("a", 10, 20, Kept(30), Kept(300), alive=4, alive_written_out=6)
    assert both == Part("a", 11, 22, Kept(33), Kept(303), alive=5, alive_written_out=6)
    assert (both.held(True), both.peak(False)) == (Kept(303), 5)
    assert Kept(3, 2, 1).bytes("bf16") == 6 + 8 + 1
