"""The cost of residual convolutional units, and of a ResNet made of them.

What a unit reads was kept by the ReLU or the pooling that made it. What is made of weights alone (standardised
filters) is kept once a batch and not counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..architecture import CNNConfig, Size
from .part import Kept, Part, alive, area, conv, dense, group_norm


def cnn_parts(config: CNNConfig, training: bool) -> Iterator[Part]:
    """Yield the parts of a ResNet (2010.11929, sec. 4.1), stage by stage."""
    size, inputs = config.image_size, config.width
    if config.root == "large":
        yield from root(config.in_channels, config.width, size, config.groups)
        size = size[0] // 4, size[1] // 4
    else:
        yield padded("root", config.in_channels, size, 2)
        yield conv("root", config.in_channels, config.width, 3, area(size)).of_pixels()
        yield from normed("root", config.width, area(size), config.groups)
    expansion = 4 if config.unit == "bottleneck" else 1
    for stage, depth in enumerate(config.depths):
        for number in range(depth):
            width, stride = config.width << stage, 2 if stage and not number else 1
            yield from unit(f"stage {stage + 1}", config.unit, inputs, width, stride, size, config.groups)
            if config.drop_path and (stage or number):
                yield Part(f"stage {stage + 1}", kept=Kept(1))
            size, inputs = (size[0] // stride, size[1] // stride), width * expansion
    if config.num_classes:
        yield dense("head", inputs, config.num_classes, 1)


def root(channels: int, width: int, size: Size, groups: int) -> Iterator[Part]:
    """Yield the 7x7 convolution of stride 2 and the max-pooling before the first stage."""
    half, quarter = (size[0] // 2, size[1] // 2), (size[0] // 4, size[1] // 4)
    yield padded("root", channels, size, 5)
    yield conv("root", channels, width, 7, area(half)).of_pixels()
    yield from normed("root", width, area(half), groups)
    yield padded("root", width, half, 1)
    pooled = area(quarter) * width
    yield Part("root", kept=Kept(pooled, flags=8 * pooled))  # and where each maximum was, in 8 bytes
    yield alive("root", 2 * width * area(half) + 2 * groups)


def unit(
    name: str, kind: str, inputs: int, width: int, stride: int, size: Size, groups: int, held: int | None = None
) -> Iterator[Part]:
    """Yield a residual unit on a map of `size`.

    Args:
        kind: "basic", two 3x3 convolutions, or "bottleneck", 1x1, 3x3 and 1x1.
        held: numbers that are in memory besides, for a unit of a ViT's stem; None: a unit of a CNN.
    """
    basic = ((inputs, width, 3, stride), (width, width, 3, 1))
    bottleneck = ((inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
    convs = basic if kind == "basic" else bottleneck
    outputs, after = convs[-1][1], area(size) // stride**2
    before = (held or 0) + inputs * area(size)
    if inputs != outputs or stride != 1:
        yield conv(name, inputs, outputs, 1, after)
        yield group_norm(name, outputs, after, groups)
        before += outputs * after
    taken_in = 0
    for number, (taken, given, kernel, step) in enumerate(convs):
        taken_in = taken * area(size) if number else 0
        if kernel > 1:
            yield padded(name, taken, size, kernel - step)
        copied = taken * (size[0] + kernel - step) * (size[1] + kernel - step) if kernel > 1 else 0
        size = size[0] // step, size[1] // step
        made = given * area(size)
        yield conv(name, taken, given, kernel, area(size))
        yield from normed(name, given, area(size), groups)
        yield alive(name, before + taken_in + max(copied + made, 2 * made + 2 * groups))
    if held is None:  # what is added, the sum, and its ReLU
        yield alive(name, before + taken_in + 3 * outputs * after)


def normed(name: str, channels: int, places: int, groups: int) -> Iterator[Part]:
    """Yield a GroupNorm and the ReLU after it, or after the sum that it ends in; a ReLU keeps its output."""
    yield group_norm(name, channels, places, groups)
    yield Part(name, kept=Kept(channels * places))


def padded(name: str, channels: int, size: Size, total: int) -> Part:
    """The copy of a map that is wider by `total` rows and columns, kept by the convolution that reads it."""
    return Part(name, kept=Kept(channels * (size[0] + total) * (size[1] + total)))
