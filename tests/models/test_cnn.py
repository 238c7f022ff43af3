"""The CNN: a unit and the root by loops, what a place of the last map sees, sizes, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from patchwords.architecture import CNNConfig
from patchwords.errors import ConfigError
from patchwords.inspection.receptive import exact_support
from patchwords.models import build, create_model

from .families import OTHERS, alive, pictures


def convolved(maps, conv, stride=1):
    """Return a standardised convolution of maps (D, H, W), by loops; an odd cell of padding goes behind."""
    filters = conv.weight.detach().numpy()
    filters = np.stack([(f - f.mean()) / (f.std() + 1e-5) for f in filters])
    kernel = filters.shape[-1]
    before = max(kernel - stride, 0) // 2
    padded = np.pad(maps, ((0, 0), (before, kernel), (before, kernel)))
    rows, columns = maps.shape[1] // stride, maps.shape[2] // stride
    out = np.zeros((len(filters), rows, columns))
    for y in range(rows):
        for x in range(columns):
            window = padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            out[:, y, x] = (window * filters).sum(axis=(1, 2, 3))
    return out


def normed(maps, norm):
    """Return the GroupNorm of maps (D, H, W) of one picture."""
    parts = maps.reshape(norm.num_groups, -1)
    parts = (parts - parts.mean(axis=1, keepdims=True)) / np.sqrt(parts.var(axis=1, keepdims=True) + 1e-6)
    weight, bias = (value.detach().numpy()[:, None, None] for value in (norm.weight, norm.bias))
    return parts.reshape(maps.shape) * weight + bias


def relu(maps):
    return np.maximum(maps, 0)


def by_hand(unit, maps, strides):
    """Return the answer of a unit whose convolutions have `strides`."""
    shortcut = maps
    if unit.downsample is not None:
        shortcut = normed(convolved(maps, unit.downsample.conv, max(strides)), unit.downsample.norm)
    for number, (part, stride) in enumerate(zip(unit.convs, strides, strict=True)):
        maps = normed(convolved(relu(maps) if number else maps, part.conv, stride), part.norm)
    return relu(shortcut + maps)


@pytest.mark.parametrize(
    ("name", "number", "strides"),
    [
        ("cnn", 0, (1, 1)),
        ("cnn", 2, (2, 1)),
        ("cnn_large", 0, (1, 1, 1)),
        ("cnn_large", 1, (1, 2, 1)),
        ("cnn_large", 2, (1, 1, 1)),
    ],
)
def test_a_unit_by_loops(name, number, strides):
    model = alive(OTHERS[name], torch.float64)
    unit = model.blocks[number]
    maps = torch.randn(2, unit.convs[0].conv.in_channels, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        answer = unit(maps).numpy()
    for picture, ours in zip(maps.numpy(), answer, strict=True):
        np.testing.assert_allclose(ours, by_hand(unit, picture, strides), atol=1e-12)


@pytest.mark.parametrize("name", ["cnn", "cnn_large"])
def test_the_whole_by_loops(name):
    config = OTHERS[name]
    model, images, record = alive(config, torch.float64), pictures(config, 1, torch.float64), {}
    with torch.no_grad():
        logits = model(images, record)[0].numpy()
    large = config.root == "large"
    maps = relu(normed(convolved(images[0].numpy(), model.stem.conv, 2 if large else 1), model.stem.norm))
    if large:  # the largest of 3x3, moved by two; the picture ends in zeros, right and below
        padded = np.pad(maps, ((0, 0), (0, 1), (0, 1)))
        tops = [
            padded[:, dy : dy + maps.shape[1] : 2, dx : dx + maps.shape[2] : 2] for dy in range(3) for dx in range(3)
        ]
        maps = np.max(tops, axis=0)
    np.testing.assert_allclose(record["embed"][0].T.reshape(maps.shape).numpy(), maps, atol=1e-12)
    starts = np.cumsum((0, *config.depths))[1:-1]  # of every stage but the first
    for number, unit in enumerate(model.blocks):
        stride = 2 if number in starts else 1
        maps = by_hand(unit, maps, (stride, 1) if config.unit == "basic" else (1, stride, 1))
        tokens = maps.reshape(len(maps), -1).T
        np.testing.assert_allclose(record[f"block{number:02d}/+mlp"][0].numpy(), tokens, atol=1e-10)
    features = maps.mean(axis=(1, 2))
    head = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    np.testing.assert_allclose(logits, head[0] @ features + head[1], atol=1e-10)


@pytest.mark.parametrize("name", ["cnn", "cnn_large"])
def test_the_record_of_a_unit_adds_up(name):
    model, record = alive(OTHERS[name]), {}
    model(pictures(OTHERS[name]), record)
    before = record["embed"]
    for number, unit in enumerate(model.blocks):
        block = f"block{number:02d}/"
        assert torch.equal(record[block + "+mlp"], record[block + "+conv"].relu())
        if unit.downsample is None:
            assert torch.equal(record[block + "+conv"], before + record[block + "conv"])
        before = record[block + "+mlp"]
    assert torch.equal(record["encoded"], before)


def test_a_new_unit_is_its_shortcut():
    torch.manual_seed(0)
    model, record = build(CNNConfig(depths=(3,), width=8, groups=2)), {}
    model(torch.randn(2, 3, 32, 32), record)
    assert torch.equal(record["block02/+mlp"], record["embed"])


@pytest.mark.parametrize(
    ("changes", "sides"),
    [({"depths": (2,)}, [3, 7, 11]), ({"depths": (1, 1)}, [3, 7, 13]), ({"depths": (1, 2)}, [3, 7, 13, 21])],
)
def test_what_a_place_sees_grows_with_depth(changes, sides):
    """A 3x3 convolution on maps of stride s adds 2 s pixels to the side; GroupNorm, which sees all, is taken out."""
    model = alive(CNNConfig(image_size=(48, 48), width=4, groups=1, num_classes=2, **changes))
    for part in model.modules():
        for name, child in part.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(part, name, torch.nn.Identity())
    names = ["embed", *(f"block{i:02d}/+mlp" for i in range(len(model.blocks)))]
    seen = exact_support(model, torch.randn(1, 3, 48, 48), names)
    for support, side in zip(seen, sides, strict=True):
        rows, columns = np.nonzero(support)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side) and support.sum() == side**2


def test_drop_path_grows_linearly_and_leaves_out_whole_pictures():
    config = CNNConfig(image_size=(8, 8), depths=(2, 1), width=4, groups=1, drop_path=0.4, num_classes=2)
    model = alive(config)
    assert [unit.drop_path.rate for unit in model.blocks] == pytest.approx([0, 0.2, 0.4])
    images = torch.randn(64, 3, 8, 8)
    model.train()(images, record := {})
    left_out = (record["block02/conv"] == 0).all(dim=2).all(dim=1)
    assert 0 < left_out.sum() < 64
    assert not (record["block02/conv"][~left_out] == 0).any()


@pytest.mark.parametrize(
    ("name", "millions"),
    [("cnn_resnet50_224", 25.55), ("cnn_resnet101_224", 44.54), ("cnn_resnet152_224", 60.19)],
)
def test_parameters_of_the_resnets(name, millions):
    """Those of the ResNets with batch norm (1512.03385, as torchvision counts them): GroupNorm has as many."""
    with torch.device("meta"):
        model = create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert model.grid == (7, 7) and model.num_features == 2048


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depths": ()}, "model.depths"),
        ({"depths": (2, 0)}, "1 or more"),
        ({"groups": 3}, "divisor of model.width"),
        ({"image_size": (30, 32)}, "cannot be halved"),
        ({"root": "smal"}, "Did you mean small"),
        ({"unit": "bottle"}, "model.unit"),
        ({"drop_path": 1.0}, "model.drop_path"),
    ],
)
def test_what_cannot_be_built(changes, says):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(CNNConfig(), **changes)
    assert says in caught.value.line() and "\n" not in caught.value.line()
