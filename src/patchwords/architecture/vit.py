"""Every setting of a Vision Transformer and its default.

Words are the paper's (arXiv 2010.11929): `dim` is D, `depth` L, `mlp_dim` the MLP size, `patch_size` P.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from .checks import Size, at_least, in_range, one_of, whole_patches

POOLS = ("cls", "mean", "map", "cls+mean", "none")
POSITIONS = ("learned", "learned_2d", "sincos_2d", "relative", "rope", "none")
ATTENTIONS = ("global", "local", "axial")
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "swiglu")
QKV_BIASES = ("qkv", "qv", "none")
MERGE_SCHEDULES = ("constant", "decreasing")
STEMS = ("patch", "conv", "conv_pool", "resnet")
RESNET_RULES = ("google", "timm")
POSITION_RESIZES = ("timm", "google", "transformers", "torchvision", "dinov2")


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """One Vision Transformer (2010.11929, sec. 3.1, table 1)."""

    kind: str = "vit"
    """which class of model this describes"""
    image_size: Size = (224, 224)
    """pixels (rows, columns); need not be square"""
    patch_size: Size = (16, 16)
    """pixels (rows, columns) of one patch; of one cell of the feature map for the resnet stem"""
    in_channels: int = 3
    """channels C of a picture"""
    num_classes: int = 1000
    """0: no head, the model returns features"""
    dim: int = 768
    """token width D"""
    depth: int = 12
    """number of blocks L"""
    num_heads: int = 12
    """attention heads k; must divide dim"""
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
    position_resize: str = "timm"
    """whose rule stretches a learned table to another grid: timm, google, transformers, torchvision, dinov2"""
    attention: str = "global"
    """which patches each patch attends to: global (all), local (a window around it), axial (its row in blocks 0, 2, 4,
    its column in the others); tokens before the patches attend to all and are attended to by all, so that a receptive
    field is exactly a cone only without them: class_token=false, pool=mean"""
    attention_window: int = 1
    """r of attention=local: patches at most r rows and r columns away"""
    relative_slope: float = 0.0
    """position=relative starts with heads that look at one neighbour each: the bias falls by this for a squared
    distance of one patch from it; 0: the bias starts at zero"""
    rope_base: float = 100.0
    """of the rotary positions: periods run from 1 (the picture's half side) towards it"""
    stem: str = "patch"
    """patch: one matrix (eq. 1); conv: a few 3x3 convolutions; conv_pool: the same with pooling in the place of strides
    and residual units; resnet: the paper's hybrid"""
    stem_widths: tuple[int, ...] = ()
    """channels after each convolution of a conv stem; (): each twice as many as before, the last `dim`"""
    stem_units: int = 1
    """residual 3x3 convolutions after each pooling of stem=conv_pool"""
    stem_first_units: int = 0
    """the same before the first pooling, at the picture's own size"""
    resnet_depths: tuple[int, ...] = (3, 4, 9)
    """units per stage of the resnet stem"""
    resnet_width: float = 1.0
    """width factor of the resnet stem"""
    resnet_rule: str = "google"
    """whose small numbers keep the resnet stem from dividing by zero: google (the paper's code), timm"""
    patch_bias: bool = True
    """bias of the patch embedding"""
    pre_norm: bool = False
    """LayerNorm before the first block (CLIP)"""
    activation: str = "gelu"
    """gelu (exact), gelu_tanh, quick_gelu (CLIP), swiglu (gated, SiLU)"""
    mlp_bias: bool = True
    """biases of the MLP"""
    qkv_bias: str = "qkv"
    """which of q, k, v carry a bias: qkv, qv, none"""
    residual_gain: float = 1.0
    """scale of the initial values of the two matrices that write into the residual stream, attn.proj and mlp.fc2"""
    proj_bias: bool = True
    """bias of the attention's output projection"""
    qk_norm: bool = False
    """LayerNorm of q and k over each head"""
    layer_scale: float = 0.0
    """initial LayerScale value; 0: off"""
    norm_eps: float = 1e-6
    """added to the variance in every LayerNorm"""
    final_norm: bool = True
    """LayerNorm after the last block (eq. 4)"""
    fc_norm: bool = False
    """LayerNorm of the pooled vector"""
    pre_logits: int = 0
    """width of the tanh hidden layer in the head (sec. 3.1, representation size); 0: off"""
    head_bias: bool = True
    """bias of the classifier"""
    dropout: float = 0.0
    """after every dense layer except qkv, and after adding positions (B.1)"""
    attention_dropout: float = 0.0
    """on the attention weights"""
    drop_path: float = 0.0
    """stochastic depth of the last block; earlier blocks grow linearly from 0"""
    patch_dropout: float = 0.0
    """share of patches left out in training"""
    merge: int = 0
    """patches merged into alike ones in each block (ToMe), at most half of those that are left; 0: off"""
    merge_schedule: str = "constant"
    """constant: `merge` in each block; decreasing: twice that in the first, falling linearly to none in the last"""

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "patch_size", "in_channels", "dim", "num_heads", "mlp_dim", "attention_window")
        at_least(
            self, 0, "depth", "num_classes", "num_registers", "pre_logits", "merge", "stem_units", "stem_first_units"
        )
        one_of("model.pool", self.pool, POOLS)
        one_of("model.position", self.position, POSITIONS)
        one_of("model.attention", self.attention, ATTENTIONS)
        one_of("model.position_resize", self.position_resize, POSITION_RESIZES)
        one_of("model.activation", self.activation, ACTIVATIONS)
        one_of("model.qkv_bias", self.qkv_bias, QKV_BIASES)
        one_of("model.stem", self.stem, STEMS)
        one_of("model.resnet_rule", self.resnet_rule, RESNET_RULES)
        one_of("model.merge_schedule", self.merge_schedule, MERGE_SCHEDULES)
        for name in ("dropout", "attention_dropout", "drop_path", "patch_dropout"):
            in_range(f"model.{name}", getattr(self, name), 0.0, 0.99)
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
        in_range("model.relative_slope", self.relative_slope, 0.0, 100.0)
        in_range("model.residual_gain", self.residual_gain, 0.0, 10.0)
        if self.position == "sincos_2d" and self.dim % 4:
            raise ConfigError(f"sincos_2d needs a width divisible by 4, not {self.dim}", where="model.position")
        if self.distillation_token and not (self.pool == "cls" and self.class_token):
            raise ConfigError("the distillation token needs pool=cls", where="model.pool", fix="Set it to cls")
        if self.layer_scale < 0 or self.norm_eps < 0 or self.rope_base <= 1:
            name = "layer_scale" if self.layer_scale < 0 else "norm_eps" if self.norm_eps < 0 else "rope_base"
            raise ConfigError(f"{getattr(self, name)} is too small", where=f"model.{name}")
        self._check_stem()
        if self.merge and self.attention != "global":
            what = f"tokens of several places are in no window of attention={self.attention}"
            raise ConfigError(what, where="model.merge", fix="Set it to 0: only global attention merges")
        whole_patches(self.image_size, self.cell_size, only_multiples=self.stem == "resnet")

    def _check_stem(self) -> None:
        convolutions = self.stem in ("conv", "conv_pool")
        if convolutions and not self.stem_halvings:
            raise ConfigError("the conv stem halves the picture: patches must be even", where="model.patch_size")
        widths = self.stem_widths
        if convolutions and widths and (len(widths) != self.stem_halvings or min(widths) < 1):
            what = f"patches of {self.patch_size[0]}x{self.patch_size[1]} are halved {self.stem_halvings} times"
            raise ConfigError(what, where="model.stem_widths", fix="Give as many widths, each 1 or more, or none")
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
    def stem_halvings(self) -> int:
        """How often both sides of the patch can be halved: convolutions of a conv stem."""
        return min((side & -side).bit_length() - 1 for side in self.patch_size)

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Channels of the picture and after each convolution of a conv stem."""
        halvings = self.stem_halvings
        doubled = (max(self.dim >> (halvings - 1 - layer), 1) for layer in range(halvings))
        return (self.in_channels, *(self.stem_widths or doubled))

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

    def merges(self, patches: int) -> tuple[int, ...]:
        """Return how many of `patches` are merged into others in each block (2210.09461, sec. 3, app. B.1).

        At most half of what is left: only tokens of one of two sets are merged.
        """
        falls, counts = self.merge_schedule == "decreasing", []
        for layer in range(self.depth):
            wanted = 2 * self.merge - 2 * self.merge * layer / max(self.depth - 1, 1) if falls else self.merge
            counts.append(min(int(wanted), patches // 2))
            patches -= counts[-1]
        return tuple(counts)

    @property
    def draws(self) -> bool:
        """Whether a training pass uses random numbers."""
        return any((self.dropout, self.attention_dropout, self.drop_path, self.patch_dropout))

    @property
    def any_size(self) -> bool:
        """Whether pictures of other sizes are read: of every multiple of the patch."""
        return True

    @property
    def patch_matrix(self) -> bool:
        """Whether pixels first meet one matrix: on patches, or in a conv stem on 3x3 ones that overlap."""
        return self.stem != "resnet"

    @property
    def largest_product(self) -> int:
        """Multiplications of about the largest matrix product of one picture."""
        return self.grid[0] * self.grid[1] * self.dim * self.mlp_dim

    @property
    def summary(self) -> str:
        """Sizes in words."""
        patch, seen = "x".join(map(str, self.patch_size)), ""
        if self.attention != "global":
            seen = f", {self.attention} attention"
            seen += f" of radius {self.attention_window}" if self.attention == "local" else ""
        return f"patches of {patch}, width {self.dim}, depth {self.depth}, {self.num_heads} heads{seen}"
