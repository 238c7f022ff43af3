"""Settings of papers by name: Table 3 (training) and Table 4 (fine-tuning) of 2010.11929."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import RunConfig
from .errors import ConfigError, nearest
from .overrides import override


@dataclass(frozen=True)
class Preset:
    """Named settings, laid over a run."""

    about: str
    sections: dict[str, dict[str, Any]]
    larger: bool = False
    """models of 224 pixels see 384 (sec. 3.2 and B.1.1)"""


def _pretrain(about: str, lr: float, epochs: float, weight_decay: float, dropout: float, schedule: str, clip: float):
    return Preset(
        about,
        {
            "model": {"dropout": dropout},
            "optimizer": {
                "name": "adamw",
                "lr": lr,
                "beta1": 0.9,
                "beta2": 0.999,
                "weight_decay": weight_decay,
                "clip_norm": clip,
            },
            "schedule": {"name": schedule, "warmup_steps": 10_000, "final": 0.0},
            "train": {
                "epochs": float(epochs),
                "steps": 0,
                "batch_size": 4096,
                "label_smoothing": 0.0,
                "ema_decay": 0.0,
            },
        },
    )


def _finetune(about: str, lr: float, steps: int):
    return Preset(
        about,
        {
            "optimizer": {"name": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 1.0},
            "schedule": {"name": "cosine", "warmup_steps": 0, "warmup_epochs": 0.0, "final": 0.0},
            "train": {"steps": steps, "batch_size": 512, "label_smoothing": 0.0, "ema_decay": 0.0},
            "transfer": {"layer_decay": 1.0},
        },
        larger=True,
    )


_JFT = {  # model: (peak learning rate, epochs), table 3 rows 1-6
    "b32": (8e-4, 7),
    "b16": (8e-4, 7),
    "l32": (6e-4, 7),
    "l16": (4e-4, 7),
    "l16_14": (4e-4, 14),
    "h14": (3e-4, 14),
}
_I21K_EPOCHS = {"b": 90, "l": 30, "l_90": 90}
_FINETUNE = {  # data set: (middle of the learning rates tried, steps), table 4
    "imagenet": (0.03, 20_000),
    "cifar10": (0.01, 10_000),
    "cifar100": (0.01, 10_000),
    "pets": (0.01, 500),
    "flowers": (0.01, 500),
    "vtab": (0.01, 2_500),
}

PRESETS: dict[str, Preset] = (
    {
        f"paper_jft_{name}": _pretrain(f"table 3, JFT-300M, {name}", lr, epochs, 0.1, 0.0, "linear", 0.0)
        for name, (lr, epochs) in _JFT.items()
    }
    | {
        f"paper_imagenet21k_{name}": _pretrain(f"table 3, ImageNet-21k, {name}", 1e-3, epochs, 0.03, 0.1, "linear", 0.0)
        for name, epochs in _I21K_EPOCHS.items()
    }
    | {"paper_imagenet": _pretrain("table 3, ImageNet, every model", 3e-3, 300, 0.3, 0.1, "cosine", 1.0)}
    | {
        f"paper_finetune_{name}": _finetune(f"table 4, fine-tuning on {name}", lr, steps)
        for name, (lr, steps) in _FINETUNE.items()
    }
)


def apply_preset(run: RunConfig, name: str) -> RunConfig:
    """Return `run` with the settings of the preset `name`.

    Raises:
        ConfigError: no such preset; names the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", where="--preset", fix=nearest(name, PRESETS))
    preset = PRESETS[name]
    sections = dict(preset.sections)
    if preset.larger and run.model.image_size == (224, 224):
        size = tuple(round(384 / cell) * cell for cell in run.model.cell_size)  # 384; 378 for patches of 14
        sections |= {"model": {"image_size": size}, "data": {"image_size": size}}
    return override(run, sections)
