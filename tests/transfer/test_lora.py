"""LoRA: the first answer is the source's, what is merged answers the same, and only A and B move."""

from __future__ import annotations

import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.models import create_model
from patchwords.models.lora import LowRankDense, add_low_rank, merged

KINDS = {
    "plain": {},
    "qv": {"qkv_bias": "qv"},
    "no bias": {"qkv_bias": "none", "proj_bias": False, "mlp_bias": False},
    "swiglu": {"activation": "swiglu"},
}


def model_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model("vit_digits", depth=2, dim=16, num_heads=2, mlp_dim=24, **KINDS[kind])
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mlp", [False, True])
def test_first_answer_and_merged_answer(kind: str, mlp: bool) -> None:
    model, plain = model_of(kind), model_of(kind)
    images = torch.randn(5, 1, 8, 8)
    before, names = model(images), set(model.state_dict())
    found = add_low_rank(model, 4, 8.0, mlp)
    assert len(found) == (8 if mlp else 4)
    assert (model(images) - before).abs().max() < 1e-6
    for name, part in model.named_modules():
        if isinstance(part, LowRankDense):
            assert part.lora_a.shape[0] == 4 and (part.lora_b == 0).all() and (part.lora_a != 0).any(), name
            torch.nn.init.normal_(part.lora_b, std=0.1)
    tensors = merged(model, model.state_dict())
    assert set(tensors) == names  # timm's names, nothing else
    plain.load_state_dict(tensors)
    assert (plain(images) - model(images)).abs().max() < 1e-5
    assert (model(images) - before).abs().max() > 1e-2
    oracle = {name: part.frozen + 2.0 * part.lora_b @ part.lora_a for name, part in parts(model)}
    for name, weight in oracle.items():
        torch.testing.assert_close(tensors[f"{name}.weight"], weight, rtol=0, atol=1e-6)
    assert {k: v.shape for k, v in merged(plain, plain.state_dict()).items()} == {
        k: v.shape for k, v in tensors.items()
    }


def parts(model: torch.nn.Module) -> list[tuple[str, LowRankDense]]:
    return [(name, part) for name, part in model.named_modules() if isinstance(part, LowRankDense)]


def test_only_a_and_b_have_gradients() -> None:
    model = model_of("plain").train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    add_low_rank(model, 2, 4.0)
    model(torch.randn(3, 1, 8, 8)).square().sum().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved and all(name.endswith(("lora_a", "lora_b")) for name in moved) and len(moved) == 8


def test_rank_is_at_most_the_smaller_side_and_blocks_are_needed() -> None:
    model = model_of("plain")
    add_low_rank(model, 100, 4.0)
    assert {part.lora_a.shape[0] for _, part in parts(model)} == {16}
    with pytest.raises(ConfigError, match="no blocks"):
        add_low_rank(create_model("vit_digits", depth=0), 4, 8.0)
