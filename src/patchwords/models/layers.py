"""The small parts: dense layers with the paper's initial values, the patch matrix, MLP, LayerScale, drop path.

Initial values, as in the paper's code (google-research/vision_transformer, models_vit.py); names are timm's:

| parameter                                | value                                                        |
|------------------------------------------|--------------------------------------------------------------|
| `patch_embed.proj.weight`, convolutions  | LeCun normal: std 1 / sqrt(inputs), cut at two std           |
| `cls_token`, `dist_token`                | zeros                                                        |
| `reg_token`                              | normal, std 1e-6 (DINOv2), so that registers differ          |
| `pos_embed` and its 2-D tables           | normal, std 0.02                                             |
| `attn.relative_position_bias_table`      | zeros; with `relative_slope` a neighbour for each head       |
| `attn.qkv`, `attn.proj`, `mlp.fc1`, `fc2`| Xavier uniform, each of the matrices stacked in one by itself|
|                                          | `attn.proj` and `fc2` times `residual_gain`                  |
| bias of `mlp.fc1`, `mlp.fc2`             | normal, std 1e-6                                             |
| other biases                             | zeros                                                        |
| LayerNorm, GroupNorm                     | ones and zeros; zeros at the end of a residual unit          |
| LayerScale                               | `config.layer_scale`                                         |
| `attn_pool.latent`                       | normal, std 1 / sqrt(D), cut at two std                      |
| `pre_logits.fc`                          | LeCun normal                                                 |
| `head`, `head_dist`                      | zeros: a fresh head loses ln K                               |

All draws come from torch's global generator in the order of construction: seed it, and two builds are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Size, ViTConfig
from . import kernels


def lecun_normal_(weight: Tensor) -> Tensor:
    """Fill `weight` (outputs, inputs...) with a normal of variance 1 / inputs, cut at two std; return it."""
    std = math.sqrt(1.0 / weight[0].numel()) / 0.87962566103423978  # so that the std is right after the cut
    return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Dense(nn.Linear):
    """x W^T + b with Xavier-uniform W and zero b.

    Args:
        stacked: matrices that lie one above the other in W, each filled as one by itself (3 for q, k, v).
        bias_std: standard deviation of b.
        gain: scale of W.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        *,
        stacked: int = 1,
        bias_std: float = 0.0,
        gain: float = 1.0,
    ) -> None:
        self.stacked, self.bias_std, self.gain = stacked, bias_std, gain
        super().__init__(inputs, outputs, bias)

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        for matrix in self.weight.chunk(self.stacked):
            nn.init.xavier_uniform_(matrix, self.gain)
        if self.bias is not None:
            nn.init.normal_(self.bias, std=self.bias_std) if self.bias_std else nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) of (..., inputs)."""
        return kernels.linear(x, self.weight, self.bias)


class Head(nn.Linear):
    """The classifier, all zeros when new (sec. 3.2)."""

    def reset_parameters(self) -> None:
        """Set all to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class PreLogits(nn.Module):
    """tanh(x W + b), the hidden layer of the head in pre-training (sec. 3.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = Dense(inputs, outputs)
        lecun_normal_(self.fc.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, outputs) of (B, inputs)."""
        return torch.tanh(self.fc(features))


class PatchMatrix(nn.Module):
    """The matrix E of eq. 1: every patch unrolled and multiplied by one matrix, N = (H / P)(W / P) of them.

    The weight is stored as (D, C, P, P), the shape of the equal convolution, so that files of other libraries
    load as they are. A patch is unrolled in that order: channel, row, column; patches follow in raster order.
    """

    def __init__(self, channels: int, patch_size: Size, dim: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(lecun_normal_(torch.empty(dim, channels, *patch_size)))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, images: Tensor) -> Tensor:
        """Return x_p E (B, N, D) of images (B, C, H, W)."""
        batch, channels, height, width = images.shape
        _, _, rows, columns = self.weight.shape
        grid = images.reshape(batch, channels, height // rows, rows, width // columns, columns)
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * rows * columns)
        return F.linear(patches, self.weight.flatten(1), self.bias)


class PatchEmbed(nn.Module):
    """From pictures to patch tokens: the matrix E, on pixels or on the feature map of a backbone (sec. 3.1, hybrid)."""

    def __init__(self, channels: int, patch_size: Size, dim: int, bias: bool, backbone: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.proj = PatchMatrix(channels, patch_size, dim, bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, N, D) of images (B, C, H, W)."""
        return self.proj(images if self.backbone is None else self.backbone(images))


def quick_gelu(hidden: Tensor) -> Tensor:
    """Return x sigmoid(1.702 x), the GELU of OpenAI's CLIP."""
    return hidden * torch.sigmoid(1.702 * hidden)


def swiglu(hidden: Tensor) -> Tensor:
    """Return SiLU(gate) * value of (..., 2 M), the gate first (2002.05202; the order of DINOv2)."""
    gate, value = hidden.chunk(2, dim=-1)
    return F.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "swiglu": swiglu,
}


class Mlp(nn.Module):
    """Two dense layers with a GELU between them (sec. 3.1); dropout after each (app. B.1).

    With swiglu, `fc1` holds gate and value one above the other and `mlp_dim` is the width after gating.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        halves = 2 if config.activation == "swiglu" else 1
        self.activation = ACTIVATIONS[config.activation]
        self.fc1 = Dense(config.dim, halves * config.mlp_dim, config.mlp_bias, stacked=halves, bias_std=1e-6)
        self.fc2 = Dense(config.mlp_dim, config.dim, config.mlp_bias, bias_std=1e-6, gain=config.residual_gain)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, T, D) of tokens (B, T, D)."""
        hidden = self.drop(self.activation(self.fc1(tokens)))
        return self.drop(self.fc2(hidden))


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (CaiT, 2103.17239, eq. 4)."""

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return gamma * tokens."""
        return tokens * self.gamma


class DropPath(nn.Module):
    """Leave a residual branch out for some pictures of a batch in training (stochastic depth, 1603.09382).

    What is kept is divided by the share kept, so that the expected value is that of evaluation.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, T, D), or maps (B, D, H, W), with whole pictures set to zero."""
        if not self.training or self.rate == 0.0:
            return tokens
        keep = 1.0 - self.rate
        return tokens * (tokens.new_empty(len(tokens), *[1] * (tokens.ndim - 1)).bernoulli_(keep) / keep)


def layer_norm(config: ViTConfig, width: int) -> nn.LayerNorm:
    """Return a LayerNorm of `width` with the epsilon of `config`."""
    return nn.LayerNorm(width, eps=config.norm_eps)
