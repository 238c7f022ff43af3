"""Low-rank adaptation: a dense layer whose matrix rests while a product of two thin ones learns beside it (LoRA)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from . import kernels
from .layers import Dense

ATTENTION = ("attn.qkv", "attn.proj")
MLP = ("mlp.fc1", "mlp.fc2")


class LowRankDense(nn.Module):
    """x (W + s B A)^T + b with W and b at rest (Hu et al., 2106.09685, sec. 4.1, eq. 3).

    A is drawn (Kaiming uniform, as in the authors' code) and B is zero, so the first answer is that of W alone.

    Args:
        dense: the layer whose W and b are taken over, without a copy.
        rank: r, rows of A (r, inputs) and columns of B (outputs, r).
        alpha: s is alpha / r.
    """

    def __init__(self, dense: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.frozen, self.bias, self.scale = dense.weight.requires_grad_(False), dense.bias, alpha / rank
        if self.bias is not None:
            self.bias.requires_grad_(False)
        outputs, inputs = self.frozen.shape
        self.lora_a = nn.Parameter(self.frozen.new_empty(rank, inputs))
        self.lora_b = nn.Parameter(self.frozen.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """W + s B A, (outputs, inputs), for who multiplies by the matrix without asking the layer."""
        return self.frozen + self.scale * (self.lora_b @ self.lora_a)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) of (..., inputs)."""
        return kernels.linear(x, self.frozen, self.bias) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def add_low_rank(model: nn.Module, rank: int, alpha: float, mlp: bool = False) -> list[str]:
    """Put a LowRankDense in place of dense layers of every block, and return their names.

    Draws from torch's global generator, in the order of the blocks.

    Args:
        model: with timm's names: `blocks.N.attn.qkv` and so on.
        rank: r; cut to the smaller side of a matrix.
        mlp: the MLP's two matrices too.

    Raises:
        ConfigError: the model has no blocks with such layers.
    """
    wanted = ATTENTION + MLP if mlp else ATTENTION
    found = [name for name, part in model.named_modules() if isinstance(part, Dense) and _is_in_block(name, wanted)]
    if not found:
        fix = "Give --tune head, last-K or all"
        raise ConfigError("the model has no blocks that LoRA could be added to", where="transfer.tune", fix=fix)
    for name in found:
        parent, _, last = name.rpartition(".")
        dense = model.get_submodule(name)
        setattr(model.get_submodule(parent), last, LowRankDense(dense, min(rank, *dense.weight.shape), alpha))
    return found


def _is_in_block(name: str, wanted: tuple[str, ...]) -> bool:
    return name.startswith("blocks.") and name.split(".", 2)[2:] and name.split(".", 2)[2] in wanted


@torch.no_grad()
def merged(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors`, named as in `model`, as those of the plain model: W + s B A under the name of W.

    The sum is made in float64 and rounded once. Without low-rank layers the tensors come back as they are.
    """
    plain = dict(tensors)
    for name, part in model.named_modules():
        if isinstance(part, LowRankDense):
            frozen, a, b = (plain.pop(f"{name}.{each}") for each in ("frozen", "lora_a", "lora_b"))
            added = part.scale * (b.double() @ a.double())
            plain[f"{name}.weight"] = (frozen.double() + added).to(frozen.dtype)
    return plain
