"""The cost of the other models of patches and pixels: bag of patches, MLP-Mixer, LSTM, MLP over all pixels."""

from __future__ import annotations

from collections.abc import Iterator

from ..architecture import BagConfig, LSTMConfig, MixerConfig, MLPConfig
from .part import Kept, Part, alive, area, dense, norm
from .stem import patch_matrix


def mlp_parts(config: MLPConfig, training: bool) -> Iterator[Part]:
    """Yield hidden layers over the picture unrolled, each with its LayerNorm and GELU."""
    pixels = config.in_channels * area(config.image_size)
    for layer in range(config.depth):
        name = "hidden layers" if layer else "first layer"
        made = dense(name, config.dim if layer else pixels, config.dim, 1)
        yield made if layer else made.of_pixels()
        yield norm(config.dim, 1)
        yield _activation(config, name, config.dim) + _dropout(config, name, config.dim)
    yield alive("norms", (3 if config.depth > 1 else 2) * config.dim + 2)
    yield from _head(config, config.dim)


def bag_parts(config: BagConfig, training: bool) -> Iterator[Part]:
    """Yield the MLP half of a ViT's blocks for each patch alone."""
    patches = area(config.grid)
    yield patch_matrix(config.in_channels, config.patch_size, config.dim, patches)
    for _ in range(config.depth):
        yield norm(config.dim, patches)
        yield from _two_layers(config, "MLP", config.dim, config.mlp_dim, patches)
        yield alive("MLP", 2 * patches * (config.dim + config.mlp_dim))
    yield norm(config.dim, patches)
    yield from _head(config, config.dim)


def mixer_parts(config: MixerConfig, training: bool) -> Iterator[Part]:
    """Yield an MLP over places and one over channels for each block (2105.01601, eq. 1)."""
    patches = area(config.grid)
    yield patch_matrix(config.in_channels, config.patch_size, config.dim, patches)
    for _ in range(config.depth):
        yield norm(config.dim, patches)
        yield from _two_layers(config, "MLP over places", patches, config.tokens_dim, config.dim)
        yield norm(config.dim, patches)
        yield from _two_layers(config, "MLP over channels", config.dim, config.mlp_dim, patches)
        yield alive("MLP over channels", 2 * patches * (2 * config.dim + config.mlp_dim))
        yield alive("MLP over places", config.dim * (3 * patches + 2 * config.tokens_dim))
    yield norm(config.dim, patches)
    yield from _head(config, config.dim)


def lstm_parts(config: LSTMConfig, training: bool) -> Iterator[Part]:
    """Yield four gates of the input and of the state for each step, layer and direction.

    H (inputs + H) multiply-adds a gate. `FlopCounterMode` sees them only where the steps are computed one by one,
    not inside a fused kernel.
    """
    patches, directions, hidden = area(config.grid), 1 + config.bidirectional, config.hidden_dim
    yield patch_matrix(config.in_channels, config.patch_size, config.dim, patches)
    yield _dropout(config, "patch embedding", patches * config.dim)
    inputs = config.dim
    for _ in range(config.depth):
        for _ in range(directions):
            yield dense("from the input", inputs, 4 * hidden, patches)
            yield dense("from the state", hidden, 4 * hidden, patches)
            yield Part("from the state", constant_macs=4 * hidden * hidden)  # the state of zeros before the first step
            yield Part("from the state", kept=Kept(6 * hidden * patches))  # four gates, the cell and its tanh
        yield alive("from the state", patches * (inputs + (4 + directions) * hidden))
        inputs = directions * hidden
        yield _dropout(config, "from the state", patches * inputs)
    yield norm(inputs, patches)
    yield from _head(config, inputs)


def _two_layers(config: BagConfig | MixerConfig, name: str, width: int, hidden: int, rows: int) -> Iterator[Part]:
    yield dense(name, width, hidden, rows)
    yield _activation(config, name, rows * hidden) + _dropout(config, name, rows * (hidden + width))
    yield dense(name, hidden, width, rows)


def _activation(config: MLPConfig | BagConfig | MixerConfig, name: str, numbers: int) -> Part:
    """A GELU, which keeps its input."""
    return Part(name, kept=Kept(numbers))


def _dropout(config: MLPConfig | BagConfig | MixerConfig | LSTMConfig, name: str, numbers: int) -> Part:
    """Dropout, which keeps a mask."""
    return Part(name, kept=Kept(numbers if config.dropout else 0))


def _head(config: MLPConfig | BagConfig | MixerConfig | LSTMConfig, width: int) -> Iterator[Part]:
    if config.num_classes:
        yield dense("head", width, config.num_classes, 1)
