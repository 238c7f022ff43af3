"""Which patches a patch of each layer depends on: where a Jacobian is not zero."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..architecture import ViTConfig
from .draws import drawn_model, normal


def pixel_config(side: int, depth: int, **changes: object) -> ViTConfig:
    """Return a narrow ViT on a grid of `side` x `side`, one token a pixel."""
    plain = {"dim": 8, "num_heads": 2, "mlp_dim": 8, "class_token": False, "pool": "mean", "num_classes": 0}
    return ViTConfig(image_size=(side, side), patch_size=(1, 1), depth=depth, **(plain | changes))


def masked_model(side: int, depth: int, seen: Tensor, seed: int) -> nn.Module:
    """Return a ViT that attends densely, with -inf added to the scores outside of `seen`.

    Args:
        seen: (2 side - 1, 2 side - 1) bool, offsets (rows, columns) of query minus key that are looked at.
    """
    model = drawn_model(pixel_config(side, depth, position="relative"), seed)
    for block in model.blocks:
        table = block.attn.relative_position_bias_table.data
        table[:] = torch.where(seen.flatten()[:, None], table, -torch.inf)
    return model


def offsets(side: int) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns between query and key for every row of a relative table."""
    steps = torch.arange(1 - side, side)
    return steps[:, None].expand(-1, len(steps)), steps[None].expand(len(steps), -1)


def window(side: int, radius: int) -> Tensor:
    """Return the offsets of local attention: at most `radius` rows and columns."""
    down, right = offsets(side)
    return (down.abs() <= radius) & (right.abs() <= radius)


def supports(model: nn.Module, place: tuple[int, int], seed: int, layers: Sequence[int] | None = None) -> list[Tensor]:
    """Return the patches that the patch at `place` depends on after each layer: (rows, columns) bool.

    The exact support of the Jacobian for drawn weights and a drawn picture in float64: what is masked has a weight of
    exactly zero, and a sum of drawn numbers is zero nowhere else.

    Args:
        layers: numbers from 0; None: all.
    """
    rows, columns = model.grid
    record: dict[str, Tensor] = {}
    model(normal(seed, "reach picture", 1, model.config.in_channels, *model.config.image_size), record)
    number = model.num_prefix_tokens + place[0] * columns + place[1]
    signs = normal(seed, "reach signs", model.config.dim)
    found = []
    for layer in layers or range(model.config.depth):
        told = (record[f"block{layer:02d}/+mlp"][0, number] * signs).sum()
        (gradient,) = torch.autograd.grad(told, record["embed"], retain_graph=True)
        found.append((gradient[0, model.num_prefix_tokens :] != 0).any(dim=-1).view(rows, columns))
    return found


def conv_supports(side: int, depth: int, place: tuple[int, int], seed: int) -> list[Tensor]:
    """Return the same for 3x3 convolutions with a GELU after each."""
    layers = [nn.Conv2d(4, 4, 3, padding=1).double() for _ in range(depth)]
    for number, parameter in enumerate(itertools.chain.from_iterable(each.parameters() for each in layers)):
        parameter.data = normal(seed, f"reach conv {number}", *parameter.shape) / 6
    start = normal(seed, "reach maps", 1, 4, side, side).requires_grad_()
    maps, found = start, []
    for layer in layers:
        maps = nn.functional.gelu(layer(maps))
        (gradient,) = torch.autograd.grad(maps[0, :, place[0], place[1]].sum(), start, retain_graph=True)
        found.append((gradient[0] != 0).any(dim=0))
    return found
