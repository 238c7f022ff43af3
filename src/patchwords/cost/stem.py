"""The cost of what makes patch tokens of a picture: the patch matrix, convolutions before it, the paper's ResNet."""

from __future__ import annotations

from collections.abc import Iterator

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
    name, halvings = CONVOLUTIONS, config.stem_halvings
    size, channels = config.image_size, config.in_channels
    yield Part(name, kept=Kept(area(size) * channels))  # the picture
    for layer in range(halvings):
        size, outputs = (size[0] // 2, size[1] // 2), max(config.dim >> (halvings - 1 - layer), 1)
        made = conv(name, channels, outputs, 3, area(size))
        yield made if layer else made.of_pixels()
        yield from normed(name, outputs, area(size), 1)
        before = 4 * area(size) * channels if layer else 0
        yield alive(name, before + 2 * outputs * area(size) + 2)
        channels = outputs
    yield _rest(config, patches)


def _pool_stem(config: ViTConfig, patches: int) -> Iterator[Part]:
    """Yield 3x3 convolutions with norm and ReLU, each followed by max-pooling and residual units.

    What is alive in pooling is counted as for bfloat16, an eighth too much for float32.
    """
    name, halvings = CONVOLUTIONS, config.stem_halvings
    size, channels = config.image_size, config.in_channels
    for layer in range(halvings):
        yield Part(name, kept=Kept(area(size) * channels))  # what is convolved
        outputs = max(config.dim >> (halvings - 1 - layer), 1)
        made = conv(name, channels, outputs, 3, area(size))
        yield made if layer else made.of_pixels()
        yield from normed(name, outputs, area(size), 1)
        before = channels * area(size) if layer or channels > 1 else 0  # a grey picture needs no other order
        places = outputs * area(size)  # 8 bytes for each maximum: 4 numbers of bfloat16
        yield alive(name, before + max(2 * outputs * area(size) + 2, 5 * outputs * area(size) // 4 + places))
        size, channels = (size[0] // 2, size[1] // 2), outputs
        yield Part(name, kept=Kept(flags=8 * area(size) * channels))  # where each maximum was
        for _ in range(config.stem_units):
            yield from normed(name, channels, area(size), 1)
            yield conv(name, channels, channels, 3, area(size))
    yield _rest(config, patches)


def _rest(config: ViTConfig, patches: int) -> Part:
    """The matrix on what the convolutions have left of a patch."""
    rest = area(side >> config.stem_halvings for side in config.patch_size)
    return dense(NAME, config.dim * rest, config.dim, patches, config.patch_bias)
