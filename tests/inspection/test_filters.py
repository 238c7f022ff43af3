"""Filters: principal components against a covariance, sines against their formula, overlaps where they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.filters import (
    dct_matrix,
    filter_components,
    filter_overlap,
    first_filters,
    measure_filters,
    measure_overlap,
    principal_components,
)
from patchwords.models import build

SIZES = {"dim": 48, "depth": 1, "num_heads": 2, "mlp_dim": 24}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def wave(rows: int, columns: int, down: int, across: int) -> np.ndarray:
    """Return one DCT-II basis picture by its formula, of length 1."""
    picture = np.zeros((rows, columns))
    for y, x in np.ndindex(rows, columns):
        picture[y, x] = math.cos(math.pi * down * (y + 0.5) / rows) * math.cos(math.pi * across * (x + 0.5) / columns)
    return picture / np.linalg.norm(picture)


def bank_of(*pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return 60 filters that are mixtures of these pictures (C, rows, columns), each weaker than the one before."""
    strength = 2.0 ** -np.arange(len(pictures))
    mixed = noise(60, len(pictures), seed=seed)
    mixed = np.linalg.qr(mixed - mixed.mean(0))[0] * strength
    return np.einsum("dk,kcyx->dcyx", mixed, np.stack(pictures))


def test_components_are_those_of_the_covariance() -> None:
    filters = noise(40, 2, 3, 4) * np.linspace(0.2, 2, 24).reshape(2, 3, 4)
    components, share = principal_components(filters, 5)
    values, axes = np.linalg.eigh(np.cov(filters.reshape(40, 24).T))
    np.testing.assert_allclose(share, values[::-1][:5] / values.sum(), rtol=1e-9)
    for component, axis in zip(components, axes.T[::-1], strict=False):
        assert abs(component.ravel() @ axis) == pytest.approx(1, abs=1e-9)
        assert component.flat[np.abs(component).argmax()] > 0
    assert len(principal_components(filters[:4], 28)[0]) == 3  # 4 filters about their mean


def test_sines_are_those_of_the_formula() -> None:
    np.testing.assert_allclose(dct_matrix(5) @ dct_matrix(5).T, np.eye(5), atol=1e-12)
    for down, across in np.ndindex(3, 4):
        np.testing.assert_allclose(
            np.outer(dct_matrix(3)[down], dct_matrix(4)[across]), wave(3, 4, down, across), atol=1e-12
        )


def test_filters_that_are_sines_are_found_to_be() -> None:
    colour = np.array([0.6, 0.0, 0.8])[:, None, None]
    waves = [(0, 1), (1, 0), (3, 2), (1, 1)]
    found = measure_filters(bank_of(*(colour * wave(4, 6, *each) for each in waves)), count=4)
    assert [tuple(each) for each in found.dct_frequency.tolist()] == waves
    np.testing.assert_allclose(found.dct_share, np.ones(4), atol=1e-6)
    np.testing.assert_allclose(found.low_share, [1, 1, 0, 1], atol=1e-6)
    assert found.low_chance == 6 / 24
    np.testing.assert_allclose(found.explained_share, 4.0 ** -np.arange(4) / (4.0 ** -np.arange(4)).sum(), rtol=1e-6)
    assert abs((found.components[2] * colour * wave(4, 6, 3, 2)).sum()) == pytest.approx(1, abs=1e-6)


def test_overlap_with_the_lowest_sines() -> None:
    grey = np.ones((1, 1, 1))
    low = measure_filters(bank_of(*(grey * wave(4, 4, *each) for each in [(0, 0), (0, 1), (1, 0), (1, 1)])), count=4)
    np.testing.assert_allclose(low.dct_overlap, np.ones(4), atol=1e-6)
    np.testing.assert_allclose(low.dct_chance, np.array([1, 3, 3, 4]) / 16)  # (0, 1) and (1, 0) come together
    high = measure_filters(bank_of(*(grey * wave(4, 4, *each) for each in [(3, 3), (3, 2), (0, 0)])), count=3)
    np.testing.assert_allclose(high.dct_overlap, [0, 0, 1 / 3], atol=1e-6)


def test_noise_has_what_chance_gives() -> None:
    found = measure_filters(noise(2000, 3, 8, 8), count=28)
    assert found.roughness.mean() == pytest.approx(1, abs=0.05)
    assert found.low_share.mean() == pytest.approx(found.low_chance, abs=0.05)
    assert found.dct_overlap[-1] == pytest.approx(found.dct_chance[-1], abs=0.05)
    assert found.dct_share.max() < 0.2 and found.components.shape == (28, 3, 8, 8)


def test_roughness_of_flat_and_chequered_filters() -> None:
    flat, chequered = np.ones((1, 4, 4)), (-1.0) ** np.indices((4, 4)).sum(0)[None]
    found = measure_filters(bank_of(flat / 4, chequered / 4), count=2)
    np.testing.assert_allclose(found.roughness, [0, 2], atol=1e-6)
    ramp = np.tile(np.arange(4.0) - 1.5, (3, 1))[None]  # 3 rows of 4: 9 steps of 1 across, 8 of 0 down
    found = measure_filters(bank_of(ramp / np.linalg.norm(ramp)), count=1)
    assert found.roughness[0] == pytest.approx(9 / 17 / (2 * 1.25), rel=1e-6)
    assert np.isnan(measure_filters(noise(9, 3, 1, 1)).roughness).all()


@pytest.mark.parametrize(
    ("options", "where", "shape"),
    [
        ({"image_size": (8, 12), "patch_size": (4, 6)}, "patch_embed.proj", (48, 3, 4, 6)),
        ({"image_size": (8, 8), "patch_size": (4, 4), "stem": "conv"}, "patch_embed.backbone.0.0", (24, 3, 3, 3)),
        (
            {"image_size": (16, 16), "patch_size": (1, 1), "stem": "resnet", "resnet_depths": (1, 1)},
            "patch_embed.backbone.stem.conv",
            (64, 3, 7, 7),
        ),
    ],
)
def test_the_first_filters_of_every_stem(options: dict, where: str, shape: tuple[int, ...]) -> None:
    model = build(ViTConfig(**SIZES, **options))
    filters, found = first_filters(model)
    assert (found, filters.shape) == (where, shape)
    module, picture = model.get_submodule(where), torch.from_numpy(noise(1, 3, 32, 36)).float()
    with torch.no_grad():
        answer = module(picture)[0].reshape(-1, 48).T if where == "patch_embed.proj" else module(picture)[0]
    rows, columns = shape[2:]
    stride, before = ((rows, columns), 0) if where == "patch_embed.proj" else ((2, 2), (rows - 1) // 2)
    if where.endswith("stem.conv"):  # "same" as XLA pads: (7 - 2) // 2 before
        before = 2
    answer = answer.reshape(len(filters), -1, 36 // stride[1])
    top, left = 3 * stride[0] - before, 4 * stride[1] - before  # the answer in row 3, column 4
    seen = picture[0, :, top : top + rows, left : left + columns].numpy()
    np.testing.assert_allclose(answer[:, 3, 4], (filters * seen).sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    assert filter_components(model, 4).source == where


def test_a_convolutional_network_has_filters_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 16, 3))
    assert first_filters(model)[1] == "0" and filter_components(model).components.shape == (15, 3, 5, 5)
    with pytest.raises(ConfigError, match="no filters"):
        first_filters(nn.Linear(2, 2))


def test_overlap_is_one_of_the_same_and_zero_at_right_angles() -> None:
    grey = np.ones((1, 1, 1))
    low = [grey * wave(4, 4, *each) for each in [(0, 0), (0, 1), (1, 0)]]
    high = [grey * wave(4, 4, *each) for each in [(3, 3), (3, 2), (2, 3)]]
    same = measure_overlap(bank_of(*low), "a", bank_of(*low[::-1], seed=1), "b", count=3)
    np.testing.assert_allclose(same.cosines, np.ones(3), atol=1e-6)
    assert (same.overlap_share, same.chance_share, same.size_px) == (pytest.approx(1), 3 / 16, (4, 4))
    apart = measure_overlap(bank_of(*low), "a", bank_of(*high), "b", count=3)
    np.testing.assert_allclose(apart.cosines, np.zeros(3), atol=1e-6)
    one = measure_overlap(bank_of(*low), "a", bank_of(low[0], *high[:2]), "b", count=3)
    np.testing.assert_allclose(one.cosines, [1, 0, 0], atol=1e-6)
    half = [grey * (wave(4, 4, 0, 1) + wave(4, 4, 3, 3)) / math.sqrt(2)]
    assert measure_overlap(bank_of(low[1]), "a", bank_of(*half), "b").overlap_share == pytest.approx(0.5)


def test_banks_of_noise_overlap_by_chance() -> None:
    found = measure_overlap(noise(500, 3, 8, 8), "a", noise(400, 3, 8, 8, seed=1), "b")
    assert found.overlap_share == pytest.approx(found.chance_share, abs=0.04) and len(found.cosines) == 28
    assert len(found.rows()) == 28 and found.rows()[0]["cosine"] == found.cosines[0]
    small = measure_overlap(noise(500, 3, 4, 4), "a", noise(400, 3, 4, 4, seed=1), "b")
    assert len(small.cosines) == 12  # a quarter of 48 directions


def test_filters_of_two_sizes_are_brought_to_the_smaller() -> None:
    grey = np.ones((1, 1, 1))
    waves = [(0, 0), (0, 1), (1, 0)]
    large, small = ([grey * wave(side, side, *each) for each in waves] for side in (12, 4))
    found = measure_overlap(bank_of(*large), "a", bank_of(*small), "b", count=3)
    assert found.size_px == (4, 4) and found.overlap_share > 0.95
    vit = build(ViTConfig(**SIZES, image_size=(16, 16), patch_size=(8, 4)))
    found = filter_overlap(vit, nn.Conv2d(3, 32, 7))
    assert found.size_px == (7, 4) and found.sources == ("patch_embed.proj", "")
    with pytest.raises(ConfigError, match="of 3 and of 1 channels"):
        filter_overlap(vit, nn.Conv2d(1, 32, 7))


def test_a_line_for_each_component() -> None:
    found = measure_filters(noise(30, 3, 4, 4), count=4)
    line = found.rows()[-1]
    assert line["component"] == 4 and line["explained_share"] == found.explained_share[3]
    assert (line["dct_down"], line["dct_across"]) == tuple(found.dct_frequency[3])
