"""Promises of folding: every model answers as before, and has less to do."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from patchwords.export.fold import Apart, folded
from patchwords.export.graph import Graph
from patchwords.models.layers import LayerScale
from patchwords.preprocess import Preprocess

from ..models.families import EVERY, alive


def graph(name: str) -> tuple[Graph, torch.Tensor]:
    """Return the graph of a small model with weights that all matter, and pictures for it."""
    config = EVERY[name]
    if not config.num_classes or config.in_channels not in (1, 3):
        config = dataclasses.replace(config, num_classes=5, in_channels=3)
    mean, std = ((0.3, 0.4, 0.5)[: config.in_channels], (0.2, 0.25, 0.3)[: config.in_channels])
    preprocess = Preprocess(image_size=config.image_size, channels=config.in_channels, mean=mean, std=std)
    pixels = torch.randint(0, 256, (3, config.in_channels, *config.image_size), dtype=torch.uint8)
    return Graph(alive(config), preprocess).eval(), pixels


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_folded_model_answers_as_before(name: str) -> None:
    plain, pixels = graph(name)
    wanted, before = plain(pixels), {name: value.clone() for name, value in plain.state_dict().items()}
    found = folded(plain)(pixels)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("name", ["vit_base_patch14_dinov2", "beit_base_patch16_224", "vit_base_patch16_dinov3"])
def test_what_can_be_folded_is(name: str) -> None:
    found = folded(graph(name)[0])
    assert any(isinstance(part, Apart) for part in found.modules())
    assert not any(isinstance(part, LayerScale) for part in found.modules())
    assert not any(name.endswith(("norm1.weight", "norm2.bias", "qkv.weight")) for name in found.state_dict())


@torch.no_grad()
def test_merging_is_folded_too() -> None:
    plain, pixels = graph("vit_base_patch14_dinov2")
    plain.model.config = dataclasses.replace(plain.model.config, merge=3)
    wanted = plain(pixels)
    torch.testing.assert_close(folded(plain)(pixels), wanted, rtol=0, atol=2e-6)
