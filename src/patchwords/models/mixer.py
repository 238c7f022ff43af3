"""MLP-Mixer: patches as words, mixed by fixed weights for each pair of places (2105.01601)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..architecture import MixerConfig
from .base import Base
from .contract import Record, note
from .layers import Dense, PatchEmbed, layer_norm


class MixingMLP(nn.Module):
    """Two dense layers with a GELU between them, along the last axis (sec. 2); dropout after each."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = Dense(width, hidden, bias_std=1e-6)
        self.fc2 = Dense(hidden, width, bias_std=1e-6)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) of x (..., width)."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class MixerBlock(nn.Module):
    """An MLP over places, the same for every channel, then one over channels, the same for every place (eq. 1)."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        rows, columns = config.grid
        self.norm1 = layer_norm(config, config.dim)
        self.mlp_tokens = MixingMLP(rows * columns, config.tokens_dim, config.dropout)
        self.norm2 = layer_norm(config, config.dim)
        self.mlp_channels = MixingMLP(config.dim, config.mlp_dim, config.dropout)

    def forward(self, z: Tensor, record: Record | None = None, name: str = "block00") -> Tensor:
        """Return tokens (B, T, D) of tokens (B, T, D)."""
        mixed = self.mlp_tokens(self.norm1(z).transpose(1, 2)).transpose(1, 2)
        z = z + note(record, f"{name}/mix", mixed)
        z = note(record, f"{name}/+mix", z)
        return z + note(record, f"{name}/mlp", self.mlp_channels(self.norm2(z)))


class MLPMixer(Base):
    """MLP-Mixer, as `config` describes it; satisfies `contract.Classifier`.

    There are no positions: the MLP over places has weights of its own for each. In a record `blockNN/mix` is what it
    adds, `blockNN/+mix` the sum. Parameter names are timm's, but for the patch matrix: `patch_embed.proj`, as in
    every model that has one, is `stem.proj` there.
    """

    def __init__(self, config: MixerConfig) -> None:
        super().__init__(config, config.dim)
        self.patch_embed = PatchEmbed(config.in_channels, config.patch_size, config.dim, True, None)
        self.blocks = nn.ModuleList(MixerBlock(config) for _ in range(config.depth))
        self.norm = layer_norm(config, config.dim)
        self.add_head()
