"""The model is the paper's: eq. 1-4 and appendix A against plain NumPy in float64."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchwords.config import ViTConfig
from patchwords.models import build
from patchwords.models.attention import attend
from patchwords.models.layers import PatchMatrix
from patchwords.models.position import Places

from .families import alive, pictures

CONFIG = ViTConfig(image_size=(8, 12), patch_size=(4, 2), dim=24, depth=3, num_heads=3, mlp_dim=40, num_classes=5)
ERF = np.vectorize(math.erf)


def layer_norm(x, weights, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x * weights[name + ".weight"] + weights[name + ".bias"]


def dense(x, weights, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attention(z, weights, name, heads):
    """One picture's tokens (T, D); heads one after the other (eq. 5-8)."""
    q, k, v = np.split(dense(z, weights, name + ".qkv"), 3, axis=-1)
    width = z.shape[-1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weight = softmax(q[:, part] @ k[:, part].T / math.sqrt(width))
        mixed.append(weight @ v[:, part])
    return dense(np.concatenate(mixed, axis=-1), weights, name + ".proj")


def block(z, weights, name, heads):
    z = z + attention(layer_norm(z, weights, name + ".norm1"), weights, name + ".attn", heads)
    hidden = dense(layer_norm(z, weights, name + ".norm2"), weights, name + ".mlp.fc1")
    hidden = hidden * (1 + ERF(hidden / math.sqrt(2))) / 2
    return z + dense(hidden, weights, name + ".mlp.fc2")


def vit(picture, weights, config):
    """One picture (C, H, W) to logits, patch by patch."""
    rows, columns = config.patch_size
    matrix = weights["patch_embed.proj.weight"].reshape(config.dim, -1)
    words = [
        matrix @ picture[:, y : y + rows, x : x + columns].reshape(-1) + weights["patch_embed.proj.bias"]
        for y in range(0, config.image_size[0], rows)
        for x in range(0, config.image_size[1], columns)
    ]
    z = np.stack([weights["cls_token"][0, 0], *words]) + weights["pos_embed"][0]
    for i in range(config.depth):
        z = block(z, weights, f"blocks.{i}", config.num_heads)
    return dense(layer_norm(z, weights, "norm")[0], weights, "head")


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_one_block_equals_numpy():
    model = alive(CONFIG, torch.float64)
    z = torch.randn(2, 13, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.blocks[1](z, Places(CONFIG.grid)).numpy()
        recorded = model.blocks[1](z, Places(CONFIG.grid), {}).numpy()
    theirs = np.stack([block(tokens, arrays(model), "blocks.1", 3) for tokens in z.numpy()])
    assert np.abs(ours - theirs).max() < 1e-10
    assert np.abs(recorded - theirs).max() < 1e-10


def test_the_whole_model_equals_numpy():
    model, images = alive(CONFIG, torch.float64), pictures(CONFIG, dtype=torch.float64)
    with torch.no_grad():
        ours = model(images).numpy()
    theirs = np.stack([vit(picture, arrays(model), CONFIG) for picture in images.numpy()])
    assert np.abs(ours - theirs).max() < 1e-10


@pytest.mark.parametrize("patch", [(4, 4), (2, 6), (8, 3), (1, 1), (8, 12)])
def test_patches_times_a_matrix_are_the_convolution(patch):
    torch.manual_seed(0)
    matrix = PatchMatrix(3, patch, 32).double()
    torch.nn.init.normal_(matrix.bias)
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    convolved = F.conv2d(images, matrix.weight, matrix.bias, stride=patch).flatten(2).transpose(1, 2)
    assert (matrix(images) - convolved).abs().max() < 1e-12


def test_zeroed_output_projections_make_a_block_the_identity():
    model = alive(CONFIG)
    z = torch.randn(2, 13, 24)
    assert not torch.equal(model.blocks[0](z, Places(CONFIG.grid)), z)
    with torch.no_grad():
        for dense in (model.blocks[0].attn.proj, model.blocks[0].mlp.fc2):
            dense.weight.zero_(), dense.bias.zero_()
    assert torch.equal(model.blocks[0](z, Places(CONFIG.grid)), z)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_a_fresh_model_loses_ln_k(classes):
    model = build(dataclasses.replace(CONFIG, num_classes=classes))
    loss = F.cross_entropy(model(pictures(CONFIG)).double(), torch.tensor([0, 1, 1]))
    assert abs(loss.item() - math.log(classes)) < 1e-15
    loss.backward()
    assert all(p.grad.abs().max() == 0 for name, p in model.named_parameters() if not name.startswith("head"))


@pytest.mark.parametrize("pool", ["cls", "mean", "cls+mean", "map", "none"])
def test_pools_by_hand(pool):
    model, record = alive(dataclasses.replace(CONFIG, pool=pool, num_registers=2), torch.float64), {}
    with torch.no_grad():
        model(pictures(CONFIG, dtype=torch.float64), record)
    tokens, weights = record["encoded"].numpy(), arrays(model)
    assert tokens.shape == (3, 1 + 2 + 12, 24)
    mean = tokens[:, 3:].sum(1) / 12
    if pool == "map":
        latent = dense(weights["attn_pool.latent"][0, 0], weights, "attn_pool.q")
        heads = []
        for head in range(3):
            part, values = slice(head * 8, head * 8 + 8), slice(24 + head * 8, 24 + head * 8 + 8)
            keys_values = dense(tokens[:, 3:], weights, "attn_pool.kv")
            weight = softmax(keys_values[..., part] @ latent[part] / math.sqrt(8))
            np.testing.assert_allclose(record["pool/weights"][:, head, 0], weight, atol=1e-12)
            heads.append(np.einsum("bn,bnd->bd", weight, keys_values[..., values]))
        pooled = dense(np.concatenate(heads, axis=-1), weights, "attn_pool.proj")
        hidden = dense(layer_norm(pooled, weights, "attn_pool.norm"), weights, "attn_pool.mlp.fc1")
        hidden = hidden * (1 + ERF(hidden / math.sqrt(2))) / 2
        wanted = pooled + dense(hidden, weights, "attn_pool.mlp.fc2")
    else:
        both = np.concatenate([tokens[:, 0], mean], axis=-1)
        wanted = {"cls": tokens[:, 0], "mean": mean, "cls+mean": both, "none": tokens}[pool]
    np.testing.assert_allclose(record["features"], wanted, atol=1e-12)
    np.testing.assert_allclose(record["logits"], dense(wanted, weights, "head"), atol=1e-12)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_heads_cost_nothing(heads):
    config = dataclasses.replace(CONFIG, dim=32, num_heads=heads)
    assert sum(p.numel() for p in build(config).parameters()) == sum(
        p.numel() for p in build(dataclasses.replace(config, num_heads=1)).parameters()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_attend_both_ways(dtype):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 16).to(dtype)
    bias = torch.randn(1, 4, 9, 9).to(dtype)
    exact = (q.double() @ k.double().mT / 4 + bias.double()).softmax(-1) @ v.double()
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 3e-2}[dtype]
    for explicit in (True, False):
        mixed, weights = attend(q, k, v, bias, explicit=explicit)
        assert mixed.dtype == dtype
        assert (mixed.double() - exact).abs().max() < tolerance
        assert weights is not None or not explicit
