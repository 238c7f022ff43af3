"""Local and axial attention: masks and tiles against double loops, in every company the ViT can put them in."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.utils._python_dispatch
from torch.utils.flop_counter import FlopCounterMode

from patchwords.architecture.windows import Box, boxes
from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.receptive import exact_support
from patchwords.models import build
from patchwords.models.attention import attend_in_tiles

from .families import alive, pictures

BASE = ViTConfig(image_size=(12, 20), patch_size=(4, 4), dim=16, depth=3, num_heads=2, mlp_dim=24, num_classes=5)
NO_PREFIX = {"class_token": False, "pool": "mean"}
KINDS = {
    "local": {"attention": "local"},
    "local of 2": {"attention": "local", "attention_window": 2},
    "local alone": {"attention": "local", **NO_PREFIX},
    "axial": {"attention": "axial"},
    "axial alone": {"attention": "axial", **NO_PREFIX},
}
COMPANY = {
    "learned": {},
    "rope": {"position": "rope"},
    "relative": {"position": "relative"},
    "registers and qk_norm": {"num_registers": 2, "qk_norm": True, "qkv_bias": "qv", "position": "relative"},
    "two heads": {"distillation_token": True},
}
every = pytest.mark.parametrize("kind", KINDS)


def configured(kind: str, company: str = "learned") -> ViTConfig:
    changes = COMPANY[company] | KINDS[kind]
    if not changes.get("class_token", True):
        changes |= {"distillation_token": False}
    return dataclasses.replace(BASE, **changes)


def attends(config: ViTConfig, layer: int, query: int, key: int, columns: int) -> bool:
    """Return what the settings say of one pair of tokens, written down a second time."""
    query, key = query - config.num_prefix_tokens, key - config.num_prefix_tokens
    if query < 0 or key < 0:
        return True
    down, right = abs(query // columns - key // columns), abs(query % columns - key % columns)
    if config.attention == "local":
        return max(down, right) <= config.attention_window
    return down == 0 if layer % 2 == 0 else right == 0


def by_loops(q, k, v, allowed, bias=None):
    """Return attention of (B, heads, T, D_h) in float64, one query at a time."""
    q, k, v = (x.detach().double().numpy() for x in (q, k, v))
    out = np.zeros_like(q)
    for b, h, i in np.ndindex(*q.shape[:3]):
        keys = [j for j in range(k.shape[2]) if allowed(i, j)]
        scores = np.array([q[b, h, i] @ k[b, h, j] for j in keys]) / math.sqrt(q.shape[-1])
        if bias is not None:
            scores += bias[h, i, keys]
        weights = np.exp(scores - scores.max())
        out[b, h, i] = (weights / weights.sum()) @ v[b, h, keys]
    return out


def as_tiles(monkeypatch, tiles: bool) -> None:
    monkeypatch.setattr(Box, "pays", tiles)


@every
@pytest.mark.parametrize("tile", [None, (2, 2), (3, 4)])
def test_tiles_against_loops(kind, tile):
    config, grid, prefix = configured(kind), (3, 5), 2
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, prefix + 15, 4, dtype=torch.float64)
    config = dataclasses.replace(config, **NO_PREFIX)
    for layer, box in enumerate(boxes(config, grid)):
        box = dataclasses.replace(box, tile=tile or box.tile)
        wanted = by_loops(q, k, v, lambda i, j, n=layer: i < 2 or j < 2 or attends(config, n, i - 2, j - 2, grid[1]))
        for explicit in (False, True):
            way = box.exact if explicit and tile is None else box
            found, weights = attend_in_tiles(q[:, :, prefix:], k, v, way, None, 0.0, explicit)
            np.testing.assert_allclose(found, wanted[:, :, prefix:], atol=1e-12)
        torch.testing.assert_close(weights @ v, found, rtol=0, atol=1e-12)


def answers(model, images, monkeypatch, tiles: bool, record=None):
    as_tiles(monkeypatch, tiles)
    model.zero_grad()
    logits = model(images, record)
    logits = torch.stack(logits) if isinstance(logits, tuple) else logits
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@every
@pytest.mark.parametrize("company", COMPANY)
@pytest.mark.parametrize("size", [(12, 20), (20, 8), (4, 4)])
def test_masks_tiles_and_record_agree(kind, company, size, monkeypatch):
    config = configured(kind, company)
    images = torch.randn(2, 3, *size)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        model = alive(config, dtype).train()
        logits, grads = answers(model, images.to(dtype), monkeypatch, False)
        for tiles, record in ((True, None), (True, {}), (False, {})):
            others, their_grads = answers(model, images.to(dtype), monkeypatch, tiles, record)
            assert (others - logits).abs().max() <= 2 * tolerance * logits.abs().max().clamp(min=1)
            for name, grad in grads.items():
                limit = 10 * tolerance * grad.abs().max().clamp(min=1)
                assert (grad - their_grads[name]).abs().max() <= limit, name


@every
def test_weights_are_zero_where_nobody_looks(kind):
    config = configured(kind)
    model, record, (rows, columns) = alive(config), {}, config.grid
    model(pictures(config), record)
    count = config.num_prefix_tokens + rows * columns
    for layer in range(config.depth):
        weights = record[f"block{layer:02d}/attn/weights"]
        assert weights.shape == (3, config.num_heads, count, count)
        seen = torch.tensor([[attends(config, layer, i, j, columns) for j in range(count)] for i in range(count)])
        assert torch.equal(weights > 0, seen.expand_as(weights))
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))


@pytest.mark.parametrize(("attention", "r"), [("local", 1), ("local", 2), ("axial", 1)])
def test_scores_counted_are_those_of_the_table(attention, r):
    rows, columns, heads, width = 9, 12, 2, 4
    config = dataclasses.replace(BASE, attention=attention, attention_window=r)
    q, k, v = torch.randn(3, 1, heads, rows * columns, width)
    wanted = {"local": [(2 * r + 1) ** 2], "axial": [columns, rows]}[attention]
    for box, keys in zip(boxes(config, (rows, columns)), wanted, strict=True):
        assert box.exact.scores == rows * columns * keys
        for each in (box, box.exact):
            with FlopCounterMode(display=False) as counter:
                attend_in_tiles(q, k, v, each, None, 0.0, True)
            assert counter.get_total_flops() == 2 * 2 * heads * width * each.scores


@pytest.mark.parametrize("attention", ["local", "axial"])
def test_no_large_scores_are_made_where_tiles_pay(attention):
    config = dataclasses.replace(BASE, image_size=(96, 96), attention=attention, position="relative", depth=2)
    model, largest = build(config).eval(), 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max(largest, out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    with torch.no_grad(), Watch():
        model(torch.randn(1, 3, 96, 96))
    assert all(box.pays for box in boxes(config, config.grid)) and largest < 577**2 / 3


def length(grads):
    """Return the norm of all gradients together."""
    return torch.cat([grad.flatten() for grad in grads.values()]).norm()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_with_masks_and_infinity(kind, dtype, monkeypatch):
    """The kernel of training in bfloat16 adds the mask; minus infinity leaves no trace in a gradient."""
    config, exact = configured(kind, "relative"), None
    images = pictures(config)
    for precision in (torch.float64, dtype):
        _, grads = answers(alive(config).to(precision).train(), images.to(precision), monkeypatch, False)
        exact = exact or grads
    errors = {name: grad.double() - exact[name] for name, grad in grads.items()}
    limit = 1e-5 if dtype == torch.float32 else 0.12  # of each: bfloat16 rounds a short sum of a bias by up to 6 %
    for name, error in errors.items():
        assert error.isfinite().all(), name
        assert error.norm() <= limit * max(exact[name].norm().item(), 0.1), name
    assert length(errors) <= limit / 3 * length(exact)


@every
def test_patches_left_out_in_training(kind, monkeypatch):
    """Those that are kept attend as if the others had been masked for all."""
    config = dataclasses.replace(configured(kind, "rope"), patch_dropout=0.4)
    model, images = alive(config).train(), pictures(config)
    torch.manual_seed(5)
    z, places = model.embed(images)
    answer = model.blocks[0](z, places)
    torch.manual_seed(5)
    kept = model._draw_patches(torch.empty(3, config.num_prefix_tokens + 15, 1))
    assert places.masks[0].shape == (3, 1, z.shape[1], z.shape[1]) and not places.boxes
    for b, numbers in enumerate(kept.tolist()):
        seen = torch.tensor([[attends(config, 0, i, j, 5) for j in numbers] for i in numbers])
        assert torch.equal(places.masks[0][b, 0] == 0, seen)
    assert answer.isfinite().all()


def test_cut_out_pictures_have_the_offsets_of_whole_ones(monkeypatch):
    config = dataclasses.replace(configured("local", "relative"), image_size=(20, 20))
    model, images = alive(config).train(), torch.randn(2, 3, 12, 12)
    model.set_windows(True)
    with torch.no_grad():
        logits = []
        for tiles in (False, True):
            as_tiles(monkeypatch, tiles)
            logits.append(model(images))
    torch.testing.assert_close(*logits, rtol=0, atol=2e-6)
    model.set_windows(False)
    assert not torch.allclose(model(images), logits[0])


@pytest.mark.parametrize(("attention", "r"), [("local", 1), ("local", 2), ("axial", 1)])
def test_the_receptive_field_is_exactly_a_cone(attention, r):
    config = dataclasses.replace(BASE, image_size=(28, 36), attention=attention, attention_window=r, **NO_PREFIX)
    layers = [f"block{i:02d}/+mlp" for i in range(config.depth)]
    support = exact_support(alive(config), torch.randn(1, 3, 28, 36), layers)[:, ::4, ::4]
    rows, columns = np.indices((7, 9))
    down, right = abs(rows - 3), abs(columns - 4)
    for layer, seen in enumerate(support):
        if attention == "local":
            wanted = np.maximum(down, right) <= r * (layer + 1)
        else:
            wanted = (down == 0) if layer == 0 else np.ones((7, 9), bool)
        np.testing.assert_array_equal(seen, wanted)


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="model.attention_window"):
        dataclasses.replace(BASE, attention_window=0)
    with pytest.raises(ConfigError, match="Did you mean|Allowed"):
        dataclasses.replace(BASE, attention="locl")


@pytest.mark.parametrize("attention", ["local", "axial"])
def test_tiles_are_one_graph(attention):
    config = dataclasses.replace(configured(attention, "relative"), image_size=(80, 84), depth=2)
    assert all(box.pays for box in boxes(config, config.grid))
    model, images = alive(config), pictures(config, 4)
    with torch.no_grad():
        wanted = model(images)
        compiled = torch.compile(model, fullgraph=True, backend="eager")(images)
        shapes = {"images": {0: torch.export.Dim("batch", min=2, max=64)}}
        program = torch.export.export(model, (images,), dynamic_shapes=shapes, strict=False).module()
        torch.testing.assert_close(program(images[:3]), wanted[:3], rtol=0, atol=2e-6)
    torch.testing.assert_close(compiled, wanted, rtol=0, atol=2e-6)
    torch.compiler.reset()
