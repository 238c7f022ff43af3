"""Kernels: their values and gradients are those of plain autograd, to rounding."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from patchwords.models import kernels

BATCH, TOKENS, DIM, HIDDEN, HEADS = 2, 5, 12, 20, 3


def normal(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def plain_attention(qkv, heads, bias=0.0):
    batch, count, width = qkv.shape
    q, k, v = qkv.view(batch, count, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q @ k.transpose(-2, -1) / (width // 3 // heads) ** 0.5 + bias).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, count, width // 3)


def attend(attention, qkv, *bias):
    return attention(qkv, HEADS, *bias)


def case(name, dtype=torch.float64):
    """Return (kernel, plain, inputs) of one kernel."""
    x = normal(BATCH, TOKENS, DIM, dtype=dtype)
    up, up_bias = normal(HIDDEN, DIM, dtype=dtype), normal(HIDDEN, dtype=dtype)
    down, down_bias = normal(DIM, HIDDEN, dtype=dtype), normal(DIM, dtype=dtype)
    if name == "dense up":
        return kernels.dense, F.linear, (x, up, up_bias)
    if name == "dense down":
        return kernels.dense, F.linear, (normal(BATCH, TOKENS, HIDDEN, dtype=dtype), down, down_bias)
    if name == "dense of a view without bias":
        return kernels.dense, F.linear, (normal(TOKENS, BATCH, DIM, dtype=dtype).transpose(0, 1), up, None)
    qkv = normal(BATCH, TOKENS, 3 * DIM, dtype=dtype)
    inputs = (qkv, normal(1, HEADS, TOKENS, TOKENS, dtype=dtype)) if name == "attention with bias" else (qkv,)
    return partial(attend, kernels.attention), partial(attend, plain_attention), inputs


CASES = ["dense up", "dense down", "dense of a view without bias", "attention", "attention with bias"]


def value_and_gradients(function, inputs):
    output = function(*inputs)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    weighting = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return output, torch.autograd.grad(output, wanted, weighting)


@pytest.mark.parametrize("name", CASES)
def test_equal_to_autograd_in_float64(name):
    kernel, plain, inputs = case(name)
    output, gradients = value_and_gradients(kernel, inputs)
    expected, expected_gradients = value_and_gradients(plain, inputs)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_finite_differences(name):
    kernel, _, inputs = case(name)
    assert torch.autograd.gradcheck(kernel, inputs, fast_mode=True)


@pytest.mark.parametrize("name", CASES)
def test_no_farther_from_float64_than_autograd_in_bfloat16(name):
    def error(function, inputs):
        output, gradients = value_and_gradients(function, inputs)
        return [((a.double() - b).norm() / b.norm()).item() for a, b in zip((output, *gradients), exact, strict=True)]

    kernel, plain, inputs = case(name, torch.bfloat16)
    output, gradients = value_and_gradients(
        plain, [None if t is None else t.detach().double().requires_grad_() for t in inputs]
    )
    exact = (output, *gradients)
    for ours, theirs in zip(error(kernel, inputs), error(plain, inputs), strict=True):
        assert ours <= 1.5 * theirs + 1e-3


@pytest.mark.parametrize("name", CASES)
def test_same_bits_twice(name):
    kernel, _, inputs = case(name, torch.bfloat16)
    first, second = value_and_gradients(kernel, inputs), value_and_gradients(kernel, inputs)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_frozen_weights_get_no_gradient():
    x, weight, bias = case("dense up")[2]
    (gradient,) = torch.autograd.grad(kernels.dense(x, weight.detach(), bias.detach()).sum(), x)
    torch.testing.assert_close(gradient, weight.sum(0).expand_as(x), rtol=0, atol=1e-10)


def test_weights_that_are_inputs_of_a_wide_and_a_tall_layer_have_the_weight_s_shape():
    for name in ("dense up", "dense down"):
        kernel, _, inputs = case(name)
        _, gradients = value_and_gradients(kernel, inputs)
        assert [g.shape for g in gradients] == [t.shape for t in inputs]


@pytest.mark.parametrize("dtype, pays", [(torch.bfloat16, True), (torch.float32, False), (torch.float64, False)])
def test_used_only_where_they_pay(dtype, pays):
    x = torch.zeros(1, 2, 3, dtype=dtype)
    assert kernels.pay(x) is pays
    with torch.no_grad():
        assert not kernels.pay(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not kernels.pay(x)


@pytest.mark.parametrize("family, ours", [(25, True), (26, False), (0, False)])
def test_gradients_of_dense_layers_are_ours_where_long_rows_pay(monkeypatch, family, ours):
    monkeypatch.setattr(kernels, "_amd_family", lambda: family)
    made = kernels.linear(normal(5, 8, dtype=torch.bfloat16), normal(16, 8, dtype=torch.bfloat16), None)
    assert ("_Dense" in made.grad_fn.name()) is ours


@pytest.fixture
def amd(monkeypatch):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: True)


def test_large_float32_products_through_onednn_are_those_of_torch(amd):
    x, weight, bias = normal(3, 70, 200, dtype=torch.float32), normal(150, 200, dtype=torch.float32), normal(150)
    inputs = (x, weight, bias.detach().float().requires_grad_())
    with FlopCounterMode(display=False) as counter:
        found = value_and_gradients(kernels.linear, inputs)
    with FlopCounterMode(display=False) as plain:
        wanted = value_and_gradients(F.linear, inputs)
    assert "_linear_pointwise" in str(counter.get_flop_counts()) and "addmm" not in str(counter.get_flop_counts())
    assert counter.get_total_flops() == plain.get_total_flops()
    for a, b in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_small_float32_products_and_other_processors_stay_with_torch(amd, monkeypatch):
    def asked(rows):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            kernels.linear(torch.zeros(rows, 200), torch.zeros(150, 200), None)
        return "_linear_pointwise" in str(counter.get_flop_counts())

    assert asked(200) and not asked(2)
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: False)
    assert not asked(200)
