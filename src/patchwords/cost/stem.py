"""The cost of what makes patch tokens of a picture: the patch matrix, convolutions before it, the paper's ResNet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from ..architecture import Size, ViTConfig
from .part import Kept, Part, alive, area, conv, dense
from .residual import normed, root, unit

NAME, CONVOLUTIONS = "patch embedding", "convolutions"
GROUPS = 32
"""of GroupNorm in the resnet stem"""


def patch_matrix(channels: int, patch_size: Size, dim: int, patches: int, bias: bool = True) -> Part:
    """The matrix E of eq. 1, on pixels."""
    made = dense(NAME, channels * area(patch_size), dim, patches, bias).of_pixels()
    return made + alive(NAME, patches * (channels * area(patch_size) + dim))


def stem_parts(config: ViTConfig) -> Iterator[Part]:
    """Yield the parts of a ViT's stem."""
    patches = area(config.grid)
    if config.stem == "patch":
        yield patch_matrix(config.in_channels, config.patch_size, config.dim, patches, config.patch_bias)
    elif config.stem == "conv":
        yield from _conv_stem(config, patches)
    elif config.stem == "conv_pool":
        yield from _pool_stem(config, patches)
    else:
        yield from _resnet_stem(config, patches)


def _resnet_stem(config: ViTConfig, patches: int) -> Iterator[Part]:
    """Yield the hybrid's ResNet (sec. 3.1) and the matrix on its last map."""
    channels = width = int(64 * config.resnet_width)
    yield from root(config.in_channels, width, config.image_size, GROUPS)
    size = config.image_size[0] // 4, config.image_size[1] // 4
    held = 4 * area(size) * width  # what is pooled is in memory to the end
    for stage, depth in enumerate(config.resnet_depths):
        for number in range(depth):
            stride = 2 if stage and not number else 1
            yield from unit(f"stage {stage + 1}", "bottleneck", channels, width << stage, stride, size, GROUPS, held)
            size, channels = (size[0] // stride, size[1] // stride), 4 * (width << stage)
    yield dense(NAME, channels * area(config.patch_size), config.dim, patches, config.patch_bias)


def _conv_stem(config: ViTConfig, patches: int) -> Iterator[Part]:
    """Yield 3x3 convolutions of stride 2, with norm and ReLU, and the matrix that does the rest (2106.14881)."""
    name, size = CONVOLUTIONS, config.image_size
    yield Part(name, kept=Kept(area(size) * config.in_channels))  # the picture
    for layer, (channels, outputs) in enumerate(pairwise(config.stem_channels)):
        size = size[0] // 2, size[1] // 2
        made = conv(name, channels, outputs, 3, area(size))
        yield made if layer else made.of_pixels()
        yield from normed(name, outputs, area(size), 1)
        before = 4 * area(size) * channels if layer else 0
        yield alive(name, before + 2 * outputs * area(size) + 2)
    yield _rest(config, patches)


def _pool_stem(config: ViTConfig, patches: int) -> Iterator[Part]:
    """Yield 3x3 convolutions, with norm and GELU before all but the first, max-pooling and residual units.

    What is alive in pooling is counted as for bfloat16, for float32 two sevenths too much.
    """
    name, size = CONVOLUTIONS, config.image_size
    for layer, (channels, outputs) in enumerate(pairwise(config.stem_channels)):
        read, places = channels * area(size), outputs * area(size)
        made = conv(name, channels, outputs, 3, area(size))
        if layer:
            yield from _gated(channels, area(size))
            yield made
            before, gated, units = read, max(2 * read, read + places), 0
        else:
            yield Part(name, kept=Kept(read))
            yield made.of_pixels()
            before, gated, units = read if channels > 1 else 0, 0, config.stem_first_units  # grey: no other order
        for _ in range(units):
            yield from _pool_unit(outputs, area(size))
        pooled = 5 * places // 4 + places  # 8 bytes for each maximum: 4 numbers of bfloat16
        yield alive(name, before + max(gated, 3 * places if units else 0, pooled))
        size = size[0] // 2, size[1] // 2
        yield Part(name, kept=Kept(places, flags=8 * area(size) * outputs))  # what is pooled, where each maximum was
        for _ in range(config.stem_units):
            yield from _pool_unit(outputs, area(size))
    yield _rest(config, patches)


def _pool_unit(channels: int, places: int) -> Iterator[Part]:
    """Yield a residual convolution with its norm and GELU."""
    yield from _gated(channels, places)
    yield conv(CONVOLUTIONS, channels, channels, 3, places)


def _gated(channels: int, places: int) -> Iterator[Part]:
    """Yield a norm and the GELU after it, which keeps what it reads."""
    yield from normed(CONVOLUTIONS, channels, places, 1)
    yield Part(CONVOLUTIONS, kept=Kept(channels * places))


def _rest(config: ViTConfig, patches: int) -> Part:
    """The matrix on what the convolutions have left of a patch."""
    rest = area(side >> config.stem_halvings for side in config.patch_size)
    return dense(NAME, config.stem_channels[-1] * rest, config.dim, patches, config.patch_bias)
