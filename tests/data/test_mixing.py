"""Mixup, cutmix and smoothing: pictures and targets agree, and shards stand alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.config import AugmentConfig
from patchwords.data.mixing import Mixer, beta, cut_box

CLASSES = 5


def mixer(smoothing=0.0, seed=0, **settings):
    return Mixer(AugmentConfig(**settings), CLASSES, smoothing, seed)


def shard(count=6, side=8):
    """Return pictures whose value tells which one they are, and labels."""
    values = torch.arange(count) * 30 + 10
    images = values.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous()
    return images, torch.arange(count) % CLASSES


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, CLASSES).float()


def test_off_leaves_pictures_and_gives_one_hot_targets():
    images, labels = shard()
    mixed, targets = mixer()(images, labels, step=0)
    assert mixed is images
    assert torch.equal(targets, one_hot(labels))
    assert not mixer().on and mixer(mixup=0.1).on and mixer(cutmix=0.1).on


def test_smoothing_spreads_its_share_evenly():
    targets = mixer(smoothing=0.1).targets(torch.tensor([2]))
    assert torch.allclose(targets, torch.tensor([[0.02, 0.02, 0.92, 0.02, 0.02]]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixup_shares_are_those_of_the_targets(smoothing):
    images, labels = shard()
    for step in range(20):
        mixed, targets = mixer(smoothing, mixup=0.8)(images, labels, step=step)
        partner = images.roll(1, 0).float()
        share = (mixed[1].float().mean() - partner[1].mean()) / (images[1].float().mean() - partner[1].mean())
        assert mixed.dtype == torch.uint8
        expected = share * one_hot(labels)[1] + (1 - share) * one_hot(labels.roll(1))[1]
        assert torch.allclose(targets[1], expected * (1 - smoothing) + smoothing / CLASSES, atol=0.02)
        assert torch.allclose(targets.sum(1), torch.ones(6))


def test_cutmix_area_is_that_of_the_targets():
    images, labels = shard(side=16)
    areas = set()
    for step in range(40):
        mixed, targets = mixer(cutmix=1.0)(images, labels, step=step)
        other = mixed[2] == images[1]
        assert (other | (mixed[2] == images[2])).all()
        area = other[0].float().mean().item()
        assert targets[2, 1].item() == pytest.approx(area, abs=1e-6)
        rows, columns = other[0].any(1), other[0].any(0)
        assert other[0].sum() == rows.sum() * columns.sum()  # one box
        areas.add(area)
    assert len(areas) > 10


def test_with_both_on_each_is_drawn():
    images, labels = shard(side=16)
    cut = 0
    for step in range(60):
        mixed, _ = mixer(mixup=0.8, cutmix=1.0)(images, labels, step=step)
        cut += torch.isin(mixed, images).all().item()
    assert 15 < cut < 45


def test_share_is_drawn_by_seed_step_and_shard_alone():
    images, labels = shard()
    make = mixer(mixup=0.8, cutmix=1.0)

    def result(step, number, seed=0, images=images):
        mixed, targets = mixer(seed=seed, mixup=0.8, cutmix=1.0)(images, labels, step=step, shard=number)
        return mixed, targets

    alone = [result(3, number) for number in range(4)]
    again = [make(images, labels, step=3, shard=number) for number in (3, 1, 0, 2)]
    for number, found in zip((3, 1, 0, 2), again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone[number], found, strict=True))
    for other in (result(4, 0), result(3, 1), result(3, 0, seed=1)):
        assert not torch.equal(other[0], alone[0][0])


def test_mixup_share_differs_by_step_shard_and_seed():
    images, labels = shard()

    def share(step, number, seed=0):
        return mixer(seed=seed, mixup=0.8)(images, labels, step=step, shard=number)[1][1, 1].item()

    assert len({share(step, number, seed) for step in (0, 1) for number in (0, 1) for seed in (0, 1)}) == 8


def test_float_pictures_keep_their_type_and_are_not_rounded():
    images, labels = shard()
    exact, targets = mixer(mixup=0.8)(images.double(), labels, step=1)
    rounded, same = mixer(mixup=0.8)(images, labels, step=1)
    assert exact.dtype == torch.float64 and torch.equal(targets, same)
    assert 0 < (exact - rounded).abs().max() <= 0.5 + 1e-4
    assert mixer(mixup=0.8)(images.bfloat16(), labels, step=1)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_nothing_is_mixed_with_an_unreadable_picture(kind):
    images, labels = shard()
    weights = torch.tensor([1.0, 1, 0, 1, 1, 1])
    make = mixer(**{kind: 1.0})
    for step in range(10):
        whole, whole_targets = make(images, labels, step=step)
        mixed, targets = make(images, labels, step=step, weights=weights)
        assert torch.equal(mixed[3], images[3]) and torch.equal(targets[3], one_hot(labels)[3])
        rest = [0, 1, 4, 5]
        assert torch.equal(mixed[rest], whole[rest]) and torch.equal(targets[rest], whole_targets[rest])


def test_a_shard_of_one_picture_is_left_alone():
    images, labels = shard(1)
    mixed, targets = mixer(mixup=1.0, cutmix=1.0)(images, labels, step=0)
    assert torch.equal(mixed, images) and torch.equal(targets, one_hot(labels))


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.8, 1.0, 8.0])
def test_beta_has_its_mean_and_variance(alpha):
    draws = np.array([beta(alpha, 0, "test", step, 0) for step in range(1500)])
    assert ((draws >= 0) & (draws <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(draws.mean() - 0.5) < 4 * (variance / 1500) ** 0.5
    assert draws.var() == pytest.approx(variance, rel=0.1)


def test_cut_box_reports_what_the_border_leaves():
    assert cut_box(10, 20, 0.75, 0.5, 0.5) == ((3, 8, 5, 15), 0.75)
    box, share = cut_box(10, 20, 0.75, 0.0, 0.0)
    assert box == (0, 3, 0, 5) and share == pytest.approx(1 - 15 / 200)
    assert cut_box(10, 20, 1.0, 0.3, 0.3)[1] == 1.0
    assert cut_box(10, 20, 0.0, 0.5, 0.5) == ((0, 10, 0, 20), 0.0)
