"""Attention distance against a double loop, and where it is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from patchwords.config import Size, ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.attention import attention_weights
from patchwords.inspection.distance import attention_distance, measure, patch_distances, summarise

from ..models.families import FAMILIES, alive, pictures
from .given import CELL_PX, one_layer, random_attention

TINY = {"image_size": (16, 24), "patch_size": (4, 8), "dim": 16, "depth": 3, "num_heads": 4, "mlp_dim": 24}
TINY |= {"num_classes": 5}
GRIDS = [(3, 4), (1, 5), (4, 1), (1, 1)]


def by_loops(weights: np.ndarray, grid: Size, cell_px: Size, prefix: int) -> tuple[float, float, float]:
    """Return distance (px), entropy (nats) and share of prefix tokens of weights (T, T): a double loop."""
    places = [(row * cell_px[0], column * cell_px[1]) for row in range(grid[0]) for column in range(grid[1])]
    distance, entropy, taken = [], [], []
    for q, here in enumerate(places):
        row = weights[prefix + q].astype(np.float64)
        total = sum(row[prefix:])
        taken.append(sum(row[:prefix]))
        distance.append(sum(row[prefix + k] / total * math.dist(here, there) for k, there in enumerate(places)))
        entropy.append(-sum(p / total * math.log(p / total) for p in row[prefix:] if p > 0))
    return tuple(sum(each) / len(each) for each in (distance, entropy, taken))


def seen(weights: torch.Tensor, grid: Size, prefix: int = 0) -> np.ndarray:
    """Return what `measure` finds: (3, B, heads)."""
    return measure(one_layer(weights, grid, prefix), patch_distances(grid, CELL_PX).to(weights)).numpy()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("prefix", [0, 3])
def test_any_attention_against_a_double_loop(grid: Size, prefix: int) -> None:
    tokens = prefix + math.prod(grid)
    weights = random_attention(2, 3, tokens, tokens)
    if tokens > prefix + 1:  # a weight of exactly zero adds no entropy
        weights[0, 0, :, prefix] = 0
        weights[0, 0] /= weights[0, 0].sum(-1, keepdim=True)
    found = seen(weights, grid, prefix)
    for picture, head in np.ndindex(2, 3):
        expected = by_loops(weights[picture, head].numpy(), grid, CELL_PX, prefix)
        np.testing.assert_allclose(found[:, picture, head], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
def test_uniform_identity_and_one_hot_attention_are_exact(grid: Size) -> None:
    count = math.prod(grid)
    uniform = torch.full((1, 1, count, count), 1 / count, dtype=torch.float64)
    expected = by_loops(uniform[0, 0].numpy(), grid, CELL_PX, 0)
    distance, entropy, _ = seen(uniform, grid)[:, 0, 0]
    assert distance == pytest.approx(expected[0], abs=1e-12) and entropy == pytest.approx(math.log(count), abs=1e-12)
    identity = torch.eye(count, dtype=torch.float64)[None, None]
    assert np.abs(seen(identity, grid)[:2]).max() == 0
    first = torch.zeros(1, 1, count, count, dtype=torch.float64)
    first[..., 0] = 1  # everybody looks at the top left patch
    away = [math.hypot(CELL_PX[0] * row, CELL_PX[1] * column) for row, column in np.ndindex(grid)]
    distance, entropy, _ = seen(first, grid)[:, 0, 0]
    assert distance == pytest.approx(sum(away) / count, abs=1e-12) and entropy == 0


def test_a_head_that_looks_one_patch_to_the_right() -> None:
    weights = torch.zeros(1, 1, 12, 12)
    for query in range(12):
        weights[0, 0, query, query + 1 if query % 4 < 3 else query] = 1
    assert seen(weights, (3, 4))[0, 0, 0] == 6 * 9 / 12


def test_what_goes_to_prefix_tokens_does_not_count() -> None:
    weights = random_attention(1, 2, 14, 14)
    weights[..., 2:] *= 0.25
    weights[..., :2] = (1 - weights[..., 2:].sum(-1, keepdim=True)) / 2
    patches = weights[..., 2:, 2:] / weights[..., 2:, 2:].sum(-1, keepdim=True)
    np.testing.assert_allclose(seen(weights, (3, 4), 2)[:2], seen(patches, (3, 4))[:2], atol=1e-12)
    np.testing.assert_allclose(seen(weights, (3, 4), 2)[2], weights[..., 2:, :2].sum(-1).mean(-1), atol=1e-12)
    weights[0, 0, 5] = 0
    weights[0, 0, 5, 0] = 1  # this query gives patches nothing: it has no distance
    rest = [query for query in range(12) if query != 3]
    expected = (patches[0, 0] * patch_distances((3, 4), CELL_PX)).sum(-1)[rest].mean()
    assert seen(weights, (3, 4), 2)[0, 0, 0] == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_is_measured_picture_by_picture(name: str) -> None:
    config = FAMILIES[name]
    model, images = alive(config), pictures(config)
    found = attention_distance(model, images)
    weights = attention_weights(model, images).weights
    for layer, head in np.ndindex(*found.distance_px.shape):
        each = [
            by_loops(weights[layer, picture, head], config.grid, config.cell_size, config.num_prefix_tokens)
            for picture in range(3)
        ]
        distance, entropy, taken = np.transpose(each)
        assert found.distance_px[layer, head] == pytest.approx(distance.mean(), rel=1e-5)
        assert found.deviation_px[layer, head] == pytest.approx(distance.std(ddof=1), abs=1e-4)
        assert found.entropy_nats[layer, head] == pytest.approx(entropy.mean(), rel=1e-5)
        assert found.prefix_share[layer, head] == pytest.approx(taken.mean(), abs=1e-6)
    assert (found.pictures, found.grid, found.cell_px) == (3, config.grid, config.cell_size)


def test_uniform_attention_on_cifar_and_in_the_papers_picture() -> None:
    assert patch_distances((8, 8), (4, 4)).mean() == pytest.approx(16.546, abs=1e-3)
    tiny = alive(ViTConfig(**TINY))
    with torch.no_grad():
        for block in tiny.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    found = attention_distance(tiny, pictures(tiny.config))
    np.testing.assert_allclose(found.distance_px, np.full((3, 4), found.uniform_px), rtol=1e-6)
    np.testing.assert_allclose(found.entropy_nats, np.full((3, 4), found.uniform_nats), rtol=1e-6)
    np.testing.assert_allclose(found.prefix_share, np.full((3, 4), 1 / 13), rtol=1e-5)


def test_local_and_global_heads_by_depth() -> None:
    eye, even = torch.eye(12), torch.full((12, 12), 1 / 12)
    half = 0.45 * eye + 0.55 * even
    layers = [[eye, eye, even, half], [eye, even, even, even]]
    trace = [one_layer(torch.stack(heads)[None], (3, 4), layer=n) for n, heads in enumerate(layers, 1)]
    found = summarise(trace)
    np.testing.assert_allclose(found.relative, [[0, 0, 1, 0.55], [0, 1, 1, 1]], atol=1e-6)
    assert found.local_share.tolist() == [0.5, 0.25] and found.global_share.tolist() == [0.25, 0.75]
    assert summarise(trace, local_below=0.6).local_share.tolist() == [0.75, 0.25]
    kinds = [(row["layer"], row["head"], row["kind"]) for row in found.rows()[:4]]
    assert kinds == [(1, 1, "local"), (1, 2, "local"), (1, 3, "global"), (1, 4, "between")]
    assert found.depth_correlation == 1.0
    np.testing.assert_allclose(
        found.spread_px / found.uniform_px, [np.std([0, 0, 1, 0.55]), np.std([0, 1, 1, 1])], rtol=1e-5
    )
    assert found.deviation_px.tolist() == [[0] * 4] * 2  # one picture


def test_one_token_and_one_layer_are_no_trouble() -> None:
    model = alive(ViTConfig(**TINY | {"patch_size": (16, 24), "depth": 1}))
    found = attention_distance(model, pictures(model.config))
    assert found.uniform_px == 0 and not found.distance_px.any() and found.rows()[0]["part_of_uniform"] == 1
    assert math.isnan(found.depth_correlation)


def test_parts_of_a_set_and_halves_of_precision_agree() -> None:
    model = alive(ViTConfig(**TINY))
    images = pictures(model.config, 5)
    whole, parts = attention_distance(model, images), attention_distance(model, images.split(2))
    np.testing.assert_allclose(whole.distance_px, parts.distance_px, rtol=1e-6)
    np.testing.assert_allclose(whole.deviation_px, parts.deviation_px, rtol=1e-4, atol=1e-6)
    half = attention_distance(model, images, precision="bfloat16")
    np.testing.assert_allclose(half.distance_px, whole.distance_px, rtol=0.01)
    with pytest.raises(ConfigError, match="no picture"):
        summarise([])
