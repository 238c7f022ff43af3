"""Attention weights of every layer and head, a layer at a time, so that large models fit into little memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Size
from ..errors import ConfigError
from ..models.contract import Record
from .results import Progress

WEIGHTS_BYTES = 8 << 20
"""pictures are taken together as long as the weights of one layer stay below this; more is not faster"""
PRECISIONS = ("float32", "bfloat16")

Pictures = Tensor | Iterable[Tensor]
"""normalised pictures: (B, C, H, W), or batches of them, all of one size"""


@dataclass(frozen=True)
class LayerAttention:
    """What one layer attends to on some pictures."""

    layer: int
    """1..L as in eq. 2; L + 1 for attention pooling"""
    first: int
    """number of the first of these pictures, from 0"""
    weights: Tensor
    """(B, heads, T, T) attention after the softmax: query, key; of attention pooling (B, heads, 1, patches)"""
    num_prefix_tokens: int
    """keys that are no patch: class, distillation, registers; 0 for attention pooling"""
    grid: Size
    """patches (rows, columns)"""
    cell_px: Size
    """pixels (rows, columns) under one patch"""

    @property
    def patches(self) -> Tensor:
        """From patch to patch: (B, heads, N, N); rows sum to 1 less what goes to prefix tokens."""
        return self.weights[..., self.num_prefix_tokens :, self.num_prefix_tokens :]


def attention_trace(
    model: nn.Module,
    images: Pictures,
    *,
    pool: bool = False,
    precision: str = "float32",
    batch_size: int = 0,
    progress: Progress | None = None,
) -> Iterator[LayerAttention]:
    """Yield the attention of each layer, from the first to the last, for some pictures, then for the next ones.

    Only one layer of a few pictures is held at a time: S/16 with 128 pictures needs about 130 MB besides the
    model and the pictures. The weights are those that `record` of a whole forward pass gives.

    Args:
        pool: yield the weights of attention pooling after the last layer, where the model has it.
        precision: bfloat16 computes under autocast: faster on CPUs that have it, weights good to about 1 %.
        batch_size: pictures at a time; 0: as many as `WEIGHTS_BYTES` allow.

    Raises:
        ConfigError: the model has no attention, there is no picture, or sizes differ or cannot be read.
    """
    depth = len(check_attends(model).blocks)
    if precision not in PRECISIONS:
        raise ConfigError(f"{precision!r} is no precision", where="precision", fix=f"Allowed: {', '.join(PRECISIONS)}")
    batches = [images] if isinstance(images, Tensor) else images
    total = len(images) * depth if isinstance(images, Tensor) else 0
    first, size = 0, None
    with evaluating(model):
        for batch in batches:
            size = size or batch.shape[1:]
            if batch.ndim != 4 or batch.shape[1:] != size:
                what = f"pictures of shape {tuple(batch.shape)}"
                raise ConfigError(what, fix="Give (batch, channels, rows, columns), all of one size")
            for part in batch.split(batch_size or _pictures_at_once(model, batch)) if len(batch) else ():
                for seen in _through(model, part, first, pool, precision):
                    yield seen
                    if progress and total and seen.layer <= depth:
                        progress(first * depth + seen.layer * len(part), total)
                first += len(part)
    if not first:
        raise ConfigError("there is no picture to look at", fix="Give at least one")


def _through(model: Any, images: Tensor, first: int, pool: bool, precision: str) -> Iterator[LayerAttention]:
    """Yield every layer of `images`; gradients are off while the model runs, and not while the caller does."""
    like = next(model.parameters())
    cell, prefix = model.config.cell_size, model.num_prefix_tokens
    grid = (images.shape[-2] // cell[0], images.shape[-1] // cell[1])
    with _computing(like, precision):
        z, places = model.embed(images.to(like))
    for number, block in enumerate(model.blocks):
        record: Record = {}
        with _computing(like, precision):
            z = block(z, places, record, f"block{number:02d}")
        weights = _whole(record.pop(f"block{number:02d}/attn/weights"))
        record.clear()
        yield LayerAttention(number + 1, first, weights, prefix, grid, cell)
    if pool and model.config.pool == "map":
        record = {}
        with _computing(like, precision):
            model.forward_head(model.norm(z), record)
        yield LayerAttention(len(model.blocks) + 1, first, _whole(record["pool/weights"]), 0, grid, cell)


def check_attends(model: nn.Module) -> Any:
    """Return `model` when it is made of blocks with attention between the patches of its grid.

    Raises:
        ConfigError: it is not.
    """
    parts = all(hasattr(model, name) for name in ("embed", "blocks", "num_prefix_tokens"))
    if not parts or not all(hasattr(block, "attn") for block in model.blocks):
        what = f"{type(model).__name__} has no attention to look at"
        raise ConfigError(what, fix="Receptive fields and similarity work for every model")
    if not len(model.blocks):
        raise ConfigError("a model without blocks has no attention to look at", where="model.depth")
    if getattr(model.config, "merge", 0):
        what = f"merge={model.config.merge}: tokens of several patches attend, which lie on no grid"
        raise ConfigError(what, where="model.merge", fix="Look without merging: --merge 0")
    return model


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, `model` is in evaluation mode; afterwards each of its modules is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _computing(like: Tensor, precision: str) -> Iterator[None]:
    half = torch.autocast(like.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.no_grad(), half:
        yield


def _pictures_at_once(model: Any, images: Tensor) -> int:
    cell = model.config.cell_size
    tokens = model.num_prefix_tokens + (images.shape[-2] // cell[0]) * (images.shape[-1] // cell[1])
    return max(1, WEIGHTS_BYTES // (4 * model.config.num_heads * max(tokens, 1) ** 2))


def _whole(weights: Tensor) -> Tensor:
    """Return weights in a type that is exact enough to add up."""
    return weights if weights.dtype == torch.float64 else weights.float()
