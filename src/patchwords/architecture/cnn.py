"""Every setting of a convolutional network and its default."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from .checks import Size, at_least, in_range, one_of
from .plain import Plain


@dataclass(frozen=True, kw_only=True)
class CNNConfig(Plain):
    """The paper's ResNet: GroupNorm and standardised convolutions (2010.11929, sec. 4.1; BiT, 1912.11370)."""

    kind: str = "cnn"
    """which class of model this describes"""
    image_size: Size = (32, 32)
    """pixels (rows, columns)"""
    in_channels: int = 3
    """channels C of a picture"""
    num_classes: int = 10
    """0: no head, the model returns features"""
    root: str = "small"
    """first layer: small (3x3, for pictures of about 32 pixels), large (7x7 of stride 2 and max-pooling)"""
    unit: str = "basic"
    """residual unit: basic (two 3x3 convolutions), bottleneck (1x1, 3x3, 1x1, four times as wide at its end)"""
    depths: tuple[int, ...] = (2, 2, 2)
    """units of each stage; every stage but the first halves the picture"""
    width: int = 64
    """channels of the first stage's 3x3 convolutions; doubled from stage to stage"""
    groups: int = 32
    """of GroupNorm"""
    drop_path: float = 0.0
    """stochastic depth of the last unit; earlier units grow linearly from 0"""

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "in_channels", "width", "groups")
        at_least(self, 0, "num_classes")
        one_of("model.root", self.root, ("small", "large"))
        one_of("model.unit", self.unit, ("basic", "bottleneck"))
        in_range("model.drop_path", self.drop_path, 0.0, 0.99)
        if not self.depths or min(self.depths) < 1:
            what = f"{self.depths} are not units per stage"
            raise ConfigError(what, where="model.depths", fix="Give 1 or more for each")
        if self.width % self.groups:
            what = f"{self.groups} groups do not divide a width of {self.width}"
            raise ConfigError(what, where="model.groups", fix="Give a divisor of model.width")
        for size, cell, axis in zip(self.image_size, self.cell_size, ("rows", "columns"), strict=True):
            if size % cell:
                fix = f"Give a model.image_size that {cell} divides, or fewer model.depths"
                raise ConfigError(f"{size} {axis} cannot be halved so often", where="model.image_size", fix=fix)

    @property
    def depth(self) -> int:
        """Number of residual units."""
        return sum(self.depths)

    @property
    def expansion(self) -> int:
        """How many times wider a unit ends than its 3x3 convolution is."""
        return 4 if self.unit == "bottleneck" else 1

    @property
    def dim(self) -> int:
        """Channels of the last map."""
        return (self.width << (len(self.depths) - 1)) * self.expansion

    @property
    def cell_size(self) -> Size:
        """Pixels of the picture under one place of the last map: the stride of the whole network."""
        stride = 2 ** (len(self.depths) - 1) * (4 if self.root == "large" else 1)
        return stride, stride

    @property
    def grid(self) -> Size:
        """Places (rows, columns) of the last map."""
        return self.image_size[0] // self.cell_size[0], self.image_size[1] // self.cell_size[1]

    @property
    def draws(self) -> bool:
        """Whether a training pass uses random numbers."""
        return self.drop_path > 0

    @property
    def any_size(self) -> bool:
        """Whether pictures of other sizes are read: of every multiple of the stride."""
        return True

    @property
    def largest_product(self) -> int:
        """Multiplications of about the largest matrix product of one picture."""
        return self.grid[0] * self.grid[1] * 9 * (self.width << (len(self.depths) - 1)) ** 2

    @property
    def summary(self) -> str:
        """Sizes in words."""
        return f"stages of {', '.join(map(str, self.depths))} {self.unit} units, width {self.width}"
