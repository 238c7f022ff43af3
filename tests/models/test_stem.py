"""The stems: convolutions by loops, sizes, and one picture at a time."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchwords.config import ViTConfig
from patchwords.models.stem import ConvStem, ResNet, StdConv, build_stem

BASE = ViTConfig(image_size=(32, 48), patch_size=(8, 8), dim=32, depth=1, num_heads=2, mlp_dim=24, num_classes=5)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_standardised_convolution_against_loops(kernel, stride):
    torch.manual_seed(0)
    conv = StdConv(2, 3, kernel, stride).double()
    maps = torch.randn(1, 2, 6, 8, dtype=torch.float64)
    filters = conv.weight.detach().numpy()
    filters = np.stack([(f - f.mean()) / (f.std() + 1e-5) for f in filters])
    before = max(kernel - stride, 0) // 2  # XLA's "SAME": an odd cell of padding goes behind
    padded = np.pad(maps[0].numpy(), ((0, 0), (before, kernel), (before, kernel)))
    wanted = np.zeros((3, 6 // stride, 8 // stride))
    for out in range(3):
        for y in range(6 // stride):
            for x in range(8 // stride):
                window = padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
                wanted[out, y, x] = (window * filters[out]).sum()
    np.testing.assert_allclose(conv(maps).detach().numpy()[0], wanted, atol=1e-12)


@pytest.mark.parametrize("depths", [(1,), (1, 1), (2, 1, 3)])
def test_resnet_stride_and_width(depths):
    net, stride = ResNet(3, depths, 32), 2 ** (len(depths) + 1)
    maps = net(torch.randn(2, 3, 2 * stride, 3 * stride))
    assert maps.shape == (2, net.num_features, 2, 3) and net.num_features == 128 * 2 ** (len(depths) - 1)
    config = dataclasses.replace(BASE, stem="resnet", resnet_depths=depths, resnet_width=0.5, patch_size=(1, 1))
    assert config.cell_size == (stride, stride)


def test_a_new_residual_unit_is_its_shortcut():
    unit = ResNet(3, (2,), 32).stages[0].blocks[1]
    maps = torch.randn(1, 128, 4, 4)
    assert torch.equal(unit(maps), F.relu(maps))


@pytest.mark.parametrize(
    ("patch", "convolutions"), [((16, 16), 4), ((4, 4), 2), ((2, 8), 1), ((6, 12), 1), ((14, 14), 1)]
)
def test_conv_stem_takes_the_place_of_the_patch(patch, convolutions):
    config = dataclasses.replace(BASE, stem="conv", patch_size=patch, image_size=(3 * patch[0], 2 * patch[1]))
    stem = build_stem(config)
    assert isinstance(stem.backbone, ConvStem) and len(stem.backbone) == convolutions
    assert stem(torch.randn(2, 3, *config.image_size)).shape == (2, 6, 32)


@pytest.mark.parametrize("changes", [{"stem": "conv"}, {"stem": "resnet", "resnet_width": 0.5, "patch_size": (1, 1)}])
def test_a_stem_sees_one_picture_at_a_time_in_training_too(changes):
    torch.manual_seed(0)
    stem = build_stem(dataclasses.replace(BASE, **changes)).double().train()
    images = torch.randn(3, 3, 32, 48, dtype=torch.float64)
    torch.testing.assert_close(stem(images)[1:2], stem(images[1:2]), rtol=0, atol=1e-12)
