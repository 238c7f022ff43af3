"""The MLP over the unrolled picture, by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from patchwords.architecture import MLPConfig
from patchwords.errors import ConfigError
from patchwords.models import build

from .families import OTHERS, alive, pictures

CONFIG = OTHERS["mlp"]


def hidden(x, layer):
    """Return GELU(LN(x W + b)) of vectors (B, inputs)."""
    x = x @ layer.fc.weight.detach().numpy().T + layer.fc.bias.detach().numpy()
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6)
    x = x * layer.norm.weight.detach().numpy() + layer.norm.bias.detach().numpy()
    return x * np.vectorize(lambda value: (1 + math.erf(value / 2**0.5)) / 2)(x)


def test_the_whole_by_hand():
    model, images, record = alive(CONFIG, torch.float64), pictures(CONFIG, dtype=torch.float64), {}
    logits = model(images, record).detach().numpy()
    x = images.numpy().reshape(3, -1)
    np.testing.assert_array_equal(record["embed"][:, 0].numpy(), x)
    x = hidden(x, model.blocks[0])
    x = x + hidden(x, model.blocks[1])
    np.testing.assert_allclose(record["features"].detach().numpy(), x, atol=1e-12)
    np.testing.assert_allclose(logits, x @ model.head.weight.detach().numpy().T + model.head.bias.detach().numpy())


def test_the_order_of_pixels_is_one_of_many():
    """Pixels in another order, weights in the same order: the same answer. Nothing is known of a picture's grid."""
    model, images = alive(CONFIG, torch.float64), pictures(CONFIG, dtype=torch.float64)
    wanted = model(images)
    order = torch.randperm(images[0].numel())
    shuffled = images.flatten(1)[:, order].view_as(images)
    assert not torch.allclose(model(shuffled), wanted)
    with torch.no_grad():
        first = model.blocks[0].fc.weight
        first.copy_(first[:, order])
    torch.testing.assert_close(model(shuffled), wanted, rtol=0, atol=1e-12)


def test_sizes():
    model = build(dataclasses.replace(CONFIG, image_size=(32, 32), in_channels=3, dim=64, depth=3, num_classes=10))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == (3072 + 1) * 64 + 2 * (64 + 1) * 64 + 3 * 2 * 64 + (64 + 1) * 10
    assert model.grid == (1, 1) and model.num_features == 64


@pytest.mark.parametrize("changes", [{"dim": 0}, {"depth": 0}, {"image_size": (0, 8)}, {"dropout": 2.0}])
def test_what_cannot_be_built(changes):
    with pytest.raises(ConfigError, match=f"model.{next(iter(changes))}"):
        dataclasses.replace(MLPConfig(), **changes)
