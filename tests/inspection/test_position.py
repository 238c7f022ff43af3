"""Similarity of positions against double loops, correlations against scipy, read-out against as many fits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.position import (
    RIDGES,
    leave_one_out_r2,
    position_similarity,
    position_vectors,
    positions,
    relative_biases,
)
from patchwords.inspection.ranks import ranks, spearman
from patchwords.models import build
from patchwords.models.position import locate, rotate

from ..models.families import alive

RECTANGLE = {"image_size": (12, 32), "patch_size": (4, 8), "dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 24}
GRID, CELL_PX = (3, 4), (4, 8)
PLACES = [(row, column) for row in range(3) for column in range(4)]


def model_with(position: str, **options) -> torch.nn.Module:
    return alive(ViTConfig(**RECTANGLE, num_classes=5, position=position, **options))


def vectors_of(model: torch.nn.Module) -> np.ndarray:
    """Return the vectors of patches as the model adds them: what tokens gain over a model without positions."""
    bare = build(model.config).eval()
    bare.load_state_dict(model.state_dict())
    images = torch.zeros(1, 3, 12, 32)
    with torch.no_grad():
        if model.config.position != "sincos_2d":
            for parameter in (
                [bare.pos_embed] if isinstance(bare.pos_embed, torch.nn.Parameter) else bare.pos_embed.parameters()
            ):
                parameter.zero_()
            return (model.embed(images)[0] - bare.embed(images)[0])[0, model.num_prefix_tokens :].numpy()
        return (model.embed(images)[0] - model.patch_embed(images))[0].numpy()


@pytest.mark.parametrize(
    ("position", "options"),
    [
        ("learned", {}),
        ("learned", {"distillation_token": True, "num_registers": 2}),
        ("learned", {"position_prefix": False, "num_registers": 1}),
        ("learned_2d", {}),
        ("sincos_2d", {"class_token": False, "pool": "mean"}),
    ],
)
def test_similarity_is_the_cosine_of_what_tokens_gain(position: str, options: dict) -> None:
    model = model_with(position, **options)
    found, vectors = position_similarity(model), vectors_of(model)
    for here, there in np.ndindex(12, 12):
        a, b = vectors[here].astype(np.float64), vectors[there].astype(np.float64)
        cosine = sum(a * b) / math.sqrt(sum(a * a) * sum(b * b))
        assert found.similarity[PLACES[here] + PLACES[there]] == pytest.approx(cosine, abs=1e-4)
    assert found.cell_px == CELL_PX and found.similarity.dtype == np.float32


def test_prefix_tokens_with_a_position_are_compared_too() -> None:
    model = model_with("learned", distillation_token=True, num_registers=2)
    found, table = position_similarity(model), model.pos_embed[0].detach()
    assert found.prefix_similarity.shape == (2, 3, 4)
    for token, (number, place) in [(token, each) for token in (0, 1) for each in enumerate(PLACES)]:
        cosine = torch.cosine_similarity(table[token], table[2 + number], dim=0)
        assert found.prefix_similarity[(token, *place)] == pytest.approx(float(cosine), abs=1e-6)
    assert position_similarity(model_with("learned", position_prefix=False)).prefix_similarity.shape == (0, 3, 4)


def test_numbers_of_a_table_against_loops() -> None:
    model = model_with("learned")
    found, vectors = position_similarity(model), position_vectors(model)[0].detach().double().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same_row, same_column, elsewhere, cosines, away = [], [], [], [], []
    for here in range(12):
        for there in range(here):
            (y, x), (v, u) = PLACES[here], PLACES[there]
            cosine = float(unit[here] @ unit[there])
            (same_row if y == v else same_column if x == u else elsewhere).append(cosine)
            cosines.append(cosine)
            away.append(math.hypot(4 * (y - v), 8 * (x - u)))
    assert found.same_row == pytest.approx(np.mean(same_row), abs=1e-9)
    assert found.same_column == pytest.approx(np.mean(same_column), abs=1e-9)
    assert found.elsewhere == pytest.approx(np.mean(elsewhere), abs=1e-9)
    scipy_stats = pytest.importorskip("scipy.stats")
    assert found.distance_correlation == pytest.approx(scipy_stats.spearmanr(cosines, away).statistic, abs=1e-9)
    mean = vectors.mean(0)
    total = sum(((vector - mean) ** 2).sum() for vector in vectors)
    for name, axis in (("row_share", 0), ("column_share", 1)):
        groups = [[v for v, place in zip(vectors, PLACES, strict=True) if place[axis] == n] for n in range(GRID[axis])]
        explained = sum(len(group) * ((np.mean(group, 0) - mean) ** 2).sum() for group in groups)
        assert getattr(found, name) == pytest.approx(explained / total, abs=1e-9)


@pytest.mark.parametrize("position", ["learned_2d", "sincos_2d", "rope"])
def test_rows_plus_columns_are_told_apart_from_a_table_of_noise(position: str) -> None:
    large = {"image_size": (48, 64), "patch_size": (4, 8), "dim": 96, "num_heads": 3}
    torch.manual_seed(0)
    found = position_similarity(build(ViTConfig(**RECTANGLE | large, position=position)))
    assert found.row_share + found.column_share == pytest.approx(1, abs=1e-5)
    assert min(found.row_r2, found.column_r2) > 0.95 and min(found.same_row, found.same_column) > found.elsewhere
    noise = position_similarity(build(ViTConfig(**RECTANGLE | large, position="learned")))
    assert noise.row_share + noise.column_share < 0.35
    assert max(noise.row_r2, noise.column_r2) < 0.2 and abs(noise.distance_correlation) < 0.1
    if position != "learned_2d":  # drawn vectors know no neighbours
        assert found.distance_correlation < -0.6


def test_rope_is_what_is_left_of_a_product_of_equal_vectors() -> None:
    model = model_with("rope", num_registers=2)
    config, found = model.config, position_similarity(model)
    rotation = locate(config, GRID, torch.zeros(1)).rotation
    same = torch.ones(1, 1, 3 + 12, config.head_dim)
    turned = rotate(same, rotation)[0, 0, 3:]
    left = (turned @ turned.T / config.head_dim).reshape(3, 4, 3, 4)
    np.testing.assert_allclose(found.similarity, left, atol=1e-5)
    assert "rotation" in found.source and found.prefix_similarity.shape == (0, 3, 4)


def test_read_out_is_that_of_as_many_fits_as_patches() -> None:
    random = np.random.default_rng(0)
    for width in (3, 40):  # fewer and more than patches
        vectors, target = random.normal(size=(12, width)), np.arange(12) % 4 + random.normal(size=12)
        vectors[:, 0] += target
        centred = vectors - vectors.mean(0)
        unit = np.trace(centred @ centred.T) / 12
        best = math.inf
        for ridge in RIDGES:
            errors = []
            for left_out in range(12):
                kept = [i for i in range(12) if i != left_out]
                x = np.concatenate([vectors[kept], np.ones((11, 1))], axis=1)
                penalty = np.diag([ridge * unit] * width + [0.0])
                weights = np.linalg.solve(x.T @ x + penalty, x.T @ target[kept])
                errors.append(target[left_out] - np.append(vectors[left_out], 1) @ weights)
            best = min(best, np.sum(np.square(errors)))
        expected = 1 - best / ((target - target.mean()) ** 2).sum()
        assert leave_one_out_r2(vectors, target) == pytest.approx(expected, abs=1e-9)
    assert math.isnan(leave_one_out_r2(vectors, np.ones(12)))


def test_ranks_and_their_correlation_are_scipys() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for values in (random.normal(size=50), random.integers(0, 5, 50), np.arange(50) // 7):
        np.testing.assert_array_equal(ranks(values), scipy_stats.rankdata(values))
        other = random.integers(0, 9, 50)
        assert spearman(values, other) == pytest.approx(scipy_stats.spearmanr(values, other).statistic, abs=1e-12)
    assert spearman(np.arange(9), -np.arange(9)) == -1.0
    assert math.isnan(spearman(np.arange(9), np.ones(9)))


@pytest.mark.parametrize("options", [{}, {"num_registers": 2}, {"class_token": False, "pool": "mean"}])
def test_relative_biases_are_those_the_scores_get(options: dict) -> None:
    model = model_with("relative", **options)
    found = relative_biases(model)
    assert found.bias.shape == (2, 3, 5, 7)
    places = locate(model.config, GRID, torch.zeros(1))
    for layer, head in np.ndindex(2, 3):
        table = model.blocks[layer].attn.relative_position_bias_table.detach()
        between = table[places.index[0], head].numpy()[model.num_prefix_tokens :, model.num_prefix_tokens :]
        distances = []
        for here, (y, x) in enumerate(PLACES):
            row = np.exp(between[here].astype(np.float64))
            row /= row.sum()
            distances.append(
                sum(p * math.hypot(4 * (y - v), 8 * (x - u)) for p, (v, u) in zip(row, PLACES, strict=True))
            )
            for there, (v, u) in enumerate(PLACES):
                assert found.bias[layer, head, v - y + 2, u - x + 3] == between[here, there]
        assert found.distance_px[layer, head] == pytest.approx(np.mean(distances), rel=1e-5)
        down, right = found.peak[layer, head]
        assert found.bias[layer, head, down + 2, right + 3] == found.bias[layer, head].max()
        away = [math.hypot(4 * down, 8 * right) for down in range(-2, 3) for right in range(-3, 4)]
        scipy_stats = pytest.importorskip("scipy.stats")
        expected = scipy_stats.spearmanr(found.bias[layer, head].ravel(), away).statistic
        assert found.distance_correlation[layer, head] == pytest.approx(expected, abs=1e-6)
    line = found.rows()[1]
    assert line == {"layer": 1, "head": 1, "down": -2, "right": -2, "bias": found.bias[0, 0, 0, 1]}


def test_heads_that_start_as_neighbours_look_there() -> None:
    config = ViTConfig(**RECTANGLE, position="relative", relative_slope=1.0)
    found = relative_biases(build(config))
    assert found.peak[0].tolist() == [[0, 1], [1, 0], [0, -1]]
    constant = relative_biases(build(ViTConfig(**RECTANGLE, position="relative")))
    np.testing.assert_allclose(constant.distance_px, np.full((2, 3), constant.uniform_px), rtol=1e-6)
    assert np.isnan(constant.distance_correlation).all()


def test_what_has_no_positions_is_told() -> None:
    with pytest.raises(ConfigError, match="a set"):
        positions(model_with("none"))
    with pytest.raises(ConfigError, match="relative_biases"):
        position_similarity(model_with("relative"))
    with pytest.raises(ConfigError, match="no relative"):
        relative_biases(model_with("learned"))
    with pytest.raises(ConfigError, match="Conv2d has no vectors of positions"):
        positions(torch.nn.Conv2d(3, 4, 3))
    assert type(positions(model_with("relative"))).__name__ == "RelativeBias"


def test_a_line_for_every_two_patches() -> None:
    found = position_similarity(model_with("learned"))
    rows = found.rows()
    assert len(rows) == 144
    assert rows[1] == {"row": 1, "column": 1, "other_row": 1, "other_column": 2, "cosine": found.similarity[0, 0, 0, 1]}


@pytest.mark.parametrize("image_size", [(4, 8), (4, 32), (12, 8)])
def test_a_single_row_or_column_has_nothing_to_read(image_size: tuple[int, int]) -> None:
    found = position_similarity(build(ViTConfig(**RECTANGLE | {"image_size": image_size}, position="learned")))
    assert math.isnan(found.row_r2) == (image_size[0] == 4) and math.isnan(found.column_r2) == (image_size[1] == 8)
