"""Which model and which settings suit a data set, with the reasons; everything here can be overridden."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..architecture import Architecture, Size
from ..config import AugmentConfig, DataConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig
from ..data.survey import Survey
from ..models.zoo import model_config


@dataclass(frozen=True)
class Choice:
    """A complete run, and what is needed to say why."""

    run: RunConfig
    model: str
    """name of the model preset"""
    augmentation: str
    """what is done to training pictures, and why"""

    def reasons(self, looked: Survey) -> tuple[str, ...]:
        """Return a line for each thing that was chosen."""
        same = "all" if looked.uniform else "about"
        grey = ", grey" if looked.channels == 1 else ""
        run = self.run
        length = f"{run.train.steps} steps" if run.train.steps else f"{run.train.epochs:g} epochs"
        return (
            f"model     {self.model}: pictures are {same} {looked.size[0]}x{looked.size[1]}{grey}; seen at "
            f"{run.data.image_size[0]}x{run.data.image_size[1]}, {run.model.summary}",
            f"recipe    {length} in batches of {run.train.batch_size}, {run.optimizer.name}, {self.augmentation}",
        )


def choose(looked: Survey, device: str, model: str = "") -> Choice:
    """Return the run for a data set; `model` takes the place of the chosen one, and is trained as it is."""
    longest = max(looked.size)
    if longest <= 16:
        choice = _tiny_pictures(looked, model)
    elif longest <= 48:
        choice = _small_pictures(looked, model)
    else:
        choice = _photographs(looked, device, model)
    return choice


def _data(looked: Survey, size: Size) -> DataConfig:
    """Return settings with the usual 0.5 and 0.5 of ViTs for mean and standard deviation."""
    half = (0.5,) * looked.channels
    return DataConfig(image_size=size, channels=looked.channels, mean=half, std=half)


def _model(looked: Survey, name: str, size: Size, **options):
    return model_config(name, image_size=size, in_channels=looked.channels, num_classes=looked.num_classes, **options)


def _epochs(looked: Survey, samples: int, low: int, high: int) -> int:
    """Return the epochs that show about `samples` pictures, within bounds."""
    return max(low, min(high, round(samples / max(looked.num_train, 1))))


def _tiny_pictures(looked: Survey, name: str) -> Choice:
    """Digits and icons: pictures are used as they are, in patches of 2 pixels."""
    size = tuple(side + side % 2 for side in looked.size)
    chosen = name or "vit_digits"
    epochs = _epochs(looked, 52_000, 5, 300)
    run = RunConfig(
        model=_model(looked, chosen, size),
        data=dataclasses.replace(_data(looked, size), resize="squash", test_fraction=0.2),
        augment=AugmentConfig(mixup=0.5),
        optimizer=OptimizerConfig(name="muon", lr=2e-3, muon_lr=0.02, weight_decay=0.05),
        schedule=ScheduleConfig(name="linear", warmup_epochs=1.0),
        train=TrainConfig(epochs=epochs, batch_size=64, shards=2, ema_decay=0.98, eval_epochs=max(1.0, epochs // 10)),
    )
    return Choice(run, chosen, "mixup, and nothing that moves pictures this small")


def _small_pictures(looked: Survey, name: str) -> Choice:
    """Pictures of about 32 pixels: the recipe that reached most on CIFAR-10 so far, see docs/lab-notes.md."""
    size = tuple(-(-side // 8) * 8 for side in looked.size)
    chosen = name or "vit_local_convpool_patch8_32"
    epochs = _epochs(looked, 1_400_000, 10, 200)
    model = _model(looked, chosen, size)
    flip = looked.channels == 3  # small grey pictures are mostly letters and digits, which have a left and a right
    data = dataclasses.replace(
        _data(looked, size),
        resize="squash",
        val_fraction=min(0.1, 2000 / max(looked.num_train, 1)),
        mean=looked.mean,
        std=looked.std,
    )
    run = RunConfig(
        model=model,
        data=data,
        augment=AugmentConfig(
            crop="shift", shift=3, flip=flip, erasing=0.25, early_crop=_early_crop(model), early_share=0.6
        ),
        optimizer=OptimizerConfig(name="muon", lr=1.5e-3, muon_lr=0.02, weight_decay=0.05, beta2=0.98),
        schedule=ScheduleConfig(name="linear", warmup_epochs=0.05 * epochs),
        train=TrainConfig(
            epochs=epochs, batch_size=128, shards=2, label_smoothing=0.1, whiten_patches=model.patch_matrix
        ),
    )
    mirrored, parts = " and mirrored" if flip else "", ", parts of them first" if run.augment.early_crop else ""
    return Choice(run, chosen, f"pictures moved by up to 3 pixels{mirrored}, rectangles erased{parts}")


def _early_crop(model: Architecture) -> int:
    """Return the side of the parts shown first: three quarters of the shorter side in whole patches; 0: no such."""
    if model.kind != "vit":
        return 0
    side = 3 * min(model.grid) // 4 * model.cell_size[0]
    return side if model.cell_size[0] == model.cell_size[1] and side else 0


def _photographs(looked: Survey, device: str, name: str) -> Choice:
    """Photographs: patches of 16, the model as large as the number of pictures and the device allow."""
    if max(looked.size) <= 96:
        size, default = (64, 64), "vit_tiny_patch8_64"
    elif device == "cpu":
        size, default = (224, 224) if looked.num_train > 20_000 else (160, 160), "vit_tiny_patch16_224"
    else:
        size, default = (224, 224), "vit_small_patch16_224" if looked.num_train > 50_000 else "vit_tiny_patch16_224"
    chosen = name or default
    epochs = _epochs(looked, 3_000_000 if device != "cpu" else 300_000, 30, 300)
    few = looked.num_train < 100_000
    run = RunConfig(
        model=_model(looked, chosen, size, **({"drop_path": 0.1} if few and not name else {})),
        data=_data(looked, size),
        augment=AugmentConfig(
            crop="random_resized",
            crop_scale=(0.25, 1.0),
            flip=True,
            randaugment_layers=2,
            randaugment_magnitude=10,
            mixup=0.2 if few else 0.0,
        ),
        optimizer=OptimizerConfig(name="muon", lr=1e-3, muon_lr=0.02, weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine", warmup_epochs=min(5.0, epochs / 10)),
        train=TrainConfig(epochs=epochs, batch_size=64, label_smoothing=0.1, ema_decay=0.999),
    )
    return Choice(run, chosen, "random crops, mirrored, RandAugment(2, 10)")
