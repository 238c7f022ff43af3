"""How a model is tuned to a data set: what moves, for how long, how fast; with the reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ..architecture import Architecture
from ..checkpoint import LoadedModel
from ..config import AugmentConfig, DataConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig, TransferConfig
from ..data.survey import Survey

LOWEST_LAYER = 0.05
"""share of the learning rate that the embedding has when everything moves"""
RATES = {"all": 3e-4, "last": 5e-4, "lora": 2e-3, "head": 3e-3, "probe": 1e-3}
"""learning rate of AdamW where none is given and none can be found out; the sweep stays near it"""
OF_WIDTH = 768
"""width of the models whose matrices are moved at these rates; narrower ones faster, as the root"""
NOISE = ("dropout", "attention_dropout", "drop_path", "patch_dropout")
"""settings of models that are off unless asked for"""
FRACTION = 0.1
"""share of the training pictures set aside for validation"""


@dataclass(frozen=True)
class TuneChoice:
    """A complete run from another model, and what is needed to say why."""

    run: RunConfig
    parameters: int
    """weights of the model"""
    adapted: Sequence[str]
    """what was done to them so that they fit; filled when it is done"""

    def reasons(self, looked: Survey) -> tuple[str, ...]:
        """Return a line for each thing that was chosen."""
        run, model = self.run, self.run.model
        size, grid = run.data.image_size, model.grid
        same = "all" if looked.uniform else "about"
        lines = [
            f"model     {run.transfer.checkpoint}: width {model.dim}, depth {model.depth}, "
            f"{self.parameters / 1e6:.3g} million weights; pictures are {same} {looked.size[0]}x{looked.size[1]}, seen "
            f"at {size[0]}x{size[1]}, in {grid[0]}x{grid[1]} patches",
            *(f"          {line}" for line in self.adapted),
            f"          {moved(run.transfer)}",
        ]
        if run.transfer.tune == "probe":
            return tuple(lines)
        length = f"{run.train.steps} steps" if run.train.steps else f"{run.train.epochs:g} epochs"
        why = f"{looked.num_train} pictures in {looked.num_classes} classes"
        return (
            *lines,
            f"recipe    {length} in batches of {run.train.batch_size}, {run.optimizer.name}, "
            f"{augmentation(run.augment)}: {why}",
        )


def moved(transfer: TransferConfig) -> str:
    """Return what moves, in words."""
    if transfer.last_blocks or transfer.tune == "last-0":
        return f"the last {transfer.last_blocks} blocks and the head move"
    if transfer.tune == "lora":
        where = "attention and MLP" if transfer.lora_mlp else "attention"
        return f"the head and LoRA of rank {transfer.lora_rank} in {where} move"
    if transfer.tune == "all":
        return f"everything moves, each layer {transfer.layer_decay:g} times as fast as the next"
    return {"probe": "the head alone is solved, on features of unchanged pictures", "head": "the head alone moves"}[
        transfer.tune
    ]


def augmentation(config: AugmentConfig) -> str:
    """Return what is done to training pictures, in words."""
    crops = {"none": "", "shift": f"moved by up to {config.shift} pixels", "random_resized": "random crops"}
    parts = [crops[config.crop], "mirrored" if config.flip else ""]
    return " and ".join(part for part in parts if part) or "pictures as they are"


def choose(looked: Survey, device: str, source: LoadedModel, transfer: TransferConfig) -> RunConfig:
    """Return the run that tunes `source` to pictures that look like this.

    Args:
        transfer: with `checkpoint` and `tune`; the layer decay is chosen here.
    """
    config: Architecture = source.model.config
    size = source.preprocess.image_size
    kind = "last" if transfer.last_blocks else transfer.tune if transfer.tune in RATES else "head"
    train, schedule = _length(looked, device, kind)
    inside = kind in ("all", "last")
    rate = RATES[kind] * ((OF_WIDTH / config.dim) ** 0.5 if inside else 1.0)
    decay = round(LOWEST_LAYER ** (1 / (config.depth + 1)), 2) if kind == "all" else 1.0
    return RunConfig(
        model=dataclasses.replace(config, image_size=size, **{name: 0.0 for name in NOISE if hasattr(config, name)}),
        data=_data(source, looked),
        augment=_augment(looked, size, kind),
        optimizer=OptimizerConfig(
            name="adamw", lr=float(f"{rate:.2g}"), weight_decay=0.05 if inside else 0.0
        ),
        schedule=schedule,
        train=train,
        transfer=dataclasses.replace(transfer, layer_decay=decay),
    )  # fmt: skip


def _data(source: LoadedModel, looked: Survey) -> DataConfig:
    """Return settings with the preprocessing that belongs to the source."""
    preprocess = source.preprocess
    names = ("image_size", "channels", "mean", "std", "resize", "crop_fraction", "interpolation")
    kept = {name: getattr(preprocess, name) for name in names}
    return DataConfig(**kept, val_fraction=min(FRACTION, 2000 / max(looked.num_train, 1)))


def _length(looked: Survey, device: str, kind: str) -> tuple[TrainConfig, ScheduleConfig]:
    """Return how long: few pictures are seen more often, many at least five times."""
    count = max(looked.num_train, 1)
    quarter = 2 ** (max(count // 4, 1).bit_length() - 1)
    batch = max(4, min(64 if device == "cpu" else 256, quarter))
    seen = max(batch * 100, min(30 * count, 60_000 if device == "cpu" else 600_000), 5 * count)
    epochs = round(seen / count, 1)
    train = TrainConfig(
        epochs=epochs,
        batch_size=batch,
        shards=2 if batch >= 16 else 1,
        label_smoothing=0.1,
        eval_epochs=max(1.0, round(epochs / 5, 1)),
    )
    return train, ScheduleConfig(name="cosine", warmup_epochs=round(0.1 * epochs, 2))


def _augment(looked: Survey, size: tuple[int, int], kind: str) -> AugmentConfig:
    """Return moderate changes: a model that has learned needs less of them than one that begins."""
    colour = looked.channels == 3  # small grey pictures are mostly letters and digits, which have a left and a right
    if kind == "probe" or max(looked.size) <= 16:
        return AugmentConfig()
    if max(looked.size) <= 48:
        return AugmentConfig(crop="shift", shift=max(1, round(0.1 * min(size))), flip=colour)
    return AugmentConfig(crop="random_resized", crop_scale=(0.4, 1.0), flip=colour)
