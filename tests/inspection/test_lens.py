"""The logit lens against the head applied by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.architecture import BagConfig, LSTMConfig, MixerConfig
from patchwords.errors import ConfigError
from patchwords.inspection.lens import read_layers
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit
from tests.inspection.toy import GRID, draw
from tests.models.families import alive

HEADS = {
    "cls": dict(pool="cls", num_registers=2),
    "mean": dict(pool="mean", class_token=True, fc_norm=True, final_norm=False),
    "distilled": dict(pool="cls", distillation_token=True),
    "hidden layer": dict(pool="cls", pre_logits=7),
}


@pytest.mark.parametrize("head", HEADS)
def test_each_layer_and_patch_is_the_head_on_its_tokens(head):
    model = tiny_vit(**HEADS[head])
    images, labels = pictures(model, 5), np.array([0, 1, 2, 3, 4])
    found = read_layers(model, images, labels, drawn=3, batch_size=2)
    assert found.layers == ("embed", "block00/+mlp", "block01/+mlp")
    record = {}
    with torch.no_grad():
        final = model(images, record).softmax(dim=1)
        for number, name in enumerate(found.layers):
            encoded = model.norm(record[name])
            logits = model.forward_head(encoded)
            for picture in range(5):
                told, answer = logits[picture].softmax(dim=0), int(final[picture].argmax())
                assert found.probability[number, picture] == pytest.approx(told[answer].item(), abs=1e-5)
                assert found.rank[number, picture] == sorted(told.tolist(), reverse=True).index(told[answer]) + 1
                assert found.answers[number, picture] == told.argmax()
            assert found.accuracy[number] == pytest.approx(np.mean(logits.argmax(dim=1).numpy() == labels))
            patch = encoded[2, model.num_prefix_tokens + 5]
            alone = model.head(model.pre_logits(model.fc_norm(patch)))
            if head == "distilled":
                alone = (alone + model.head_dist(patch)) / 2
            expected = alone.softmax(dim=0)[final[2].argmax()].item()
            assert found.maps[number, 2, 1, 1] == pytest.approx(expected, abs=1e-5)
    assert found.maps.shape == (3, 3, 3, 4) and found.targets.tolist() == final[:3].argmax(dim=1).tolist()
    np.testing.assert_array_equal(found.rank[-1], 1)
    assert found.agreement[-1] == 1 and len(found.rows()) == 3


@pytest.mark.parametrize("config", [BagConfig(dim=8, depth=2, mlp_dim=8), MixerConfig(dim=8, depth=2, mlp_dim=8)])
def test_other_kinds_that_average_their_patches_are_read(config):
    model = alive(config)
    found = read_layers(model, torch.rand(2, 3, 32, 32))
    assert found.layers[-1] == "block01/+mlp" and found.agreement[-1] == 1 and found.maps.shape[2:] == (8, 8)


def test_patches_answer_by_themselves():
    model = tiny_vit(pool="mean", class_token=False)
    images, labels = pictures(model, 2), np.array([1, 3])
    found = read_layers(model, images, labels, targets=labels)
    with torch.no_grad():
        tokens = model.forward_features(images)
        right = (model.head(tokens).argmax(dim=2) == torch.tensor(labels)[:, None]).float().mean()
    assert found.patch_accuracy[-1] == pytest.approx(right.item())
    assert np.isnan(read_layers(model, images).accuracy).all()


def test_the_patch_with_the_class_answers_before_the_others_do(answering_by_mean):
    known = draw(64, 7)
    found = read_layers(answering_by_mean, known.images, known.labels.numpy(), known.labels.numpy(), drawn=64)
    assert found.accuracy[-1] > 0.95 and found.probability[-1].mean() > found.probability[0].mean() + 0.3
    own = found.maps[:, np.arange(64), known.where // GRID, known.where % GRID].mean(axis=1)
    others = (found.maps.sum(axis=(2, 3)).mean(axis=1) - own) / (GRID * GRID - 1)
    assert own[0] > 2 * others[0]  # nothing has moved between patches yet
    assert others[-1] > 0.5  # attention has told all of them


def test_repeatable_and_the_model_is_left_alone():
    model = tiny_vit(dropout=0.4)
    images = pictures(model, 5)
    before = disturb(model)
    first = read_layers(model, images)
    assert_as_found(model, before)
    second = read_layers(model, iter(images.split(2)))
    np.testing.assert_allclose(first.maps, second.maps, atol=1e-6)


@pytest.mark.parametrize("pool", ["map", "cls+mean", "none"])
def test_heads_that_cannot_read_a_token_are_named(pool):
    model = tiny_vit(pool=pool)
    with pytest.raises(ConfigError, match="pool"):
        read_layers(model, pictures(model))


def test_what_does_not_fit_is_said():
    model = tiny_vit()
    with pytest.raises(ConfigError, match="made for its last layer"):
        read_layers(tiny_cnn(), pictures(tiny_cnn()))
    with pytest.raises(ConfigError, match="pool"):
        read_layers(alive(LSTMConfig(image_size=(8, 8), dim=8, hidden_dim=8)), torch.rand(1, 3, 8, 8))
    with pytest.raises(ConfigError, match="no head"):
        read_layers(tiny_vit(num_classes=0), pictures(model))
    for wrong in (np.array([1, 2]), np.zeros(9, int)):
        with pytest.raises(ConfigError, match="labels"):
            read_layers(model, pictures(model), wrong)
    with pytest.raises(ConfigError, match="0 to 4"):
        read_layers(model, pictures(model), targets=np.array([5, 0, 0]))
