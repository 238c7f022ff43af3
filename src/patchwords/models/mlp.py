"""A multilayer perceptron over the unrolled picture: every pixel has weights of its own, wherever it lies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture import MLPConfig
from .base import Base
from .contract import Record, note
from .layers import Dense, layer_norm


class Hidden(nn.Module):
    """A hidden layer: GELU(LN(x W + b)), added to x where widths are equal."""

    def __init__(self, config: MLPConfig, inputs: int) -> None:
        super().__init__()
        self.fc = Dense(inputs, config.dim)
        self.norm = layer_norm(config, config.dim)
        self.drop = nn.Dropout(config.dropout)
        self.residual = inputs == config.dim

    def forward(self, x: Tensor, record: Record | None = None, name: str = "block00") -> Tensor:
        """Return (B, 1, D) of x (B, 1, inputs)."""
        added = note(record, f"{name}/mlp", self.drop(F.gelu(self.norm(self.fc(x)))))
        return x + added if self.residual else added


class MLP(Base):
    """Dense layers over all pixels at once, as `config` describes them; satisfies `contract.Classifier`.

    The picture is one token: `embed` of a record is the picture unrolled (channel, row, column), `blockNN/mlp` what
    a hidden layer adds.
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(config, config.dim)
        rows, columns = config.image_size
        widths = [config.in_channels * rows * columns] + [config.dim] * (config.depth - 1)
        self.blocks = nn.ModuleList(Hidden(config, inputs) for inputs in widths)
        self.norm = nn.Identity()
        self.add_head()

    def embed(self, images: Tensor) -> Tensor:
        """Return (B, 1, C H W) of images (B, C, H, W)."""
        return images.flatten(1)[:, None]
