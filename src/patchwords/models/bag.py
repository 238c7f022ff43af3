"""A bag of patches: words without order or company, each read alone; the answer is the mean of what they say."""

from __future__ import annotations

from torch import Tensor, nn

from ..architecture import BagConfig, ViTConfig
from .base import Base
from .contract import Record, note
from .layers import Mlp, PatchEmbed, layer_norm


class BagBlock(nn.Module):
    """The MLP half of a ViT block: an MLP on normalised tokens, added to them (2010.11929, eq. 3)."""

    def __init__(self, config: BagConfig) -> None:
        super().__init__()
        self.norm = layer_norm(config, config.dim)
        self.mlp = Mlp(ViTConfig(dim=config.dim, num_heads=1, mlp_dim=config.mlp_dim, dropout=config.dropout))

    def forward(self, z: Tensor, record: Record | None = None, name: str = "block00") -> Tensor:
        """Return tokens (B, N, D) of tokens (B, N, D); `record` takes `name`/mlp."""
        return z + note(record, f"{name}/mlp", self.mlp(self.norm(z)))


class BagOfPatches(Base):
    """Every patch goes through the same MLPs without seeing another, and patches are averaged (cf. 1904.00760).

    It has no positions: pictures of the same patches in another order get the same answer, to rounding. The head is
    linear, so that logits are the mean over patches of `head(tokens)`, the evidence of each patch alone. Initial
    values are those of layers.py.
    """

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config, config.dim)
        self.patch_embed = PatchEmbed(config.in_channels, config.patch_size, config.dim, bias=True, backbone=None)
        self.blocks = nn.ModuleList(BagBlock(config) for _ in range(config.depth))
        self.norm = layer_norm(config, config.dim)
        self.add_head()
