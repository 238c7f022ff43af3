"""Weights that start from the data, and pictures shown in part at first."""

import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.models import create_model
from patchwords.training import Request
from patchwords.training.initial import whiten_patches
from patchwords.training.setup import set_up
from patchwords.training.step import train_step


def test_whitened_patches_have_unit_variance_in_every_direction():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(64, 3, 10, 14), (40, 56), mode="bicubic") * 3 + 1
    model = create_model("vit_tiny_patch4_32", image_size=(40, 56), patch_size=(4, 8), dim=96, num_heads=3)
    whiten_patches(model, smooth)
    tokens = model.patch_embed(smooth).flatten(0, 1)
    kept = torch.linalg.svdvals(tokens) / len(tokens) ** 0.5
    unwhitened = torch.linalg.svdvals(create_model("vit_tiny_patch4_32", patch_size=(4, 8), image_size=(40, 56))
                                      .patch_embed(smooth).flatten(0, 1)) / len(tokens) ** 0.5  # fmt: skip
    strong = kept[:20]  # directions whose variance is far above the floor of 0.01
    assert strong.min() > 0.9 and strong.max() < 1.01
    assert unwhitened[0] / unwhitened[19] > 5


@pytest.mark.parametrize("stem", ["conv", "conv_pool"])
def test_a_conv_stem_starts_from_whitened_pixels(stem):
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(64, 3, 9, 9), (36, 36), mode="bicubic") * 3 + 1
    model = create_model("vit_tiny_patch4_32", image_size=(36, 36), dim=96, num_heads=3, stem=stem)
    first = model.patch_embed.backbone[0][0]

    def spread():
        patches = torch.nn.functional.unfold(smooth, 3, stride=3).transpose(1, 2).flatten(0, 1)
        seen = torch.linalg.svdvals(patches @ first.weight.flatten(1).T) / len(patches) ** 0.5
        return seen[0] / seen[9]

    before = spread()
    whiten_patches(model, smooth)
    assert spread() < 1.2 < 5 < before


def test_windows_come_first_and_whole_pictures_after(folder, tmp_path):
    settings = {
        "model.dim": "32", "model.depth": "1", "model.num_heads": "2", "model.mlp_dim": "64", "train.steps": "4",
        "train.batch_size": "16", "train.shards": "1", "augment.early_crop": "6", "augment.early_share": "0.5",
        "augment.mixup": "0",
        "model.position": "relative", "train.whiten_patches": "true",
    }  # fmt: skip
    job = set_up(Request(str(folder), settings=settings), tmp_path)
    sizes = []
    for batch in job.loader.batches(0, 4):
        (shard,) = job.shards(batch)
        sizes.append(tuple(shard.images.shape[-2:]))
        train_step(job.state, [shard], lambda: [])
    job.close()
    assert sizes == [(6, 6), (6, 6), (8, 8), (8, 8)]


def test_a_window_that_is_no_whole_patches_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"augment.early_crop.*multiple of the patch"):
        set_up(Request(str(folder), settings={"augment.early_crop": "5"}), tmp_path)
