"""Every setting of a run and its default, on one page; no torch is imported here.

Words are the paper's (arXiv 2010.11929): `dim` is D, `depth` L, `mlp_dim` the MLP size,
`patch_size` P. All dataclasses are frozen; checks fire when one is built. A value of 0 or
"none" means off; nothing means "default".
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from .errors import ConfigError, nearest

Size = tuple[int, int]
"""(rows, columns)"""

POOLS = ("cls", "mean", "map", "cls+mean", "none")
POSITIONS = ("learned", "learned_2d", "sincos_2d", "relative", "rope", "none")
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "swiglu")
QKV_BIASES = ("qkv", "qv", "none")
STEMS = ("patch", "conv", "resnet")
CROPS = ("none", "shift", "random_resized")
OPTIMIZERS = ("adamw", "sgd", "muon")
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16")
SWITCHES = ("auto", "on", "off")
DEVICES = ("auto", "cpu", "cuda", "mps")
RESIZES = ("squash", "crop")
INTERPOLATIONS = ("bicubic", "bilinear")


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{value!r} is not a choice", where=setting, fix=nearest(str(value), allowed))


def _in_range(setting: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{value} is outside {low} to {high}", where=setting)


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """One Vision Transformer (2010.11929, sec. 3.1, table 1)."""

    kind: str = "vit"
    image_size: Size = (224, 224)
    """pixels (rows, columns); need not be square"""
    patch_size: Size = (16, 16)
    """pixels (rows, columns) of one patch; of one cell of the feature map for the resnet stem"""
    in_channels: int = 3
    num_classes: int = 1000
    """0: no head, the model returns features"""
    dim: int = 768
    """token width D"""
    depth: int = 12
    """number of blocks L"""
    num_heads: int = 12
    mlp_dim: int = 3072
    """hidden width of the MLP; after gating for swiglu"""
    pool: str = "cls"
    """how tokens become one vector: cls, mean, map (attention pooling), cls+mean (concatenated), none"""
    class_token: bool = True
    """prepend a learned class token (needed by pool=cls and cls+mean)"""
    distillation_token: bool = False
    """second token with a head of its own (DeiT); the answer is the mean of both heads"""
    num_registers: int = 0
    """extra learned tokens that carry no position"""
    position: str = "learned"
    """learned (1-D), learned_2d, sincos_2d, relative, rope, none"""
    position_prefix: bool = True
    """position=learned is added after the class token is concatenated (eq. 1), so that it has one too"""
    rope_base: float = 100.0
    """of the rotary positions: periods run from 1 (the picture's half side) towards it"""
    stem: str = "patch"
    """patch: one matrix (eq. 1); conv: a few 3x3 convolutions; resnet: the paper's hybrid"""
    resnet_depths: tuple[int, ...] = (3, 4, 9)
    """units per stage of the resnet stem"""
    resnet_width: float = 1.0
    """width factor of the resnet stem"""
    patch_bias: bool = True
    """bias of the patch embedding"""
    pre_norm: bool = False
    """LayerNorm before the first block (CLIP)"""
    activation: str = "gelu"
    """gelu (exact), gelu_tanh, quick_gelu (CLIP), swiglu (gated, SiLU)"""
    mlp_bias: bool = True
    qkv_bias: str = "qkv"
    """which of q, k, v carry a bias: qkv, qv, none"""
    proj_bias: bool = True
    """bias of the attention's output projection"""
    qk_norm: bool = False
    """LayerNorm of q and k over each head"""
    layer_scale: float = 0.0
    """initial LayerScale value; 0: off"""
    norm_eps: float = 1e-6
    final_norm: bool = True
    """LayerNorm after the last block (eq. 4)"""
    fc_norm: bool = False
    """LayerNorm of the pooled vector"""
    pre_logits: int = 0
    """width of the tanh hidden layer in the head (sec. 3.1, representation size); 0: off"""
    dropout: float = 0.0
    """after every dense layer except qkv, and after adding positions (B.1)"""
    attention_dropout: float = 0.0
    """on the attention weights"""
    drop_path: float = 0.0
    """stochastic depth of the last block; earlier blocks grow linearly from 0"""
    patch_dropout: float = 0.0
    """share of patches left out in training"""

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            rows, columns = getattr(self, name)
            if rows < 1 or columns < 1:
                raise ConfigError(f"{rows}x{columns} is no size", where=f"model.{name}", fix="Give pixels, 1 or more")
        for name in ("in_channels", "dim", "num_heads", "mlp_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{getattr(self, name)} is too small", where=f"model.{name}", fix="Give 1 or more")
        for name in ("depth", "num_classes", "num_registers", "pre_logits"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{getattr(self, name)} is negative", where=f"model.{name}", fix="Give 0 or more")
        _one_of("model.pool", self.pool, POOLS)
        _one_of("model.position", self.position, POSITIONS)
        _one_of("model.activation", self.activation, ACTIVATIONS)
        _one_of("model.qkv_bias", self.qkv_bias, QKV_BIASES)
        _one_of("model.stem", self.stem, STEMS)
        for name in ("dropout", "attention_dropout", "drop_path", "patch_dropout"):
            _in_range(f"model.{name}", getattr(self, name), 0.0, 0.99)
        if self.dim % self.num_heads:
            raise ConfigError(
                f"{self.num_heads} heads do not divide a width of {self.dim}",
                where="model.num_heads",
                fix=f"Give one of {', '.join(str(n) for n in range(1, self.dim + 1) if self.dim % n == 0)}",
            )
        if self.pool in ("cls", "cls+mean") and not self.class_token:
            fix = "Set it to true, or pool=mean"
            raise ConfigError(f"pool={self.pool} needs the class token", where="model.class_token", fix=fix)
        if self.position == "rope" and self.head_dim % 4:
            what = f"rope needs heads of a width divisible by 4, not {self.head_dim}"
            raise ConfigError(what, where="model.position")
        if self.position == "sincos_2d" and self.dim % 4:
            raise ConfigError(f"sincos_2d needs a width divisible by 4, not {self.dim}", where="model.position")
        if self.distillation_token and not (self.pool == "cls" and self.class_token):
            raise ConfigError("the distillation token needs pool=cls", where="model.pool", fix="Set it to cls")
        if self.layer_scale < 0 or self.norm_eps < 0 or self.rope_base <= 1:
            name = "layer_scale" if self.layer_scale < 0 else "norm_eps" if self.norm_eps < 0 else "rope_base"
            raise ConfigError(f"{getattr(self, name)} is too small", where=f"model.{name}")
        self._check_stem()
        for size, patch, axis in zip(self.image_size, self.cell_size, ("rows", "columns"), strict=True):
            if size < patch:
                raise ConfigError(
                    f"a picture of {size} {axis} is smaller than a patch of {patch}",
                    where="model.patch_size",
                    fix=f"Give a patch of at most {size}, or a larger model.image_size",
                )
            if size % patch:
                divisors = [str(n) for n in range(2, size + 1) if size % n == 0]
                other = "" if self.stem == "resnet" else f"one of {', '.join(divisors)}, or "
                raise ConfigError(
                    f"a picture of {size} {axis} cannot be cut into patches of {patch}",
                    where="model.patch_size",
                    fix=f"Give {other}a model.image_size that {patch} divides",
                )

    def _check_stem(self) -> None:
        if self.stem == "conv" and (self.patch_size[0] % 2 or self.patch_size[1] % 2):
            raise ConfigError("the conv stem halves the picture: patches must be even", where="model.patch_size")
        if self.stem == "resnet" and (not self.resnet_depths or min(self.resnet_depths) < 1):
            what = f"{self.resnet_depths} are not units per stage"
            raise ConfigError(what, where="model.resnet_depths", fix="Give 1 or more for each")
        if self.stem == "resnet" and (self.resnet_width <= 0 or int(64 * self.resnet_width) % 32):
            fix = "Give a multiple of 0.5: channels are normalised in 32 groups"
            raise ConfigError(f"{self.resnet_width} is not a width", where="model.resnet_width", fix=fix)

    @property
    def head_dim(self) -> int:
        """Width of one head, D_h = D / k (app. A)."""
        return self.dim // self.num_heads

    @property
    def cell_size(self) -> Size:
        """Pixels of the picture under one token: the patch, times the stride of a resnet stem."""
        stride = 2 ** (len(self.resnet_depths) + 1) if self.stem == "resnet" else 1
        return self.patch_size[0] * stride, self.patch_size[1] * stride

    @property
    def grid(self) -> Size:
        """Patches (rows, columns)."""
        return self.image_size[0] // self.cell_size[0], self.image_size[1] // self.cell_size[1]

    @property
    def num_placed_prefix_tokens(self) -> int:
        """Tokens before the patches that have a learned position: class and distillation token, or none."""
        placed = self.position == "learned" and self.position_prefix
        return (self.class_token + self.distillation_token) if placed else 0

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class, distillation, registers."""
        return self.class_token + self.distillation_token + self.num_registers


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
    val_fraction: float = 0.1
    """share of the training pictures set aside when there is no validation split"""
    test_fraction: float = 0.1
    """share of the pictures set aside when there is no test split"""
    split_seed: int = 0
    workers: int = 2
    """decoding threads; the result does not depend on it"""
    memory_limit_mb: int = 2048
    """pictures that fit in this much memory as uint8 are kept there"""
    strict: bool = False
    """stop (exit 65) when any listed picture cannot be used, instead of leaving it out"""
    max_rejected: float = 0.5
    """stop when more than this share of the pictures cannot be used"""

    def __post_init__(self) -> None:
        _one_of("data.resize", self.resize, RESIZES)
        _one_of("data.interpolation", self.interpolation, INTERPOLATIONS)
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
            _in_range(f"data.{name}", getattr(self, name), 0.0, 0.9)
        _in_range("data.crop_fraction", self.crop_fraction, 0.05, 1.0)
        _in_range("data.max_rejected", self.max_rejected, 0.0, 1.0)
        _in_range("data.workers", self.workers, 0, 256)
        _in_range("data.split_seed", self.split_seed, 0, 2**32 - 1)


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
    flip: bool = False
    """mirror left-right, half of the time"""
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
        _one_of("augment.crop", self.crop, CROPS)
        _in_range("augment.shift", self.shift, 0, 1024)
        _in_range("augment.randaugment_layers", self.randaugment_layers, 0, 16)
        _in_range("augment.randaugment_magnitude", self.randaugment_magnitude, 0, 30)
        for name in ("color_jitter", "erasing"):
            _in_range(f"augment.{name}", getattr(self, name), 0.0, 1.0)
        for name in ("mixup", "cutmix"):
            _in_range(f"augment.{name}", getattr(self, name), 0.0, 100.0)
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
    """adamw, sgd (with momentum), muon (matrices of the blocks; adamw for the rest)"""
    lr: float = 1e-3
    """peak learning rate of adamw and sgd"""
    muon_lr: float = 0.02
    """peak learning rate of the matrices under muon"""
    weight_decay: float = 0.05
    """on matrices only, times the learning rate"""
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.9
    """of sgd"""
    muon_momentum: float = 0.95
    clip_norm: float = 1.0
    """largest norm of the whole gradient; 0: off"""

    def __post_init__(self) -> None:
        _one_of("optimizer.name", self.name, OPTIMIZERS)
        for name in ("lr", "muon_lr", "weight_decay", "clip_norm", "eps"):
            _in_range(f"optimizer.{name}", getattr(self, name), 0.0, 1e4)
        for name in ("beta1", "beta2", "momentum", "muon_momentum"):
            _in_range(f"optimizer.{name}", getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves: up from 0 in warm-up, then down to `final` of the peak."""

    name: str = "cosine"
    warmup_epochs: float = 5.0
    warmup_steps: int = 0
    """takes the place of warmup_epochs when above 0"""
    final: float = 0.0
    """share of the peak at the last step"""

    def __post_init__(self) -> None:
        _one_of("schedule.name", self.name, SCHEDULES)
        _in_range("schedule.warmup_epochs", self.warmup_epochs, 0, 1e6)
        _in_range("schedule.warmup_steps", self.warmup_steps, 0, 1e9)
        _in_range("schedule.final", self.final, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in what portions, on what, and how often it is measured and saved."""

    epochs: float = 100.0
    steps: int = 0
    """takes the place of epochs when above 0"""
    batch_size: int = 128
    """pictures in one optimizer step"""
    shards: int = 1
    """virtual shards: fixed parts of the batch whose gradients are added in a fixed order"""
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    """decay of the averaged weights per step; 0: off"""
    seed: int = 0
    precision: str = "auto"
    """fp32, bf16; auto: bf16 where the processor computes in it"""
    compile: str = "auto"
    """torch.compile: on, off; auto: measured at the start, used when it pays"""
    device: str = "auto"
    threads: int = 0
    """of the processor; 0: one for small models, whose operations are too short to share, else every core"""
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

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("compile", SWITCHES), ("device", DEVICES)):
            _one_of(f"train.{name}", getattr(self, name), allowed)
        _in_range("train.epochs", self.epochs, 0, 1e6)
        _in_range("train.steps", self.steps, 0, 1e9)
        _in_range("train.batch_size", self.batch_size, 1, 1e6)
        _in_range("train.label_smoothing", self.label_smoothing, 0.0, 0.99)
        _in_range("train.ema_decay", self.ema_decay, 0.0, 0.999999)
        _in_range("train.seed", self.seed, 0, 2**32 - 1)
        _in_range("train.threads", self.threads, 0, 1024)
        _in_range("train.eval_epochs", self.eval_epochs, 0, 1e6)
        _in_range("train.log_steps", self.log_steps, 1, 1e9)
        _in_range("train.save_seconds", self.save_seconds, 0, 1e9)
        if self.shards < 1 or self.batch_size % self.shards:
            raise ConfigError(
                f"{self.shards} shards do not divide a batch of {self.batch_size}",
                where="train.shards",
                fix="Give a divisor of train.batch_size",
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the result of a run."""

    model: ViTConfig = field(default_factory=ViTConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

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


SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in fields(RunConfig)}
"""section name -> its dataclass, in the order they are printed"""
