"""Norm ratios against a loop over tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from patchwords.errors import ConfigError
from patchwords.inspection.norms import measure_norms
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit


def test_ratios_by_a_loop():
    model = tiny_vit(num_registers=1)
    images = pictures(model, 5)
    found = measure_norms(model, images, batch_size=2)
    assert found.branches == ("block00/attn", "block00/mlp", "block01/attn", "block01/mlp")
    record = {}
    with torch.no_grad():
        model(images, record)
    before = {"block00/attn": "embed", "block00/mlp": "block00/+attn", "block01/attn": "block00/+mlp"}
    for number, (branch, skip) in enumerate(before.items()):
        ratios = [
            [float(z.norm() / f.norm()) for z, f in zip(*pair, strict=True)]
            for pair in zip(record[skip], record[branch], strict=True)
        ]
        by_token = np.mean(ratios, axis=0)
        np.testing.assert_allclose(found.token_ratio[number], by_token, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.ratio[number], [by_token[0], by_token[2:].mean()], rtol=1e-4)
        np.testing.assert_allclose(found.branch_norm[number, 0], record[branch][:, 0].norm(dim=-1).mean(), rtol=1e-5)
    assert found.rows()[1]["tokens"] == "patches" and len(found.rows()) == 8


def test_models_without_class_token_and_cnns():
    found = measure_norms(tiny_vit(pool="mean", class_token=False), pictures(tiny_vit()))
    assert np.isnan(found.ratio[:, 0]).all() and (found.ratio[:, 1] > 0).all()
    cnn = tiny_cnn()
    nn.init.zeros_(cnn.convs[1].weight)
    nn.init.zeros_(cnn.convs[1].bias)
    found = measure_norms(cnn, pictures(cnn))
    assert found.branches == ("block00/mlp", "block01/mlp")
    assert np.isinf(found.ratio[1, 1]) and np.isfinite(found.ratio[0, 1])
    assert found.branch_norm[1, 1] == 0


def test_the_model_is_left_alone():
    model = tiny_vit(dropout=0.3)
    before = disturb(model)
    first = measure_norms(model, pictures(model))
    assert_as_found(model, before)
    np.testing.assert_array_equal(first.ratio, measure_norms(model, pictures(model)).ratio)


def test_a_model_without_branches_is_refused():
    with pytest.raises(ConfigError, match="no branch"):
        measure_norms(PlainModel(), torch.zeros(1, 3, 4, 4))


class PlainModel(nn.Module):
    """Records nothing but its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(48, 2)

    def forward(self, images, record=None):
        return self.head(images.flatten(1))
