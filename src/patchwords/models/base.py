"""What the models beside the ViT share: one path from pictures over tokens to logits, and a head of zeros."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .contract import Record, grid_of, note
from .layers import Head


class Base(nn.Module):
    """A classifier of `contract.Classifier` whose tokens go through `blocks`, one after the other.

    A subclass makes what is before the blocks, `blocks`, what is behind them and the head, in that order. What it
    does not define is done with patches: `embed` by `patch_embed`, `encode` (after the last block) by `norm`, and
    `pool` by the mean.

    Args:
        config: of any kind.
        num_features: width of `features`.
    """

    num_prefix_tokens = 0

    def __init__(self, config: Any, num_features: int) -> None:
        super().__init__()
        self.config, self.grid, self.num_features = config, config.grid, num_features
        self.checkpointing = False

    def add_head(self) -> None:
        """Make the head: last, so that the draws before it do not depend on the number of classes."""
        classes = self.config.num_classes
        self.head = Head(self.num_features, classes) if classes else nn.Identity()

    def embed(self, images: Tensor) -> Tensor:
        """Return what goes into the first block, (B, T, D) or maps (B, D, H, W), of images (B, C, H, W)."""
        return self.patch_embed(images)

    def encode(self, z: Tensor) -> Tensor:
        """Return encoded tokens (B, T, D) of what the last block gives."""
        return self.norm(z)

    def pool(self, tokens: Tensor) -> Tensor:
        """Return features (B, num_features) of encoded tokens: their mean."""
        return tokens.mean(dim=1)

    def forward(self, images: Tensor, record: Record | None = None) -> Tensor:
        """Return logits (B, K) of images (B, C, H, W); features when there is no head."""
        return self.forward_head(self.forward_features(images, record), record)

    def forward_features(self, images: Tensor, record: Record | None = None) -> Tensor:
        """Return encoded tokens (B, rows * columns, D)."""
        grid_of(images, self.config)
        z = noted(record, "embed", self.embed(images))
        for i, block in enumerate(self.blocks):
            if self.checkpointing and self.training and record is None:
                z = checkpoint(block, z, use_reentrant=False)
            else:
                z = block(z, record, f"block{i:02d}")
            z = noted(record, f"block{i:02d}/+mlp", z)
        return note(record, "encoded", as_tokens(self.encode(z)))

    def forward_head(self, tokens: Tensor, record: Record | None = None) -> Tensor:
        """Return logits (B, K) of encoded tokens (B, T, D)."""
        return note(record, "logits", self.head(note(record, "features", self.pool(tokens))))

    def reset_classifier(self, num_classes: int) -> None:
        """Put a head of zeros for `num_classes` in place of the old one; 0: none, features are returned."""
        like = next(self.parameters())
        self.config = dataclasses.replace(self.config, num_classes=num_classes)
        self.head = Head(self.num_features, num_classes).to(like) if num_classes else nn.Identity()

    def set_checkpointing(self, enabled: bool = True) -> None:
        """Compute the activations of each block again in the backward pass instead of storing them."""
        self.checkpointing = enabled

    def set_windows(self, enabled: bool = True) -> None:
        """Do nothing: there are no positions that parts of a picture could be resized by mistake to."""

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters that are tables or tokens, not matrices."""
        return set()

    def layer_of(self, name: str) -> int:
        """Return the depth of the parameter `name`: 0 embedding, 1..L blocks, L+1 what follows."""
        first, *rest = name.split(".")
        if first == "blocks":
            return int(rest[0]) + 1
        return 0 if first in ("patch_embed", "stem", "embed_in") else len(self.blocks) + 1


def as_tokens(z: Tensor) -> Tensor:
    """Return maps (B, D, H, W) as tokens (B, H W, D), rows first; tokens as they are."""
    return z.flatten(2).transpose(1, 2) if z.ndim == 4 else z


def noted(record: Record | None, name: str, z: Tensor) -> Tensor:
    """Return `z`, written into `record` as tokens; what follows is computed from them, for gradients to reach them."""
    if record is None:
        return z
    tokens = note(record, name, as_tokens(z))
    return tokens.transpose(1, 2).reshape(z.shape) if z.ndim == 4 else tokens
