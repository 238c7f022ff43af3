"""Small models of every kind and with every option that changes what is computed."""

from __future__ import annotations

from typing import Any

from patchwords.architecture import (
    Architecture,
    BagConfig,
    CNNConfig,
    LSTMConfig,
    MixerConfig,
    MLPConfig,
    ViTConfig,
)


def vit(**options: Any) -> ViTConfig:
    small = {"image_size": (16, 24), "patch_size": (4, 4), "dim": 32, "depth": 2, "num_heads": 2, "mlp_dim": 48}
    return ViTConfig(**({"num_classes": 5} | small | options))


VITS: dict[str, ViTConfig] = {
    "plain": vit(),
    "mean": vit(pool="mean", class_token=False),
    "map": vit(pool="map"),
    "map-gated": vit(pool="map", class_token=False, activation="swiglu"),
    "cls+mean": vit(pool="cls+mean", fc_norm=True),
    "all-tokens": vit(pool="none"),
    "distilled": vit(distillation_token=True, fc_norm=True, pre_logits=7),
    "distilled-no-head": vit(distillation_token=True, num_classes=0, fc_norm=True, pre_logits=7),
    "registers": vit(num_registers=3, position_prefix=False),
    "learned_2d": vit(position="learned_2d", dim=34),
    "sincos": vit(position="sincos_2d"),
    "relative": vit(position="relative"),
    "relative-no-token": vit(position="relative", class_token=False, pool="mean", qkv_bias="qv", relative_slope=1.0),
    "rope": vit(position="rope"),
    "no-position": vit(position="none"),
    "conv-stem": vit(stem="conv"),
    "conv-stem-12": vit(stem="conv", image_size=(24, 24), patch_size=(12, 12), pool="mean"),
    "pool-stem": vit(stem="conv_pool"),
    "pool-stem-12": vit(stem="conv_pool", stem_units=2, image_size=(24, 24), patch_size=(12, 12), pool="mean"),
    "pool-stem-plain": vit(stem="conv_pool", stem_units=0, in_channels=1),
    "pool-stem-wide": vit(stem="conv_pool", stem_widths=(10, 14), stem_first_units=2, patch_size=(4, 4)),
    "resnet-stem": vit(stem="resnet", patch_size=(1, 2), image_size=(64, 128), resnet_depths=(1, 2, 1), pool="mean"),
    "resnet-stem-narrow": vit(
        stem="resnet",
        patch_size=(1, 1),
        image_size=(32, 64),
        resnet_depths=(1, 1),
        resnet_width=0.5,
        patch_bias=False,
        in_channels=1,
    ),
    "swiglu": vit(activation="swiglu", mlp_bias=False),
    "quick_gelu": vit(activation="quick_gelu", proj_bias=False),
    "pre-norm": vit(activation="gelu_tanh", head_bias=False, pre_norm=True),
    "qk-norm": vit(qk_norm=True, qkv_bias="none"),
    "layer-scale": vit(layer_scale=0.1, final_norm=False),
    "pre-logits": vit(pre_logits=9),
    "no-block": vit(depth=0),
    "one-block": vit(depth=1),
    "no-head": vit(num_classes=0),
    "dropout": vit(dropout=0.1),
    "attention-dropout": vit(attention_dropout=0.1),
    "drop-path": vit(drop_path=0.1),
    "patch-dropout": vit(patch_dropout=0.4),
}

MERGING: dict[str, ViTConfig] = {
    "merge": vit(merge=5, depth=3),
    "merge-all": vit(merge=50, depth=3, pool="mean", class_token=False),
    "merge-decreasing": vit(merge=2, depth=4, merge_schedule="decreasing", num_registers=2, layer_scale=0.1),
    "merge-rope": vit(merge=5, depth=3, position="rope", qk_norm=True, pool="map"),
    "merge-noise": vit(merge=5, depth=3, attention_dropout=0.1, patch_dropout=0.4),
}

WIDE: dict[str, Any] = {"image_size": (34, 36), "patch_size": (1, 1), "dim": 8, "mlp_dim": 8, "depth": 3}
"""so many patches that windows are computed in tiles"""
WINDOWS: dict[str, ViTConfig] = {
    "local-masked": vit(attention="local"),
    "axial-masked": vit(attention="axial", pool="mean", class_token=False),
    "axial-relative-masked": vit(attention="axial", position="relative"),
    "axial-patch-dropout": vit(attention="axial", patch_dropout=0.4),
    "local": vit(**WIDE, attention="local", attention_window=2, pool="mean", class_token=False),
    "local-registers": vit(**WIDE, attention="local", num_registers=2),
    "axial": vit(**WIDE, attention="axial"),
    "axial-rope": vit(**WIDE, attention="axial", position="rope"),
    "axial-relative": vit(**WIDE, attention="axial", position="relative", pool="mean", class_token=False),
}

OTHERS: dict[str, Architecture] = {
    "cnn": CNNConfig(image_size=(16, 24), width=32, depths=(1, 2), num_classes=5),
    "cnn-large-root": CNNConfig(
        image_size=(32, 64), width=32, groups=16, depths=(2, 1), unit="bottleneck", root="large", in_channels=1
    ),
    "cnn-bottleneck": CNNConfig(
        image_size=(16, 24), width=32, depths=(2, 1), unit="bottleneck", num_classes=0, drop_path=0.1
    ),
    "mlp": MLPConfig(image_size=(8, 12), dim=24, depth=3),
    "mlp-dropout": MLPConfig(image_size=(8, 8), in_channels=1, dim=64, depth=2, dropout=0.1, num_classes=0),
    "mixer": MixerConfig(image_size=(16, 24), dim=24, depth=2, tokens_dim=10, mlp_dim=36),
    "mixer-dropout": MixerConfig(image_size=(16, 24), dim=24, depth=2, tokens_dim=10, mlp_dim=36, dropout=0.1),
    "bag": BagConfig(image_size=(16, 24), dim=24, depth=2, mlp_dim=36),
    "bag-dropout": BagConfig(image_size=(16, 24), dim=24, depth=2, mlp_dim=36, dropout=0.1),
}
LSTMS: dict[str, Architecture] = {
    "lstm": LSTMConfig(image_size=(16, 24), dim=24, hidden_dim=20),
    "bilstm": LSTMConfig(image_size=(16, 24), dim=24, hidden_dim=20, bidirectional=True, depth=3, pool="mean"),
}
EVERY: dict[str, Architecture] = VITS | MERGING | WINDOWS | OTHERS | LSTMS
