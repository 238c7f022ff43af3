"""Architectures: every setting of every kind of model and its default; no torch is imported here.

Each kind is a frozen dataclass with `kind`, `image_size`, `in_channels` and `num_classes`, and with the properties
`grid`, `cell_size`, `num_prefix_tokens`, `draws`, `any_size`, `patch_matrix`, `largest_product` and `summary`. A field
that two kinds share has one meaning and one type.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError, nearest
from .bag import BagConfig
from .checks import Size, at_least, in_range, one_of
from .cnn import CNNConfig
from .lstm import LSTMConfig
from .mixer import MixerConfig
from .mlp import MLPConfig
from .vit import ACTIVATIONS, POOLS, POSITION_RESIZES, POSITIONS, QKV_BIASES, RESNET_RULES, STEMS, ViTConfig

Architecture = ViTConfig | CNNConfig | MLPConfig | MixerConfig | LSTMConfig | BagConfig

ARCHITECTURES: dict[str, type[Any]] = {
    "vit": ViTConfig,
    "cnn": CNNConfig,
    "mlp": MLPConfig,
    "mixer": MixerConfig,
    "lstm": LSTMConfig,
    "bag": BagConfig,
}
"""kind -> its settings"""

TITLES = {
    "vit": "Vision Transformer",
    "cnn": "convolutional network",
    "mlp": "multilayer perceptron",
    "mixer": "MLP-Mixer",
    "lstm": "LSTM",
    "bag": "bag of patches",
}
"""kind -> what it is called in words"""


def architecture_of(kind: str) -> Architecture:
    """Return the default settings of `kind`.

    Raises:
        ConfigError: no such kind; names the nearest.
    """
    if kind not in ARCHITECTURES:
        raise ConfigError(f"{kind!r} is not a kind of model", where="model.kind", fix=nearest(kind, ARCHITECTURES))
    return ARCHITECTURES[kind]()


__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "POOLS",
    "POSITIONS",
    "POSITION_RESIZES",
    "QKV_BIASES",
    "RESNET_RULES",
    "STEMS",
    "TITLES",
    "Architecture",
    "BagConfig",
    "CNNConfig",
    "LSTMConfig",
    "MLPConfig",
    "MixerConfig",
    "Size",
    "ViTConfig",
    "architecture_of",
    "at_least",
    "in_range",
    "one_of",
]
