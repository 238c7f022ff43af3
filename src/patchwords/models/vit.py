"""The Vision Transformer: a picture is 16x16 words (2010.11929, sec. 3.1, eq. 1-4)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..config import Size, ViTConfig
from .attention import Attention, AttentionPool
from .contract import Record, grid_of, note
from .layers import DropPath, Head, LayerScale, Mlp, PreLogits, layer_norm
from .merge import match, merge, spread
from .position import Places, locate, position_rows, position_table
from .stem import build_stem


class Block(nn.Module):
    """One encoder block: attention, then an MLP, each on normalised tokens and added to them (eq. 2 and 3)."""

    def __init__(self, config: ViTConfig, layer: int) -> None:
        super().__init__()
        self.prefix = config.num_prefix_tokens
        self.norm1 = layer_norm(config, config.dim)
        self.attn = Attention(config, layer)
        self.ls1 = LayerScale(config.dim, config.layer_scale) if config.layer_scale else nn.Identity()
        self.norm2 = layer_norm(config, config.dim)
        self.mlp = Mlp(config)
        self.ls2 = LayerScale(config.dim, config.layer_scale) if config.layer_scale else nn.Identity()
        self.drop_path = DropPath(config.drop_path * layer / max(config.depth - 1, 1))

    def forward(
        self,
        z: Tensor,
        places: Places,
        record: Record | None = None,
        name: str = "block00",
        first: int | None = None,
        merged: int = 0,
    ) -> Any:
        """Return z_l (B, T, D) of z_{l-1} (B, T, D); of the `first` tokens only when given.

        With `merged` so many patches are merged into others in between: the pair of z_l (B, T - merged, D) and its
        places.
        """
        attend = self.attn.with_keys if merged else self.attn
        attn = attend(self.norm1(z), places, record, f"{name}/attn", first)
        attn, keys = attn if merged else (attn, None)
        z = z[:, :first] + note(record, f"{name}/attn", self.drop_path(self.ls1(attn)))  # eq. 2
        note(record, f"{name}/+attn", z)
        if merged:
            z, places = merge(z, places, match(keys, self.prefix, merged), self.prefix)
        if places.source is not None:
            note(record, f"{name}/source", places.source)
        mlp = self.mlp(self.norm2(z))
        z = z + note(record, f"{name}/mlp", self.drop_path(self.ls2(mlp)))  # eq. 3
        note(record, f"{name}/+mlp", z)
        return (z, places) if merged else z


class ViT(nn.Module):
    """Vision Transformer, as `config` describes it; satisfies `contract.Classifier`.

    Tokens are ordered class, distillation, registers, patches (rows first). Pictures may have any size that the
    patch divides: positions are resampled or computed for their grid. Parameter names are timm's.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config, self.grid = config, config.grid
        self.num_prefix_tokens = config.num_prefix_tokens
        self.num_features = config.dim * (2 if config.pool == "cls+mean" else 1)
        self.checkpointing = self.windows = False

        self.patch_embed = build_stem(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.class_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.distillation_token else None
        registers = torch.empty(1, config.num_registers, config.dim)
        self.reg_token = nn.Parameter(nn.init.normal_(registers, std=1e-6)) if config.num_registers else None
        self.pos_embed = position_table(config)
        self.pos_drop = nn.Dropout(config.dropout)
        self.norm_pre = layer_norm(config, config.dim) if config.pre_norm else nn.Identity()

        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.norm = layer_norm(config, config.dim) if config.final_norm else nn.Identity()

        self.attn_pool = AttentionPool(config) if config.pool == "map" else None
        self.fc_norm = layer_norm(config, self.num_features) if config.fc_norm else nn.Identity()
        self.pre_logits = PreLogits(self.num_features, config.pre_logits) if config.pre_logits else nn.Identity()
        width, classes = config.pre_logits or self.num_features, config.num_classes
        self.head = Head(width, classes, config.head_bias) if classes else nn.Identity()
        self.head_dist = Head(width, classes, config.head_bias) if classes and config.distillation_token else None

    def forward(self, images: Tensor, record: Record | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, K) of images (B, C, H, W); features (B, num_features) when there is no head.

        With a distillation token, training returns the pair of both heads' logits and evaluation their mean.
        With pool=none every token is answered: (B, T, K).
        """
        alone = self.training and self.config.pool == "cls" and record is None
        read = (1 if self.head_dist is None else 2) if alone else None
        return self.forward_head(self._encode(images, record, read), record)

    def forward_features(self, images: Tensor, record: Record | None = None) -> Tensor:
        """Return encoded tokens (B, T, D)."""
        return self._encode(images, record)

    def _encode(self, images: Tensor, record: Record | None, first: int | None = None) -> Tensor:
        """Return encoded tokens; only the `first` when given: nobody reads the others, so the last block skips them."""
        z, where = self.embed(images)
        note(record, "embed", z)
        last, merges = len(self.blocks) - 1, self.config.merges(z.shape[1] - self.num_prefix_tokens)
        for i, (block, merged) in enumerate(zip(self.blocks, merges, strict=True)):
            wanted = first if i == last else None
            merged = 0 if wanted else merged
            if self.checkpointing and self.training and record is None:
                answer = checkpoint(block, z, where, first=wanted, merged=merged, use_reentrant=False)
            else:
                answer = block(z, where, record, f"block{i:02d}", wanted, merged)
            z, where = answer if merged else (answer, where)
        z = self.norm(z)
        return note(record, "encoded", z if first else spread(z, where, self.num_prefix_tokens))

    def embed(self, images: Tensor) -> tuple[Tensor, Places]:
        """Return z_0 = [x_class; x_p^1 E; ...; x_p^N E] + E_pos (eq. 1) and where its tokens lie."""
        grid = grid_of(images, self.config)
        patches = self.patch_embed(images)
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix = [token.expand(patches.shape[0], -1, -1) for token in tokens if token is not None]
        z = torch.cat([*prefix, patches], dim=1) if prefix else patches
        positions = position_rows(self.pos_embed, self.config, grid, z, self._cut_out(grid))
        z = self.pos_drop(z if positions is None else z + positions)
        leaves_out = self.training and self.config.patch_dropout > 0
        where = locate(self.config, grid, z, self._cut_out(grid), sparse=not leaves_out)
        if leaves_out:
            kept = self._draw_patches(z)
            z, where = z.gather(1, kept[..., None].expand(-1, -1, z.shape[-1])), where.kept(kept)
        return self.norm_pre(z), where

    def forward_head(self, tokens: Tensor, record: Record | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits of encoded tokens (B, T, D): of y = LN(z_L^0) (eq. 4), or of another pooling of them."""
        y = note(record, "features", self.fc_norm(self._pool(tokens, record)))
        logits = self.head(self.pre_logits(y))
        if self.head_dist is not None:
            distilled = self.head_dist(self.pre_logits(self.fc_norm(tokens[:, 1])))
            if self.training:
                return note(record, "logits", logits), note(record, "logits_dist", distilled)
            logits = (logits + distilled) / 2
        return note(record, "logits", logits)

    def _pool(self, tokens: Tensor, record: Record | None) -> Tensor:
        pool, patches = self.config.pool, tokens[:, self.num_prefix_tokens :]
        if pool == "cls":
            return tokens[:, 0]
        if pool == "mean":
            return patches.mean(dim=1)
        if pool == "cls+mean":
            return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=-1)
        return self.attn_pool(patches, record) if pool == "map" else tokens

    def _cut_out(self, grid: Size) -> bool:
        """Return whether pictures of `grid` are parts of whole ones: they keep the scale of their positions."""
        return self.training and self.windows and all(a <= b for a, b in zip(grid, self.grid, strict=True))

    def _draw_patches(self, z: Tensor) -> Tensor:
        """Return token numbers (B, t) to keep: all prefix tokens and a random share of the patches, in order."""
        prefix, count = self.num_prefix_tokens, z.shape[1] - self.num_prefix_tokens
        keep = max(1, round(count * (1 - self.config.patch_dropout)))
        patches = torch.rand(z.shape[0], count, device=z.device).argsort(dim=1)[:, :keep].sort(dim=1).values + prefix
        return torch.cat([torch.arange(prefix, device=z.device).expand(z.shape[0], -1), patches], dim=1)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a head of zeros for `num_classes` in place of the old one and its hidden layer (sec. 3.2); 0: none."""
        like, sizes = next(self.parameters()), (self.num_features, num_classes, self.config.head_bias)
        self.config = dataclasses.replace(self.config, num_classes=num_classes, pre_logits=0)
        self.pre_logits = nn.Identity()
        self.head = Head(*sizes).to(like) if num_classes else nn.Identity()
        if self.dist_token is not None:
            self.head_dist = Head(*sizes).to(like) if num_classes else None

    def set_checkpointing(self, enabled: bool = True) -> None:
        """Compute the activations of each block again in the backward pass instead of storing them."""
        self.checkpointing = enabled

    def set_windows(self, enabled: bool = True) -> None:
        """In training, take pictures smaller than `image_size` as cut out of whole ones, not as whole ones resized."""
        self.windows = enabled

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters that are tables or tokens, not matrices."""
        kinds = ("cls_token", "dist_token", "reg_token", "pos_embed", "latent", "relative_position_bias_table")
        return {name for name, _ in self.named_parameters() if any(kind in name.split(".") for kind in kinds)}

    def layer_of(self, name: str) -> int:
        """Return the depth of the parameter `name`: 0 embedding, 1..L blocks, L+1 what follows."""
        first, *rest = name.split(".")
        if first == "blocks":
            return int(rest[0]) + 1
        embedding = ("patch_embed", "cls_token", "dist_token", "reg_token", "pos_embed", "norm_pre")
        return 0 if first in embedding else self.config.depth + 1
