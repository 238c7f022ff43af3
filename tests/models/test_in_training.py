"""What is different in training: dropout, drop path, patch dropout, checkpointing, two heads."""

import dataclasses

import pytest
import torch
from torch import nn

from patchwords.config import ViTConfig
from patchwords.models import build
from patchwords.models.layers import DropPath, Mlp

from .families import alive, pictures

BASE = ViTConfig(image_size=(8, 12), patch_size=(4, 4), dim=16, depth=3, num_heads=2, mlp_dim=24, num_classes=5)
NOISY = dataclasses.replace(BASE, dropout=0.1, attention_dropout=0.1, drop_path=0.3, patch_dropout=0.3)


def test_dropout_is_where_appendix_b1_has_it():
    """After every dense layer except qkv, and after adding positions: 3 a block and 1."""
    model, calls = alive(dataclasses.replace(BASE, dropout=0.1)).train(), []
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p:
            module.register_forward_hook(lambda *_: calls.append(1))
    model(pictures(BASE))
    assert len(calls) == 3 * BASE.depth + 1


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "drop_path", "patch_dropout"])
def test_each_kind_of_noise_acts_in_training_only(name):
    config, quiet = dataclasses.replace(BASE, **{name: 0.4}), alive(BASE)
    model = build(config)
    model.load_state_dict(quiet.state_dict())
    images = pictures(config)
    assert not torch.allclose(model.train()(images), model(images))
    with torch.no_grad():
        assert torch.equal(model.eval()(images), quiet(images))


def test_one_seed_one_answer():
    model, images = alive(NOISY).train(), pictures(NOISY)
    answers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        answers.append(model(images))
    assert torch.equal(answers[0], answers[1]) and not torch.equal(answers[0], answers[2])


def test_drop_path_grows_linearly():
    rates = [block.drop_path.rate for block in build(dataclasses.replace(BASE, depth=5, drop_path=0.2)).blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert build(dataclasses.replace(BASE, depth=1, drop_path=0.2)).blocks[0].drop_path.rate == 0


def test_drop_path_leaves_out_whole_pictures_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(20_000, 3, 2))
    per_picture = dropped[:, 0, 0]
    assert torch.equal(dropped, per_picture[:, None, None].expand_as(dropped))
    torch.testing.assert_close(per_picture.unique(), torch.tensor([0, 1 / 0.75]))
    assert per_picture.mean().item() == pytest.approx(1, abs=0.02)


def test_checkpointing_changes_memory_and_nothing_else():
    model, images, seen = alive(NOISY).train(), pictures(NOISY), []
    for enabled in (False, True):
        model.set_checkpointing(enabled)
        model.zero_grad()
        torch.manual_seed(1)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: (saved.append(t.numel()), t)[1], lambda t: t
        ):
            logits = model(images)
        logits.square().sum().backward()
        seen.append((logits, [p.grad.clone() for p in model.parameters()], sum(saved)))
    (plain, plain_grads, much), (again, again_grads, little) = seen
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(plain_grads, again_grads, strict=True))
    assert little < much / 2


def test_distillation_answers_twice_in_training_and_with_the_mean_afterwards():
    config = dataclasses.replace(BASE, distillation_token=True)
    model, images = alive(config), pictures(config)
    first, second = model.train()(images)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(model.eval()(images), (first + second) / 2)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "quick_gelu", "swiglu"])
def test_the_mlp_by_hand(activation):
    mlp = Mlp(dataclasses.replace(BASE, activation=activation)).double()
    x = torch.randn(4, 16, dtype=torch.float64)
    hidden = x @ mlp.fc1.weight.T + mlp.fc1.bias
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    if activation == "gelu":
        hidden = hidden * normal.cdf(hidden)
    elif activation == "gelu_tanh":
        hidden = hidden * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (hidden + 0.044715 * hidden**3))) / 2
    elif activation == "quick_gelu":
        hidden = hidden / (1 + torch.exp(-1.702 * hidden))
    else:
        hidden = hidden[:, :24] / (1 + torch.exp(-hidden[:, :24])) * hidden[:, 24:]
    torch.testing.assert_close(mlp(x), hidden @ mlp.fc2.weight.T + mlp.fc2.bias, rtol=0, atol=1e-12)


def test_initial_values_are_the_papers():
    torch.manual_seed(0)
    config = dataclasses.replace(BASE, dim=128, num_heads=4, mlp_dim=512, num_registers=2, pre_logits=64, depth=1)
    weights = build(config).state_dict()
    qkv = weights["blocks.0.attn.qkv.weight"]
    bound = (6 / 256) ** 0.5  # of a (D, D) matrix, not of the (3 D, D) that holds three
    assert 0.98 * bound < qkv.abs().max() <= bound
    assert qkv.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert weights["blocks.0.mlp.fc1.weight"].abs().max().item() == pytest.approx((6 / 640) ** 0.5, rel=0.01)
    assert weights["blocks.0.mlp.fc2.bias"].std().item() == pytest.approx(1e-6, rel=0.3)
    assert weights["patch_embed.proj.weight"].std().item() == pytest.approx(48**-0.5, rel=0.05)
    assert weights["pos_embed"].std().item() == pytest.approx(0.02, rel=0.1)
    for name in ("cls_token", "head.weight", "head.bias", "blocks.0.attn.qkv.bias", "pre_logits.fc.bias"):
        assert not weights[name].any(), name
    assert weights["reg_token"].any()
