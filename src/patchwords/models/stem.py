"""From pictures to patch tokens: the patch matrix alone, after a few convolutions, or after the paper's ResNet.

Nothing here looks at other pictures of the batch, so that neither batch size nor micro-batches change an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ViTConfig
from .layers import PatchEmbed, lecun_normal_

GROUPS = 32
"""of GroupNorm in the ResNet, as in the paper's code"""


def build_stem(config: ViTConfig) -> PatchEmbed:
    """Return the module from images (B, C, H, W) to tokens (B, N, D) that `config.stem` names."""
    backbone, channels, patch_size = None, config.in_channels, config.patch_size
    if config.stem == "resnet":
        backbone = ResNet(channels, config.resnet_depths, int(64 * config.resnet_width), config.resnet_rule)
        channels = backbone.num_features
    elif config.stem != "patch":
        if config.stem == "conv":
            backbone = ConvStem(config.stem_channels)
        else:
            backbone = PoolStem(config.stem_channels, config.stem_units, config.stem_first_units)
        channels, patch_size = config.stem_channels[-1], tuple(side >> config.stem_halvings for side in patch_size)
    return PatchEmbed(channels, patch_size, config.dim, config.patch_bias, backbone)


class ConvStem(nn.Sequential):
    """3x3 convolutions of stride 2, each twice as wide as the one before, the last D wide (2106.14881, sec. 4).

    They take the place of as many halvings of the patch; the patch matrix does the rest (1x1 for patch 16).
    We differ in the norm: over the channels and places of one picture, in the place of batch norm.

    Args:
        channels: of the picture and after each convolution.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(
            *(
                nn.Sequential(_conv(inputs, width, stride=2), _norm(width), nn.ReLU())
                for inputs, width in pairwise(channels)
            )
        )


class PoolStem(nn.Sequential):
    """3x3 convolutions, each followed by max-pooling and residual ones of its width; the last D wide.

    The tokenizer of CCT (2104.05704, sec. 3.3), whose convolutions are half as many; the units that follow ours make a
    picture's edges into parts before anything attends. A norm and a GELU come before each convolution but the first
    (1603.05027), so that they work on maps that are pooled already. Stored by pixel, not by channel: a CPU convolves
    such maps 1.1 to 2 times as fast.

    Args:
        channels: of the picture and after each convolution.
        units: residual convolutions after each pooling.
        first_units: the same before the first pooling.
    """

    def __init__(self, channels: Sequence[int], units: int, first_units: int = 0) -> None:
        super().__init__(
            *(
                nn.Sequential(
                    *((_norm(inputs), nn.GELU()) if stage else ()),
                    _conv(inputs, width),
                    *(ConvUnit(width) for _ in range(0 if stage else first_units)),
                    nn.MaxPool2d(2),
                    *(ConvUnit(width) for _ in range(units)),
                )
                for stage, (inputs, width) in enumerate(pairwise(channels))
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, channels[-1], H / 2^halvings, W / 2^halvings) of images (B, C, H, W)."""
        return super().forward(images.contiguous(memory_format=torch.channels_last))


class ConvUnit(nn.Module):
    """x + Conv(GELU(Norm(x))), a residual unit with the norm first (1603.05027, fig. 4e)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = _norm(width), _conv(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, width, H, W) of the same."""
        return maps + self.conv(F.gelu(self.norm(maps)))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    lecun_normal_(conv.weight)
    return conv


def _norm(width: int) -> nn.GroupNorm:
    """Return the norm over all channels and places of one picture."""
    return nn.GroupNorm(1, width, eps=1e-6)


class StdConv(nn.Conv2d):
    """Convolution without bias whose filters have mean 0 and standard deviation 1 (1903.10520).

    Padding is "same" as XLA has it: what is odd goes right and below. Sizes must be multiples of the stride.
    """

    rule = "google"
    """whose guard against dividing by zero, see `ResNet`"""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)
        lecun_normal_(self.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, outputs, H / stride, W / stride) of maps (B, inputs, H, W)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        deviation = (variance + 1e-8).sqrt() if self.rule == "timm" else variance.sqrt() + 1e-5
        weight = (self.weight - mean) / deviation
        return F.conv2d(pad_same(maps, self.kernel_size[0], self.stride[0]), weight, stride=self.stride)


def pad_same(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """Return maps with the zeros around them that a kernel needs to give H / stride x W / stride places."""
    before, total = max(kernel - stride, 0) // 2, max(kernel - stride, 0)
    return F.pad(maps, (before, total - before, before, total - before)) if total else maps


class ConvNorm(nn.Module):
    """A standardised convolution and its GroupNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = GROUPS) -> None:
        super().__init__()
        self.conv = StdConv(inputs, outputs, kernel, stride)
        self.norm = nn.GroupNorm(groups, outputs, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, outputs, H / stride, W / stride)."""
        return self.norm(self.conv(maps))


class ResidualUnit(nn.Module):
    """Bottleneck: 1x1, 3x3, 1x1 convolutions and a shortcut; the last norm starts at zero."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.downsample = ConvNorm(inputs, outputs, 1, stride) if inputs != outputs or stride != 1 else None
        self.conv1, self.norm1 = StdConv(inputs, width, 1), nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv2, self.norm2 = StdConv(width, width, 3, stride), nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv3, self.norm3 = StdConv(width, outputs, 1), nn.GroupNorm(GROUPS, outputs, eps=1e-6)
        nn.init.zeros_(self.norm3.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, 4 width, H / stride, W / stride)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.norm1(self.conv1(maps)))
        maps = F.relu(self.norm2(self.conv2(maps)))
        return F.relu(shortcut + self.norm3(self.conv3(maps)))


class Stage(nn.Module):
    """Residual units at one resolution; the first one changes it."""

    def __init__(self, inputs: int, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualUnit(4 * width if i else inputs, width, 1 if i else stride) for i in range(depth))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, 4 width, H / stride, W / stride)."""
        return self.blocks(maps)


class ResNet(nn.Module):
    """The hybrid's feature extractor (sec. 3.1 and 4.1): GroupNorm, standardised convolutions, no classifier.

    The picture is halved by the root, by its max-pooling and by every stage but the first; parameter names are timm's.
    By the `rule` of the paper's code 1e-5 is added to the deviation of a filter and 1e-6 to a variance in GroupNorm;
    timm has 1e-8 under the root, and 1e-5.
    """

    def __init__(self, in_channels: int, depths: tuple[int, ...], width: int, rule: str = "google") -> None:
        super().__init__()
        self.stem = ConvNorm(in_channels, width, 7, 2)
        widths = [width << i for i in range(len(depths))]
        inputs = [width, *(4 * w for w in widths)]
        self.stages = nn.Sequential(
            *(Stage(inputs[i], widths[i], depth, 2 if i else 1) for i, depth in enumerate(depths))
        )
        self.num_features = 4 * widths[-1]
        for part in self.modules():
            if isinstance(part, StdConv):
                part.rule = rule
            elif isinstance(part, nn.GroupNorm):
                part.eps = 1e-5 if rule == "timm" else 1e-6

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, num_features, H / stride, W / stride) of images (B, C, H, W)."""
        root = F.relu(self.stem(images))
        return self.stages(F.max_pool2d(pad_same(root, 3, 2), 3, 2))  # zeros pad as well as -inf: root >= 0
