"""Trained ideas on real pictures: their measures on constructed inputs, and what their verdicts follow from."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from patchwords.architecture import ViTConfig
from patchwords.figures.plot import Grid, Plot
from patchwords.ideas import (
    distance,
    general_computer,
    offsets,
    permuted,
    pooling,
    positions,
    pretrain,
    same_filters,
    scaling,
    trained,
    where,
    words,
)
from patchwords.ideas.draws import drawn_model, normal
from patchwords.ideas.idea import VERDICTS, Effort, Result
from patchwords.ideas.learn import PictureSet, new_model
from patchwords.inspection.distance import HeadDistances
from patchwords.preprocess import Preprocess

SMALL = {"image_size": (12, 8), "patch_size": (4, 2), "dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 32}
SEEN = Preprocess(image_size=(12, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def pictures(count: int = 24, classes: int = 3, size: tuple[int, int] = (12, 8)) -> PictureSet:
    """Pictures of noise around a level that is their class."""
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 60, (count, 3, *size), generator=torch.Generator().manual_seed(0))
    images = (noise + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    seen = dataclasses.replace(SEEN, image_size=size)
    return PictureSet(images, labels, tuple(f"class {n}" for n in range(classes)), seen)


def small(**changes) -> ViTConfig:
    return ViTConfig(**(SMALL | {"num_classes": 3, "pool": "mean", "class_token": False} | changes))


# Rearranged pictures ---------------------------------------------------------------------------------


def test_patch_order_brings_patch_i_to_place_order_i_pixel_by_pixel():
    config = small()
    order, inside = trained.drawn_order(config, 3)
    pixels = trained.pixel_order(config.image_size, config.patch_size, order, inside)
    image = torch.arange(2 * 3 * 12 * 8).view(2, 3, 12, 8)
    moved = trained.rearrange(image, pixels)
    assert sorted(pixels.tolist()) == list(range(96)) and not torch.equal(moved, image)
    for place, patch in enumerate(order.tolist()):
        top, left = 4 * (place // 4), 2 * (place % 4)
        from_top, from_left = 4 * (patch // 4), 2 * (patch % 4)
        for pixel, source in enumerate(inside.tolist()):
            given = image[:, :, from_top + source // 2, from_left + source % 2]
            assert torch.equal(moved[:, :, top + pixel // 2, left + pixel % 2], given)


def test_training_sees_what_testing_sees():
    data, config = pictures(), small()
    pixels = trained.pixel_order(config.image_size, config.patch_size, *trained.drawn_order(config, 0))
    plain = data.batches(5, 4)
    images, labels = trained.rearranged(plain, pixels)(2)
    assert torch.equal(labels, plain(2)[1])
    assert torch.equal(images, trained.rearrange(plain(2)[0], pixels)) and not torch.equal(images, plain(2)[0])


def test_rearranged_matrix_and_table_undo_rearranged_pictures():
    config = small(class_token=True, pool="cls")
    model = drawn_model(config, 0)
    order, inside = trained.drawn_order(config, 0)
    pixels = trained.pixel_order(config.image_size, config.patch_size, order, inside)
    images = normal(0, "test pictures", 3, 3, 12, 8)
    with torch.no_grad():
        own, moved = model(images), trained.rearrange(images, pixels)
        assert (permuted.rearranged_model(model, order, inside)(moved) - own).abs().max() < 1e-12
        assert (model(moved) - own).abs().max() > 1e-3


# Models that are kept --------------------------------------------------------------------------------


def test_a_kept_model_is_the_trained_one_bit_for_bit(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path))
    lines: list[str] = []
    effort = Effort(progress=lines.append)
    arguments = (
        small(num_classes=7),
        pictures(),
        trained.Recipe(samples=32, batch_size=8, optimizer="adamw"),
        1,
        effort,
    )
    first = trained.trained(*arguments)
    told, (path,) = len(lines), (tmp_path / "ideas").iterdir()
    second = trained.trained(*arguments)
    assert first.config.num_classes == 3 and len(lines) == told > 0
    for (name, own), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(own, other), name
    path.write_bytes(path.read_bytes()[:-1])
    third = trained.trained(*arguments)
    assert len(lines) > told and "damaged" in capsys.readouterr().err
    assert torch.equal(first.pos_embed, third.pos_embed)


def test_every_part_of_a_training_is_in_its_key():
    data, recipe = pictures(), trained.Recipe(samples=32)
    pixels = torch.arange(96).flip(0)
    others = [
        (small(dim=32), data, recipe, 0, None),
        (small(), data.first(12), recipe, 0, None),
        (small(), dataclasses.replace(data, labels=data.labels.flip(0)), recipe, 0, None),
        (small(), data, dataclasses.replace(recipe, lr=2e-3), 0, None),
        (small(), data, recipe, 1, None),
        (small(), data, recipe, 0, pixels),
    ]
    keys = {trained.training_key(*each) for each in [(small(), data, recipe, 0, None), *others]}
    assert len(keys) == 7


# Measures --------------------------------------------------------------------------------------------


def test_a_table_of_rows_and_columns_is_read_and_put_back():
    grid = (6, 6)
    row, column = (torch.from_numpy(each.ravel()).double() for each in np.indices(grid))
    angles = torch.tensor([0.2, 0.35, 0.5])
    table = torch.cat([f(axis[:, None] * angles) for axis in (row, column) for f in (torch.sin, torch.cos)], dim=1)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    found = where.measure_table(table, grid, (4, 4))
    assert found["distance_correlation"] < -0.9 and found["position_r2"] > 0.95
    assert found["row_and_column_share"] == pytest.approx(1.0, abs=1e-6)
    assert abs(where.measure_table(table[order], grid, (4, 4))["distance_correlation"]) < 0.2
    assert torch.equal(where.put_back(table[order], order), table)


def test_k_means_is_lloyds_algorithm():
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    centres = points[:3].double()
    for _ in range(3):
        distances_to = torch.stack([((points.double() - centre) ** 2).sum(dim=1) for centre in centres], dim=1)
        nearest = distances_to.argmin(dim=1)
        centres = torch.stack([points.double()[nearest == number].mean(dim=0) for number in range(3)])
    assert torch.allclose(words.k_means(points, 3, 3).double(), centres, atol=1e-5)
    assert not torch.allclose(words.k_means(points, 3, 2).double(), centres, atol=1e-5)
    assert torch.equal(words.k_means(torch.zeros(4, 2), 2, 3), torch.zeros(2, 2))  # a word without patches stays


def test_patches_and_counts_of_words():
    data = pictures(5)
    patches = words.patches_of(data.inputs, (4, 2))
    assert torch.equal(patches[1, 6], data.inputs[1, :, 4:8, 4:6].flatten())
    vocabulary = patches.flatten(0, 1)[::7][:6]
    counts = np.zeros((5, 6))
    for picture in range(5):
        for patch in patches[picture]:
            counts[picture, int(((vocabulary - patch) ** 2).sum(dim=1).argmin())] += 1
    assert np.allclose(words.histograms(data, vocabulary, (4, 2)), np.sqrt(counts / 12), atol=1e-6)


def test_counts_of_words_tell_classes_that_differ_in_words():
    data = pictures(60)
    vocabulary = words.vocabulary_of(data, (4, 2), 12, 0)
    assert words.bag_accuracy(data.first(40), data, vocabulary, (4, 2)) > 0.95


def test_gabor_functions_are_known_and_noise_is_none():
    down, right = np.indices((8, 8))
    window = np.exp(-((down - 3.5) ** 2 + (right - 3.5) ** 2) / (2 * 4.0**2))
    wave = window * np.cos(2 * np.pi * right / 8 + 0.7)
    colours = np.array([1.0, -0.5, 0.2])[:, None, None]
    noise = np.random.default_rng(0).normal(size=(20, 3, 8, 8))
    assert same_filters.gabor_shares((colours * wave)[None])[0] == pytest.approx(1.0, abs=1e-6)
    assert same_filters.gabor_shares(noise).max() < 0.4


def test_mean_by_offset_is_the_mean_over_pairs():
    grid, random = (3, 4), np.random.default_rng(0)
    weights = random.random((2, 12, 12))
    found = offsets.mean_by_offset(weights, grid, least=0.5)
    for down in range(-2, 3):
        for right in range(-3, 4):
            pairs = [
                (4 * y + x, 4 * (y + down) + x + right)
                for y in range(3)
                for x in range(4)
                if 0 <= y + down < 3 and 0 <= x + right < 4
            ]
            wanted = np.mean([weights[:, q, k] for q, k in pairs], axis=0) if len(pairs) >= 6 else np.zeros(2)
            assert np.allclose(found[:, down + 2, right + 3], wanted)


def test_a_head_that_looks_at_one_neighbour_is_found():
    config = small(position="relative", patch_size=(2, 2), image_size=(12, 12), relative_slope=30.0)
    shares = same_filters.offset_shares(
        new_model(config, 0).eval(), normal(0, "test", 4, 3, 12, 12, dtype=torch.float32)
    )
    assert shares.shape == (2, 2) and shares.min() > 0.8
    flat = same_filters.offset_shares(new_model(small(), 0).eval(), normal(0, "test", 4, 3, 12, 8, dtype=torch.float32))
    assert flat.max() < 0.3


class _Reader(nn.Module):
    """Answers by the brightness of one pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images[:, 0, 4, 4], torch.zeros(len(images))], dim=1)


def test_shift_consistency_is_the_share_of_answers_that_stay():
    images = torch.randn(300, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    bright = images[:, 0] > 0
    around = [bright[:, 3, 4], bright[:, 5, 4], bright[:, 4, 3], bright[:, 4, 5]]
    wanted = np.mean([float((each == bright[:, 4, 4]).float().mean()) for each in around])
    assert general_computer.shift_consistency(_Reader(), images) == pytest.approx(wanted, abs=1e-6)
    assert general_computer.shift_consistency(_Reader(), torch.ones(4, 1, 9, 9)) == 1.0


def test_kernel_distance_weighs_pixels_by_the_size_of_weights():
    kernel = np.zeros((2, 3, 3, 3))
    kernel[0, 0, 1, 1], kernel[1, 2, 0, 0], kernel[0, 1, 1, 2] = 2.0, -1.0, 1.0
    assert general_computer.kernel_distance(kernel) == pytest.approx((math.sqrt(2) + 1) / 4)


def test_transfer_keeps_the_body_resamples_the_table_and_forgets_the_head():
    config = small(image_size=(24, 24), patch_size=(8, 8))
    model = drawn_model(config, 0, torch.float32)
    source = pictures(6, size=(24, 24))
    start = pretrain.transferred(model, source, ["a", "b"])
    assert start.config.image_size == (32, 32) and start.pos_embed.shape == (1, 16, 16)
    assert torch.equal(start.blocks[1].mlp.fc1.weight, model.blocks[1].mlp.fc1.weight)
    largest, gap = pretrain.new_head(start, pictures(6, classes=2, size=(32, 32)))
    assert largest == 0.0 and gap < 1e-12


def test_classes_are_chosen_and_numbered_anew():
    chosen = pretrain.of_classes(pictures(12), [2, 0])
    assert chosen.classes == ("class 2", "class 0") and chosen.labels.tolist() == [1, 0] * 4
    assert (chosen.images[chosen.labels == 0] >= 120).all()


def test_scaled_models_cost_more_along_each_axis_from_one_and_the_same():
    for full in (False, True):
        models = scaling.grown(trained.FULL if full else trained.QUICK, full)
        costs = {axis: [scaling.cost_of(config).macs for config in configs] for axis, configs in models.items()}
        assert len({cost[0] for cost in costs.values()}) == 1
        assert all(cost == sorted(set(cost)) and cost[-1] > 2 * cost[0] for cost in costs.values())


# Verdicts --------------------------------------------------------------------------------------------


def distances(layers: list[list[float]]) -> HeadDistances:
    """Heads at these parts of the uniform distance."""
    part = np.array(layers, dtype=np.float32)
    return HeadDistances(10 * part, 0 * part, part, 0 * part, 10.0, 4.0, 0.5, 0.8, 8, (8, 8), (4, 4))


def test_distance_is_confirmed_qualified_or_refuted():
    flat = [distances([[1.0, 1.0]] * 4)]
    growing = [[0.2, 1.0], [0.5, 0.9], [0.9, 1.0], [1.0, 1.0]]
    assert distance.concluded(flat, [distances(growing)], 100).verdict == "confirmed"
    unlocal = distance.concluded(flat, [distances([[0.9, 0.95], [0.95, 0.95], [0.96, 1.0], [1.0, 1.0]])], 100)
    assert unlocal.verdict == "qualified" and "2108.08810" in unlocal.reason
    assert distance.concluded(flat, [distances(growing[::-1])], 100).verdict == "refuted"


def test_more_data_that_moves_away_from_the_cnn_refutes():
    cnn = [(1.0, 0.9, 0.1)]
    towards = {10: [(9.0, 0.3, 0.9)] * 2, 20: [(5.0, 0.5, 0.5)] * 2, 40: [(2.0, 0.8, 0.2)] * 2}
    away = dict(zip(towards, reversed(list(towards.values())), strict=True))
    assert general_computer.concluded(towards, cnn).verdict == "confirmed"
    few = general_computer.concluded({size: found[:1] for size, found in towards.items()}, cnn)
    assert few.verdict == "qualified" and "one time in 6" in few.reason
    assert general_computer.concluded(away, cnn).verdict == "refuted"
    mixed = {size: [(*found[0][:2], away[size][0][2])] * 2 for size, found in towards.items()}
    told = general_computer.concluded(mixed, cnn)
    assert told.verdict == "qualified" and "roughness" in told.reason.split("Not nearer")[1]


def test_rearranging_must_cost_the_cnn_more():
    def verdict(vit: float, cnn: float, exact: float = 0.0) -> str:
        rows = {"ViT": vit, "CNN": cnn}
        found = {
            (n, arm): [50.0 - (lost if arm == "moved" else 0.0)]
            for n, lost in rows.items()
            for arm in ("plain", "moved")
        }
        return permuted.concluded(found, exact, 1000).verdict

    assert verdict(0.4, 12.0) == "confirmed" and verdict(1.5, 8.0) == "qualified" and verdict(8.0, 5.0) == "refuted"
    assert verdict(0.4, 2.0) == "qualified" and verdict(0.4, -1.0) == "refuted"
    assert verdict(0.4, 12.0, exact=1e-3) == "refuted"


def test_other_verdicts_follow_the_figures():
    kinds = {"none": [50.0], "learned": [55.0], "learned_2d": [55.5], "relative": [55.2]}
    assert positions.concluded(kinds, 10_000).verdict == "confirmed"
    assert positions.concluded(kinds | {"relative": [58.0]}, 10_000).verdict == "qualified"
    assert positions.concluded(kinds | {"none": [52.5]}, 1000).verdict == "qualified"  # too close to tell
    assert positions.concluded(kinds | {"none": [60.0]}, 10_000).verdict == "refuted"
    rates = {
        (pool, rate): [50.0 + rate * (5 if pool == "cls" else -5)] for pool in ("cls", "mean") for rate in (0.1, 1.0)
    }
    rates, tuned = {key: value * 2 for key, value in rates.items()}, {key: [50.0] * 2 for key in rates}
    assert pooling.concluded(rates, tuned, 10_000).verdict == "confirmed"
    single = [{key: value[:1] for key, value in each.items()} for each in (rates, tuned)]
    assert pooling.concluded(*single, 10_000).verdict == "qualified"
    assert pooling.concluded(rates, tuned | {("cls", 1.0): [60.0] * 2}, 10_000).verdict == "refuted"
    axes = {(axis, cost): [(50.0 + gain * (cost - 1), 1.0)] for axis, gain in
            (("depth", 2.0), ("width", 1.0), ("patch", 3.0)) for cost in (1.0, 2.0)}  # fmt: skip
    assert scaling.concluded(axes, 1000).verdict == "confirmed"
    assert scaling.concluded(axes | {("depth", 2.0): [(40.0, 1.0)]}, 1000).verdict == "qualified"
    gains = {100: [(60.0, 50.0), (61.0, 52.0)]}
    assert pretrain.concluded(gains, [(0.0, 0.0)], 1000).verdict == "confirmed"
    assert pretrain.concluded(gains | {200: [(50.0, 55.0)] * 2}, [(0.0, 0.0)], 1000).verdict == "qualified"
    assert pretrain.concluded({100: [(50.0, 55.0)]}, [(0.0, 0.0)], 1000).verdict == "refuted"
    assert pretrain.concluded({100: [(53.0, 50.0)]}, [(0.0, 0.0)], 1000).verdict == "qualified"  # too close to tell
    arms = dict(zip(words.ARMS, ([30.0], [50.0], [60.0]), strict=True))
    blank = np.zeros((2, 2, 3))
    assert words.concluded(arms, 10_000, blank).verdict == "confirmed"
    assert words.concluded(arms | {words.ARMS[0]: [55.0]}, 10_000, blank).verdict == "qualified"
    assert words.concluded(arms | {words.ARMS[2]: [50.5]}, 1000, blank).verdict == "qualified"  # too close to tell


# The whole, with little effort -----------------------------------------------------------------------

NAMES = ["where", "same_filters", "distance", "general_computer", "words", "pretrain", "positions", "permuted"]
NAMES += ["pooling", "scaling"]


@pytest.mark.parametrize("name", NAMES)
def test_full_mode_repeats_with_seeds(name: str, monkeypatch):
    recipe = trained.Recipe(samples=64, batch_size=32, lr=1e-3, precision="bfloat16")
    monkeypatch.setattr(trained, "FULL", trained.Scale(1200, 200, 2, (8, 8), 32, 2, 2, 32, 8, recipe))
    for module, constant, value in ((words, "WORDS", 8), (pretrain, "STEPS", 2), (pretrain, "LABELS", (20, 40))):
        monkeypatch.setitem(getattr(module, constant), True, value)
    result = importlib.import_module(f"patchwords.ideas.{name}").IDEA.run(Effort(full=True, data="digits"))
    assert result.verdict in VERDICTS and all(math.isfinite(check.value) for check in result.checks)
    assert json.dumps(result.as_dict(), allow_nan=False) and result.plots


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_mode_runs_and_repeats_itself(name: str, shared_data, monkeypatch):
    monkeypatch.setenv("PATCHWORDS_DATA", str(shared_data))
    idea = importlib.import_module(f"patchwords.ideas.{name}").IDEA
    result = idea.run(Effort())
    assert isinstance(result, Result) and result.verdict in VERDICTS and idea.trained
    assert all(math.isfinite(check.value) for check in result.checks)
    assert (result.verdict == "confirmed") <= all(check.met for check in result.checks)
    assert all(isinstance(plot, Plot | Grid) for plot in result.plots)
    assert json.dumps(result.as_dict(), allow_nan=False) == json.dumps(idea.run(Effort()).as_dict())
