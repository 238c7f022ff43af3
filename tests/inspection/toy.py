"""A task with a known answer to "where?": one patch of each noisy picture carries the class, and we know which."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from patchwords.config import ViTConfig
from patchwords.models import build

GRID, PATCH, CLASSES = 6, 4, 10
SIDE = GRID * PATCH


@dataclass(frozen=True)
class Pictures:
    images: Tensor
    """(B, 1, SIDE, SIDE)"""
    labels: Tensor
    """(B,)"""
    where: Tensor
    """(B,) number of the patch that carries the class, in raster order"""


def patterns() -> Tensor:
    """(CLASSES, PATCH, PATCH) fixed pictures of one patch."""
    return torch.randn(CLASSES, PATCH, PATCH, generator=torch.Generator().manual_seed(5)).sign() * 2


def draw(count: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, SIDE, SIDE, generator=generator) * 0.5
    labels = torch.randint(CLASSES, (count,), generator=generator)
    where = torch.randint(GRID * GRID, (count,), generator=generator)
    patches = images.view(count, GRID, PATCH, GRID, PATCH)
    each = torch.arange(count)
    patches[each, where // GRID, :, where % GRID] += patterns()[labels]
    return Pictures(images, labels, where)


def train(pool: str, steps: int = 150, batch_size: int = 64) -> nn.Module:
    """Train a ViT of two layers for some seconds; after that it is right nearly always."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=(SIDE, SIDE), patch_size=(PATCH, PATCH), in_channels=1, num_classes=CLASSES, dim=32, depth=2,
        num_heads=2, mlp_dim=64, pool=pool, class_token=pool == "cls",
    )  # fmt: skip
    model = build(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 20) * (1 - step / steps)
        batch = draw(batch_size, 1000 + step)
        loss = nn.functional.cross_entropy(model(batch.images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
