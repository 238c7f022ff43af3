"""Every setting of a multilayer perceptron over the flattened picture, and its default."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import Size, at_least, in_range
from .plain import Plain


@dataclass(frozen=True, kw_only=True)
class MLPConfig(Plain):
    """The picture unrolled to one vector, and dense layers: every connection is fixed when training ends."""

    kind: str = "mlp"
    """which class of model this describes"""
    image_size: Size = (32, 32)
    """pixels (rows, columns); no other size is read"""
    in_channels: int = 3
    """channels C of a picture"""
    num_classes: int = 10
    """0: no head, the model returns features"""
    dim: int = 512
    """width of every hidden layer"""
    depth: int = 3
    """number of hidden layers L"""
    dropout: float = 0.0
    """after every hidden layer"""
    norm_eps: float = 1e-6
    """added to the variance in every LayerNorm"""

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "in_channels", "dim", "depth")
        at_least(self, 0, "num_classes")
        in_range("model.dropout", self.dropout, 0.0, 0.99)
        in_range("model.norm_eps", self.norm_eps, 0.0, 1.0)

    @property
    def grid(self) -> Size:
        """One cell: the whole picture."""
        return 1, 1

    @property
    def cell_size(self) -> Size:
        """Pixels of the picture under one token: all."""
        return self.image_size

    @property
    def largest_product(self) -> int:
        """Multiplications of about the largest matrix product of one picture."""
        return max(self.in_channels * self.image_size[0] * self.image_size[1], self.dim) * self.dim

    @property
    def summary(self) -> str:
        """Sizes in words."""
        return f"all pixels at once, width {self.dim}, depth {self.depth}"
