"""Every setting of an LSTM over the patch sequence, and its default."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import Size, at_least, in_range, one_of, whole_patches
from .plain import OfPatches


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(OfPatches):
    """Patches as words, read one after the other (Hochreiter and Schmidhuber, 1997)."""

    kind: str = "lstm"
    """which class of model this describes"""
    image_size: Size = (32, 32)
    """pixels (rows, columns)"""
    patch_size: Size = (4, 4)
    """pixels (rows, columns) of one patch"""
    in_channels: int = 3
    """channels C of a picture"""
    num_classes: int = 10
    """0: no head, the model returns features"""
    dim: int = 256
    """width of the patch vectors"""
    hidden_dim: int = 256
    """width of the state of one direction"""
    depth: int = 2
    """number of layers"""
    bidirectional: bool = False
    """read from both ends"""
    pool: str = "last"
    """how outputs become one vector: last (the last of each direction), mean"""
    dropout: float = 0.0
    """after the embedding and every layer"""
    norm_eps: float = 1e-6
    """added to the variance in every LayerNorm"""

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "patch_size", "in_channels", "dim", "hidden_dim", "depth")
        at_least(self, 0, "num_classes")
        one_of("model.pool", self.pool, ("last", "mean"))
        in_range("model.dropout", self.dropout, 0.0, 0.99)
        in_range("model.norm_eps", self.norm_eps, 0.0, 1.0)
        whole_patches(self.image_size, self.cell_size)

    @property
    def largest_product(self) -> int:
        """Multiplications of about the largest matrix product of one picture."""
        return self.grid[0] * self.grid[1] * 4 * max(self.dim, self.hidden_dim) * self.hidden_dim

    @property
    def summary(self) -> str:
        """Sizes in words."""
        return f"patches of {self.patch_size[0]}x{self.patch_size[1]}, state of {self.hidden_dim}, depth {self.depth}"
