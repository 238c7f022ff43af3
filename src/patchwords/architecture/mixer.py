"""Every setting of an MLP-Mixer and its default."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import Size, at_least, in_range, whole_patches
from .plain import OfPatches


@dataclass(frozen=True, kw_only=True)
class MixerConfig(OfPatches):
    """Patches as words, mixed by one fixed MLP over their places and one over their channels (2105.01601)."""

    kind: str = "mixer"
    """which class of model this describes"""
    image_size: Size = (32, 32)
    """pixels (rows, columns)"""
    patch_size: Size = (4, 4)
    """pixels (rows, columns) of one patch"""
    in_channels: int = 3
    """channels C of a picture"""
    num_classes: int = 10
    """0: no head, the model returns features"""
    dim: int = 512
    """token width C of the Mixer's paper"""
    depth: int = 8
    """number of blocks"""
    tokens_dim: int = 256
    """hidden width of the MLP over places, D_S"""
    mlp_dim: int = 2048
    """hidden width of the MLP over channels, D_C"""
    dropout: float = 0.0
    """after every dense layer of the blocks"""
    norm_eps: float = 1e-6
    """added to the variance in every LayerNorm"""

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "patch_size", "in_channels", "dim", "depth", "tokens_dim", "mlp_dim")
        at_least(self, 0, "num_classes")
        in_range("model.dropout", self.dropout, 0.0, 0.99)
        in_range("model.norm_eps", self.norm_eps, 0.0, 1.0)
        whole_patches(self.image_size, self.cell_size)

    @property
    def any_size(self) -> bool:
        """Whether pictures of other sizes are read; the MLP over places has one weight for each."""
        return False

    @property
    def largest_product(self) -> int:
        """Multiplications of about the largest matrix product of one picture."""
        return self.grid[0] * self.grid[1] * self.dim * max(self.mlp_dim, self.tokens_dim)

    @property
    def summary(self) -> str:
        """Sizes in words."""
        return f"patches of {self.patch_size[0]}x{self.patch_size[1]}, width {self.dim}, depth {self.depth}"
