"""The LSTM over the patch sequence: its equations by loops, its directions, its initial values."""

import dataclasses

import numpy as np
import pytest
import torch

from patchwords.architecture import LSTMConfig
from patchwords.errors import ConfigError
from patchwords.inspection.receptive import exact_support
from patchwords.models import build

from .families import OTHERS, alive, pictures

ONE, BOTH, MEAN = OTHERS["lstm"], OTHERS["lstm_both_ways"], OTHERS["lstm_mean"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def read(tokens, layer, direction=""):
    """Return the states (N, H) after each of tokens (N, D), by the equations, one after the other."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, c = (getattr(layer, name + direction).detach().numpy() for name in names)
    hidden = u.shape[1]
    h, cell, states = np.zeros(hidden), np.zeros(hidden), []
    for x in tokens if not direction else tokens[::-1]:
        i, f, g, o = (w @ x + b + u @ h + c).reshape(4, hidden)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        states.append(h)
    return np.stack(states if not direction else states[::-1])


@pytest.mark.parametrize("config", [ONE, BOTH, MEAN])
def test_the_whole_by_loops(config):
    model, images, record = alive(config, torch.float64), pictures(config, dtype=torch.float64), {}
    model(images, record)
    for picture in range(3):
        z = record["embed"][picture].detach().numpy()
        for layer, block in enumerate(model.blocks):
            z = np.concatenate([read(z, block, direction) for direction in block.directions], axis=1)
            np.testing.assert_allclose(record[f"block{layer:02d}/+mlp"][picture].detach(), z, atol=1e-12)
        z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + config.norm_eps)
        z = z * model.norm.weight.detach().numpy() + model.norm.bias.detach().numpy()
        half = config.hidden_dim
        last = np.concatenate([z[-1, :half], z[0, half:]])
        wanted = z.mean(axis=0) if config.pool == "mean" else last
        np.testing.assert_allclose(record["features"][picture].detach(), wanted, atol=1e-12)


def test_a_patch_is_seen_by_those_after_it_and_both_ways_by_all():
    images, layers = pictures(ONE), ["embed", "block00/+mlp", "block01/+mlp"]
    order = np.arange(6).reshape(2, 3)
    for config, seen in ((ONE, order <= 4), (BOTH, order >= 0)):
        support = exact_support(alive(config), images, layers)[:, ::4, ::4]
        np.testing.assert_array_equal(support[0], order == 4)  # row 1, column 1: the middle of 2 x 3
        np.testing.assert_array_equal(support[1], seen)
        np.testing.assert_array_equal(support[2], seen)


def test_initial_values():
    torch.manual_seed(0)
    layer = build(LSTMConfig(dim=96, hidden_dim=128, bidirectional=True)).blocks[1]
    for direction in layer.directions:
        for name in ("weight_ih", "weight_hh"):
            for matrix in getattr(layer, name + direction).chunk(4):
                bound = (6 / sum(matrix.shape)) ** 0.5  # of one matrix, not of the four in one
                assert 0.98 * bound < matrix.abs().max() <= bound
        assert torch.equal(getattr(layer, "bias_ih" + direction).view(4, -1).mean(1), torch.tensor([0.0, 1, 0, 0]))
        assert not getattr(layer, "bias_hh" + direction).any()


def test_dropout_is_after_the_embedding_and_every_layer():
    config = dataclasses.replace(ONE, dropout=0.3)
    model, quiet, images = build(config), alive(ONE), pictures(config)
    model.load_state_dict(quiet.state_dict())
    calls = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda *_: calls.append(1))
    assert not torch.allclose(model.train()(images), model(images))
    assert len(calls) == 2 * (1 + config.depth) and config.draws
    assert torch.equal(model.eval()(images), quiet(images))


@pytest.mark.parametrize("changes", [{"depth": 0}, {"hidden_dim": 0}, {"pool": "first"}, {"dropout": 1.0}])
def test_what_cannot_be_built(changes):
    with pytest.raises(ConfigError, match=f"model.{next(iter(changes))}"):
        dataclasses.replace(ONE, **changes)
