"""A convolutional network: the ResNet that the paper compares with (2010.11929, sec. 4.1; BiT, 1912.11370).

Batch norm is replaced by GroupNorm and standardised convolutions, so that no picture sees another one of its batch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture import CNNConfig
from .base import Base, noted
from .contract import Record
from .layers import DropPath
from .stem import ConvNorm, pad_same


class Unit(nn.Module):
    """A residual unit: two 3x3 convolutions (basic), or 1x1, 3x3, 1x1 (bottleneck), added to what skips them.

    ReLU after every norm but the last, and after the sum. The last norm starts at zero: a new unit is its shortcut.
    The 3x3 convolution halves the picture where one does, the first of a basic unit.
    """

    def __init__(self, config: CNNConfig, inputs: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        outputs, groups = width * config.expansion, config.groups
        basic = ((inputs, width, 3, stride), (width, width, 3, 1))
        bottleneck = ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
        changes = inputs != outputs or stride != 1
        self.downsample = ConvNorm(inputs, outputs, 1, stride, groups) if changes else None
        self.convs = nn.ModuleList(
            ConvNorm(*sizes, groups) for sizes in (basic if config.unit == "basic" else bottleneck)
        )
        nn.init.zeros_(self.convs[-1].norm.weight)
        self.drop_path = DropPath(drop_path)

    def forward(self, maps: Tensor, record: Record | None = None, name: str = "block00") -> Tensor:
        """Return (B, outputs, H / stride, W / stride) of maps (B, inputs, H, W)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        for conv in self.convs[:-1]:
            maps = F.relu(conv(maps))
        added = noted(record, f"{name}/conv", self.drop_path(self.convs[-1](maps)))
        return F.relu(noted(record, f"{name}/+conv", shortcut + added))


class CNN(Base):
    """A ResNet, as `config` describes it; satisfies `contract.Classifier`.

    Every residual unit is one of `blocks`. The record has maps as tokens, rows first, so that lower layers have more
    of them than `grid` has cells: `blockNN/conv` is what the convolutions add, `blockNN/+conv` the sum,
    `blockNN/+mlp` the unit's answer, after its ReLU. `features` are the mean over places.
    """

    def __init__(self, config: CNNConfig) -> None:
        super().__init__(config, config.dim)
        kernel, stride = (7, 2) if config.root == "large" else (3, 1)
        self.stem = ConvNorm(config.in_channels, config.width, kernel, stride, config.groups)
        inputs, number, self.blocks = config.width, 0, nn.ModuleList()
        for stage, depth in enumerate(config.depths):
            for unit in range(depth):
                rate = config.drop_path * number / max(config.depth - 1, 1)
                width = config.width << stage
                self.blocks.append(Unit(config, inputs, width, 2 if stage and not unit else 1, rate))
                inputs, number = width * config.expansion, number + 1
        self.norm = nn.Identity()
        self.add_head()

    def embed(self, images: Tensor) -> Tensor:
        """Return maps (B, width, H, W) of images (B, C, H, W); a quarter as high and wide with the large root."""
        root = F.relu(self.stem(images))
        return F.max_pool2d(pad_same(root, 3, 2), 3, 2) if self.config.root == "large" else root
