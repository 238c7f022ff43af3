"""Every setting of a run and its default, on one page; no torch is imported here.

Words are the paper's (arXiv 2010.11929): `dim` is D, `depth` L, `mlp_dim` the MLP size,
`patch_size` P. All dataclasses are frozen; checks fire when one is built. A value of 0 or
"none" means off; nothing means "default".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from .architecture import Architecture, Size, ViTConfig, in_range, one_of
from .errors import ConfigError

CROPS = ("none", "shift", "random_resized")
OPTIMIZERS = ("adamw", "sgd", "muon")
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16")
SWITCHES = ("auto", "on", "off")
DEVICES = ("auto", "cpu", "cuda", "mps")
RESIZES = ("squash", "crop")
INTERPOLATIONS = ("bicubic", "bilinear")
TUNED_PARTS = ("probe", "head", "lora", "all")
LAST_BLOCKS = re.compile(r"last-(\d+)")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which pictures, how they are split, and how they reach the model."""

    source: str = ""
    """digits, cifar10, a folder, .zip, .tar, or a .csv/.jsonl/.parquet manifest"""
    image_size: Size = (224, 224)
    """pixels (rows, columns) the model sees"""
    channels: int = 3
    """1: grey, 3: RGB"""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """per channel, of values in 0..1"""
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """per channel, of values in 0..1"""
    resize: str = "crop"
    """squash: to the size whatever the shape; crop: shorter side, then the centre"""
    crop_fraction: float = 0.875
    """share of the shorter side that the centre crop keeps; pictures that have the size already are untouched"""
    interpolation: str = "bicubic"
    """how pixels between pixels are found: bicubic, bilinear; both antialiased"""
    scaled_decode: bool = True
    """random crops of large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, never below image_size; measuring
    always decodes whole pictures"""
    val_fraction: float = 0.1
    """share of the training pictures set aside when there is no validation split"""
    test_fraction: float = 0.1
    """share of the pictures set aside when there is no test split"""
    split_seed: int = 0
    """of the drawing of splits that are missing; train.seed does not touch them"""
    workers: int = 2
    """decoding threads; the result does not depend on it"""
    memory_limit_mb: int = 2048
    """pictures that fit in this much memory as uint8 are kept there"""
    strict: bool = False
    """stop (exit 65) when any listed picture cannot be used, instead of leaving it out"""
    max_rejected: float = 0.5
    """stop when more than this share of the pictures cannot be used"""

    def __post_init__(self) -> None:
        one_of("data.resize", self.resize, RESIZES)
        one_of("data.interpolation", self.interpolation, INTERPOLATIONS)
        if self.channels not in (1, 3):
            raise ConfigError(
                f"{self.channels} is not a choice", where="data.channels", fix="Allowed: 1 (grey), 3 (RGB)"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ConfigError(
                    f"{len(getattr(self, name))} values for {self.channels} channels", where=f"data.{name}"
                )
        if min(self.std) <= 0:
            raise ConfigError(f"{min(self.std)} is not above 0", where="data.std")
        if min(self.image_size) < 1:
            raise ConfigError(f"{self.image_size} is not a size", where="data.image_size", fix="Give pixels, 1 or more")
        for name in ("val_fraction", "test_fraction"):
            in_range(f"data.{name}", getattr(self, name), 0.0, 0.9)
        in_range("data.crop_fraction", self.crop_fraction, 0.05, 1.0)
        in_range("data.max_rejected", self.max_rejected, 0.0, 1.0)
        in_range("data.workers", self.workers, 0, 256)
        in_range("data.split_seed", self.split_seed, 0, 2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is done to training pictures; 0 or none switches a part off."""

    crop: str = "none"
    """none, shift (pad and move), random_resized"""
    shift: int = 4
    """largest move in pixels, for crop=shift"""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """share of the area, for crop=random_resized"""
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """columns over rows, for crop=random_resized"""
    early_crop: int = 0
    """side in pixels of the square parts of pictures that are shown at first; fewer patches, so more pictures in the
    same time; 0: off"""
    early_share: float = 0.75
    """share of the steps in which parts are shown"""
    flip: bool = False
    """mirror left-right: half of the pictures, and in the next epoch the others"""
    randaugment_layers: int = 0
    """l of AugReg (2106.10270, sec. 3.3): operations in a row"""
    randaugment_magnitude: float = 0.0
    """m of AugReg, 0..30"""
    three_augment: bool = False
    """one of grey, solarize, blur (DeiT III, 2204.07118)"""
    color_jitter: float = 0.0
    """largest change of brightness, contrast and saturation, as a share"""
    erasing: float = 0.0
    """probability that a rectangle is erased"""
    mixup: float = 0.0
    """alpha of the Beta distribution; with cutmix also on, each shard of each batch draws one of the two"""
    cutmix: float = 0.0
    """alpha of the Beta distribution"""

    def __post_init__(self) -> None:
        one_of("augment.crop", self.crop, CROPS)
        in_range("augment.shift", self.shift, 0, 1024)
        in_range("augment.early_crop", self.early_crop, 0, 4096)
        in_range("augment.early_share", self.early_share, 0.0, 1.0)
        in_range("augment.randaugment_layers", self.randaugment_layers, 0, 16)
        in_range("augment.randaugment_magnitude", self.randaugment_magnitude, 0, 30)
        for name in ("color_jitter", "erasing"):
            in_range(f"augment.{name}", getattr(self, name), 0.0, 1.0)
        for name in ("mixup", "cutmix"):
            in_range(f"augment.{name}", getattr(self, name), 0.0, 100.0)
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigError(f"{low},{high} is not a range inside 0..1", where="augment.crop_scale")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ConfigError(f"{low},{high} is not a range of ratios", where="augment.crop_ratio")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How gradients move weights."""

    name: str = "adamw"
    """adamw, sgd (with momentum), muon (matrices of the blocks, convolutions of a stem; adamw for the rest)"""
    lr: float = 1e-3
    """peak learning rate of adamw and sgd"""
    muon_lr: float = 0.02
    """peak learning rate of the matrices under muon"""
    weight_decay: float = 0.05
    """on matrices only, times the learning rate"""
    beta1: float = 0.9
    """decay of the average gradient, of adamw"""
    beta2: float = 0.999
    """decay of the average squared gradient, of adamw"""
    eps: float = 1e-8
    """added to the root of the average squared gradient, of adamw"""
    momentum: float = 0.9
    """of sgd"""
    muon_momentum: float = 0.95
    """of muon, in Nesterov's form"""
    clip_norm: float = 1.0
    """largest norm of the whole gradient; 0: off"""

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, OPTIMIZERS)
        for name in ("lr", "muon_lr", "weight_decay", "clip_norm", "eps"):
            in_range(f"optimizer.{name}", getattr(self, name), 0.0, 1e4)
        for name in ("beta1", "beta2", "momentum", "muon_momentum"):
            in_range(f"optimizer.{name}", getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves: up from 0 in warm-up, then down to `final` of the peak."""

    name: str = "cosine"
    """shape of the way down: cosine, linear, constant"""
    warmup_epochs: float = 5.0
    """epochs of the way up"""
    warmup_steps: int = 0
    """optimizer steps of the way up; takes the place of warmup_epochs when above 0"""
    final: float = 0.0
    """share of the peak at the last step"""

    def __post_init__(self) -> None:
        one_of("schedule.name", self.name, SCHEDULES)
        in_range("schedule.warmup_epochs", self.warmup_epochs, 0, 1e6)
        in_range("schedule.warmup_steps", self.warmup_steps, 0, 1e9)
        in_range("schedule.final", self.final, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in what portions, on what, and how often it is measured and saved."""

    epochs: float = 100.0
    """how often each training picture is seen; need not be whole"""
    steps: int = 0
    """optimizer steps; takes the place of epochs when above 0"""
    batch_size: int = 128
    """pictures in one optimizer step"""
    shards: int = 1
    """virtual shards: fixed parts of the batch whose gradients are added in a fixed order"""
    label_smoothing: float = 0.0
    """share of each target that is spread evenly over all classes"""
    whiten_patches: bool = False
    """start the first matrix on pixels (E, or the first convolution of a conv stem) from the whitening of real patches
    instead of from random numbers"""
    ema_decay: float = 0.0
    """decay of the averaged weights per step; 0: off"""
    seed: int = 0
    """of first weights, order, augmentation and dropout; the same seed on the same machine gives the same bits"""
    precision: str = "auto"
    """fp32, bf16; auto: bf16 where the processor computes in it"""
    compile: str = "auto"
    """torch.compile: on, off; auto: measured at the start, used when it pays"""
    device: str = "auto"
    """cpu, cuda, mps; auto: the fastest there is"""
    threads: int = 0
    """of the processor; 0: every core; of small models only one for each shard that is computed side by side"""
    checkpoint_activations: bool = False
    """compute activations again in the backward pass instead of storing them"""
    eval_epochs: float = 1.0
    """epochs between measurements on the validation split; 0: only at the end"""
    log_steps: int = 10
    """steps between lines of metrics.jsonl"""
    save_seconds: float = 60.0
    """seconds between saved states; the result does not depend on it"""
    tensorboard: bool = True
    """write TensorBoard events where tensorboard is installed"""
    watch_epochs: float = 0.0
    """epochs between looks at a few pictures, for `patchwords inspect RUN --over-time`; 0: off"""
    watch_pictures: int = 4
    """how many: of the validation split, or test where there is none"""
    report: bool = False
    """write RUN/report.html at the end, as `patchwords inspect RUN` does at any time: it takes up to minutes"""

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("compile", SWITCHES), ("device", DEVICES)):
            one_of(f"train.{name}", getattr(self, name), allowed)
        in_range("train.epochs", self.epochs, 0, 1e6)
        in_range("train.steps", self.steps, 0, 1e9)
        in_range("train.batch_size", self.batch_size, 1, 1e6)
        in_range("train.label_smoothing", self.label_smoothing, 0.0, 0.99)
        in_range("train.ema_decay", self.ema_decay, 0.0, 0.999999)
        in_range("train.seed", self.seed, 0, 2**32 - 1)
        in_range("train.threads", self.threads, 0, 1024)
        in_range("train.eval_epochs", self.eval_epochs, 0, 1e6)
        in_range("train.log_steps", self.log_steps, 1, 1e9)
        in_range("train.save_seconds", self.save_seconds, 0, 1e9)
        in_range("train.watch_epochs", self.watch_epochs, 0, 1e6)
        in_range("train.watch_pictures", self.watch_pictures, 1, 64)
        if self.shards < 1 or self.batch_size % self.shards:
            raise ConfigError(
                f"{self.shards} shards do not divide a batch of {self.batch_size}",
                where="train.shards",
                fix="Give a divisor of train.batch_size",
            )


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How a run goes on from the weights of another model; without effect in a run from scratch."""

    checkpoint: str = ""
    """where the weights came from; the run keeps a copy of them in RUN/start"""
    tune: str = ""
    """what moves: probe (the head, solved), head, lora, last-K (blocks), all"""
    layer_decay: float = 1.0
    """the learning rate falls by this factor from each layer to the one before it (2106.08254, sec. 3.2)"""
    new_head: bool = False
    """a head of zeros also where the classes are those of the checkpoint"""
    lora_rank: int = 8
    """r of LoRA (2106.09685, sec. 4.1)"""
    lora_alpha: float = 16.0
    """what LoRA adds is scaled by this over the rank"""
    lora_mlp: bool = False
    """LoRA also in the MLP, not only in attn.qkv and attn.proj"""
    range_check: bool = True
    """find the learning rate by a sweep before the first step, unless one was given"""

    def __post_init__(self) -> None:
        if self.tune and not LAST_BLOCKS.fullmatch(self.tune):
            one_of("transfer.tune", self.tune, (*TUNED_PARTS, "last-K"))
        if self.tune == "last-K":
            raise ConfigError("K is a number", where="transfer.tune", fix="Give for example last-2")
        in_range("transfer.layer_decay", self.layer_decay, 0.01, 1.0)
        in_range("transfer.lora_rank", self.lora_rank, 1, 4096)
        in_range("transfer.lora_alpha", self.lora_alpha, 0.0, 1e4)

    @property
    def last_blocks(self) -> int:
        """K of last-K; 0 for the other ways."""
        found = LAST_BLOCKS.fullmatch(self.tune)
        return int(found[1]) if found else 0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the result of a run."""

    model: Architecture = field(default_factory=ViTConfig)
    """the architecture"""
    data: DataConfig = field(default_factory=DataConfig)
    """the pictures"""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """what is done to training pictures"""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """how weights move"""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """how far they move at each step"""
    train: TrainConfig = field(default_factory=TrainConfig)
    """how long, in what portions, on what"""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    """what the run starts from, and what of it moves"""

    def __post_init__(self) -> None:
        if self.model.image_size != self.data.image_size:
            raise ConfigError(
                f"the model reads {self.model.image_size}, the data gives {self.data.image_size}",
                where="model.image_size",
            )
        if self.model.in_channels != self.data.channels:
            raise ConfigError(
                f"the model reads {self.model.in_channels} channels, the data gives {self.data.channels}",
                where="model.in_channels",
            )
        if self.augment.early_crop and not self.model.any_size:
            what = f"a model of kind {self.model.kind} reads whole pictures only"
            raise ConfigError(what, where="augment.early_crop", fix="Set it to 0")
        early, sides = self.augment.early_crop, zip(self.model.cell_size, self.model.image_size, strict=True)
        if early and any(early % cell or early > side for cell, side in sides):
            rows, columns = self.model.cell_size
            raise ConfigError(
                f"{early} pixels are not whole patches of {rows}x{columns} inside the picture",
                where="augment.early_crop",
                fix="Give a multiple of the patch, at most model.image_size",
            )
        if self.train.whiten_patches and not self.model.patch_matrix:
            raise ConfigError("the model has no patches of pixels", where="train.whiten_patches", fix="Set it to false")


SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in fields(RunConfig)}
"""section name -> its dataclass, in the order they are printed"""
