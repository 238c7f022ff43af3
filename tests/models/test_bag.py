"""The bag of patches: order does not matter, each patch is read alone, and evidence adds up."""

import dataclasses

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.receptive import exact_support
from patchwords.models import build, create_model

from .families import OTHERS, alive, pictures

CONFIG = OTHERS["bag"]


def patches_in(order, images, patch=4):
    """Return images whose patches are put in another order."""
    batch, channels, rows, columns = images.shape
    cut = images.reshape(batch, channels, rows // patch, patch, columns // patch, patch).permute(0, 2, 4, 1, 3, 5)
    moved = cut.flatten(1, 2)[:, order].view_as(cut)
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def test_the_order_of_patches_does_not_matter():
    model, images = alive(CONFIG, torch.float64), pictures(CONFIG, dtype=torch.float64)
    moved = patches_in(torch.tensor([3, 0, 5, 1, 4, 2]), images)
    assert not torch.equal(moved, images)
    torch.testing.assert_close(model(moved), model(images), rtol=0, atol=1e-13)


def test_each_patch_is_read_alone_and_evidence_is_averaged():
    model, images, record = alive(CONFIG), pictures(CONFIG), {}
    logits = model(images, record)
    support = exact_support(model, images, ["encoded"])[0]
    wanted = np.zeros((8, 12), bool)
    wanted[4:8, 4:8] = True
    np.testing.assert_array_equal(support, wanted)
    torch.testing.assert_close(model.head(record["encoded"]).mean(dim=1), logits)


def test_a_block_is_half_a_block_of_a_vit():
    vit = create_model("vit_digits", dim=16, num_heads=2, mlp_dim=24)
    bag = alive(CONFIG)
    ours, theirs = bag.blocks[0], vit.blocks[0]
    theirs.norm2.load_state_dict(ours.norm.state_dict())
    theirs.mlp.load_state_dict(ours.mlp.state_dict())
    z = torch.randn(2, 6, 16)
    torch.testing.assert_close(ours(z), z + theirs.mlp(theirs.norm2(z)), rtol=0, atol=0)
    assert len(build(CONFIG).state_dict()) == 2 + 6 * CONFIG.depth + 2 + 2


def test_without_blocks_it_is_one_matrix():
    model = alive(dataclasses.replace(CONFIG, depth=0))
    assert model(pictures(CONFIG)).shape == (3, 5)
    with pytest.raises(ConfigError, match="model.depth"):
        dataclasses.replace(CONFIG, depth=-1)
