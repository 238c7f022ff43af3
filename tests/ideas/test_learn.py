"""The loop of the trained ideas, and the pictures it is fed."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from patchwords.architecture import MixerConfig, MLPConfig, ViTConfig
from patchwords.config import AugmentConfig
from patchwords.errors import DataError, MissingError, NonFiniteError
from patchwords.ideas.idea import Effort
from patchwords.ideas.learn import (
    PictureSet,
    ReadAt,
    accuracy,
    answers,
    digits,
    learn,
    mean_and_sd,
    new_model,
    parameters,
    real_pictures,
)

from ..conftest import draw_folder

SMALL = MLPConfig(image_size=(8, 8), in_channels=1, dim=32, depth=1)


@pytest.fixture(scope="module")
def numbers() -> tuple[PictureSet, PictureSet]:
    """The digits."""
    return digits()


def test_learning_lowers_the_loss_and_reads_new_digits(numbers):
    train, test = numbers
    model = new_model(SMALL, 0)
    course = learn(model, train.batches(0, 64), 60, 1e-2)
    assert len(course.losses) == 60
    assert course.losses[0] == pytest.approx(math.log(10), abs=1e-6)  # a head of zeros
    assert course.loss == pytest.approx(sum(course.losses[-6:]) / 6)
    assert course.loss < 0.6
    assert accuracy(model, test.inputs, test.labels) > 0.8
    assert not model.training


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_learning_is_a_function_of_its_arguments(numbers, optimizer):
    def weights(seed: int) -> torch.Tensor:
        model = new_model(ViTConfig(image_size=(8, 8), patch_size=(4, 4), in_channels=1, dim=16, depth=1, num_heads=2,
                                    mlp_dim=16, dropout=0.1, num_classes=10), 3)  # fmt: skip
        learn(model, numbers[0].batches(seed, 16), 3, 1e-3, seed, optimizer=optimizer)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    state = torch.random.get_rng_state()
    first = weights(0)
    torch.manual_seed(99)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))
    torch.random.set_rng_state(state)
    weights(0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_bfloat16_leaves_float32_weights_that_are_not_rounded(numbers):
    model = new_model(SMALL, 0)
    learn(model, numbers[0].batches(0, 16), 3, 1e-3, dtype=torch.bfloat16)
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
    weight = model.blocks[0].fc.weight
    assert not torch.equal(weight, weight.bfloat16().float())


def test_label_smoothing_bounds_the_loss_from_below():
    picture, label = torch.ones(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)
    sharp, smooth = (
        learn(new_model(SMALL, 0), lambda step: (picture, label), 60, 1e-2, label_smoothing=share).losses[-1]
        for share in (0.0, 0.5)
    )
    entropy = -(0.55 * math.log(0.55) + 9 * 0.05 * math.log(0.05))
    assert sharp < 0.05
    assert smooth == pytest.approx(entropy, abs=0.02)


def test_a_loss_that_is_no_number_stops_with_the_step():
    pictures = torch.full((4, 1, 8, 8), math.inf)
    with pytest.raises(NonFiniteError, match="step 0"):
        learn(new_model(SMALL, 0), lambda step: (pictures, torch.zeros(4, dtype=torch.long)), 2, 1e-3)


def test_progress_is_told_under_the_name(numbers):
    told = []
    learn(new_model(SMALL, 0), numbers[0].batches(0, 8), 16, 1e-3, progress=told.append, name="small")
    assert len(told) == 8
    assert told[-1].startswith("small: step 16 of 16, loss ")


@pytest.mark.parametrize("place", [0, 5, -1])
def test_read_at_answers_from_one_token(place):
    shape = {"image_size": (2, 4), "patch_size": (1, 1), "in_channels": 3, "num_classes": 5}
    vit = ViTConfig(**shape, dim=16, depth=1, num_heads=2, mlp_dim=16, pool="mean", class_token=False)
    for config in (vit, MixerConfig(**shape, dim=16, depth=1, tokens_dim=8, mlp_dim=16)):
        inner = new_model(config, 0)
        torch.nn.init.normal_(inner.head.weight)
        model, images = ReadAt(inner, place), torch.randn(3, 3, 2, 4)
        expected = inner.head(inner.forward_features(images)[:, place])
        assert torch.allclose(model(images), expected, atol=1e-6)
    assert parameters(model) == parameters(inner)
    assert ReadAt(new_model(vit, 0), 0).no_weight_decay() == {"model.pos_embed"}


def test_accuracy_counts_right_answers(numbers):
    _, test = numbers
    model = new_model(SMALL, 1)
    torch.nn.init.normal_(model.head.weight)
    with torch.no_grad():
        right = [
            int(model(picture[None]).argmax()) == int(label)
            for picture, label in zip(test.inputs, test.labels, strict=True)
        ]
    assert accuracy(model, test.inputs, test.labels, size=50) == sum(right) / len(right)
    assert answers(model, test.inputs, size=7).shape == (len(test), 10)


def test_mean_and_deviation():
    assert mean_and_sd([1.0]) == (1.0, 0.0)
    assert mean_and_sd([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))


def test_digits_are_split_by_class_and_normalised(numbers):
    train, test = numbers
    assert (len(train), len(test)) == (1438, 359)
    counts = torch.bincount(train.labels)
    assert int(counts.min()) >= 139 and int(torch.bincount(test.labels).min()) >= 35
    assert float(train.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.inputs.std()) == pytest.approx(1, abs=1e-4)
    seen = {picture.numpy().tobytes() for picture in train.images}
    shared = sum(picture.numpy().tobytes() in seen for picture in test.images)
    assert shared == 0


def test_another_seed_draws_another_split(numbers):
    assert not torch.equal(digits(1)[1].images, numbers[1].images)
    assert torch.equal(digits(0)[1].images, numbers[1].images)


@pytest.mark.parametrize("count", [20, 137, 500])
def test_every_beginning_is_stratified(numbers, count):
    train, _ = numbers
    share = torch.bincount(train.labels) * count / len(train)
    assert float((torch.bincount(train.first(count).labels) - share).abs().max()) <= 1.0
    assert torch.equal(train.first(count).images, train.images[:count])


def test_batches_go_through_all_pictures_once_an_epoch(numbers):
    few = numbers[0].first(24)
    batch = few.batches(0, 8)
    seen = Counter(picture.numpy().tobytes() for step in range(3) for picture in batch(step)[0])
    assert set(seen) == {picture.numpy().tobytes() for picture in few.inputs}
    assert not torch.equal(batch(0)[0], batch(3)[0])
    assert torch.equal(batch(0)[0], few.batches(0, 8)(0)[0])


def test_batches_are_augmented_on_request(numbers):
    few = numbers[0].first(24)
    plain, moved = few.batches(0, 8)(0), few.batches(0, 8, AugmentConfig(crop="shift", shift=2))(0)
    assert torch.equal(plain[1], moved[1])
    assert not torch.equal(plain[0], moved[0])


def test_pictures_of_a_folder_keep_its_splits(tmp_path: Path):
    draw_folder(tmp_path / "set" / "train", per_class=6)
    draw_folder(tmp_path / "set" / "test", per_class=2)
    train, test = real_pictures(Effort(data=str(tmp_path / "set")), 100, 100)
    assert (len(train), len(test)) == (18, 6)
    assert train.classes == ("bar", "dot", "ring")
    assert train.images.shape == (18, 3, 32, 32)
    assert len(real_pictures(Effort(data=str(tmp_path / "set")), 7, 3)[0]) == 7


def test_pictures_without_a_split_are_divided(folder: Path):
    train, test = real_pictures(Effort(data=str(folder)), 100, 100, (8, 8))
    assert torch.bincount(train.labels).tolist() == [16, 16, 16]
    assert torch.bincount(test.labels).tolist() == [4, 4, 4]
    both = torch.cat([train.images, test.images]).flatten(1)
    assert len(both.unique(dim=0)) == 60


def test_what_cannot_be_used_is_named(tmp_path: Path):
    with pytest.raises(MissingError):
        real_pictures(Effort(data=str(tmp_path / "nowhere")), 10, 10)
    draw_folder(tmp_path / "one", classes=("bar",))
    with pytest.raises(DataError, match="two classes"):
        real_pictures(Effort(data=str(tmp_path / "one")), 10, 10)
    draw_folder(tmp_path / "two" / "train", classes=("bar", "dot"))
    (tmp_path / "two" / "train" / "bar" / "00.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"00\.png"):
        real_pictures(Effort(data=str(tmp_path / "two")), 100, 10)
