"""Models trained on real pictures, kept in the user's cache folder: several ideas look into the same ones."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import CNNConfig, Size, ViTConfig
from ..config import AugmentConfig
from ..data.cifar10 import cache_folder
from ..models import build
from ..randomness import permutation
from ..transfer.cache import FeatureCache
from .idea import Effort
from .learn import Batches, PictureSet, learn, new_model, real_pictures

VERSION = 1
"""of what a training is; models kept under another one are not used"""
LIMIT = 256 * 2**20
"""bytes of kept models"""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    samples: int
    """pictures seen, the same ones again counted again"""
    lr: float = 1e-3
    batch_size: int = 64
    optimizer: str = "muon"
    weight_decay: float = 0.05
    shift: int = 2
    """pictures are moved by up to so many pixels; never mirrored, so that left and right differ"""
    precision: str = "float32"
    """that the model computes in"""

    @property
    def steps(self) -> int:
        """Batches, at least two."""
        return max(2, self.samples // self.batch_size)


@dataclass(frozen=True)
class Scale:
    """How large the experiments on real pictures are."""

    train: int
    test: int
    seeds: int
    patch_size: Size
    dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    cnn_width: int
    recipe: Recipe

    def vit(self, **changes: Any) -> ViTConfig:
        """Return the small ViT of the experiments: a learned table, mean pooling."""
        shape = {"dim": self.dim, "depth": self.depth, "num_heads": self.num_heads, "mlp_dim": self.mlp_dim}
        options = {"image_size": (32, 32), "patch_size": self.patch_size, "num_classes": 10, "pool": "mean"}
        return ViTConfig(**(shape | options | {"class_token": False} | changes))

    @property
    def cnn_recipe(self) -> Recipe:
        """As many pictures, with an optimizer for convolutions."""
        return dataclasses.replace(self.recipe, optimizer="adamw", lr=CNN_LR)

    def cnn(self, **changes: Any) -> CNNConfig:
        """Return the convolutional network beside it, of about the same cost."""
        return CNNConfig(**({"depths": (1, 1, 1), "width": self.cnn_width, "groups": 4} | changes))

    def cnn_7x7(self) -> CNNConfig:
        """Return a network whose first kernels are 7x7, nearly a patch: large enough for filters to be compared."""
        return CNNConfig(root="large", depths=(1, 1), width=32, groups=8)


QUICK = Scale(4000, 1000, 1, (8, 8), 64, 4, 4, 128, 16, Recipe(samples=16_000, lr=2e-3))
FULL = Scale(20_000, 10_000, 3, (4, 4), 64, 4, 4, 128, 16, Recipe(samples=60_000, lr=1.5e-3, precision="bfloat16"))


CNN_LR = 3e-3
"""of AdamW, which moves all of a CNN: Muon is for matrices"""


def scale_of(effort: Effort) -> Scale:
    """Return the sizes for this effort."""
    return FULL if effort.full else QUICK


def seeds_of(effort: Effort) -> list[int]:
    """Return the seeds of the repeats."""
    return [effort.seed + number for number in range(scale_of(effort).seeds)]


def pictures_of(effort: Effort) -> tuple[PictureSet, PictureSet]:
    """Return the pictures to train on and to test on.

    Raises:
        PatchwordsError: as reading them does.
    """
    scale = scale_of(effort)
    return _pictures(effort.data, effort.seed, scale.train, scale.test)


@functools.lru_cache(maxsize=1)  # ideas run one after another look at the same ones
def _pictures(data: str, seed: int, train: int, test: int) -> tuple[PictureSet, PictureSet]:
    return real_pictures(Effort(seed=seed, data=data), train, test)


def chance_points(tests: int, seeds: int = 1) -> float:
    """Return twice the standard error, in points, of a difference of two accuracies on `tests` pictures, at the most.

    Seeds count as new pictures; that they are the same ones makes differences of one model to another smaller.
    """
    return 200 * math.sqrt(0.5 / (tests * seeds))


def trained(
    config: Any,
    pictures: PictureSet,
    recipe: Recipe,
    seed: int,
    effort: Effort,
    *,
    pixels: Tensor | None = None,
    name: str = "",
) -> nn.Module:
    """Return an evaluating model, trained now or taken from the cache, the same bits in either case.

    Args:
        config: of the model; its number of classes becomes that of the pictures.
        seed: of initial values, order and moves.
        pixels: (rows * columns,) as of `pixel_order`: pictures are rearranged after they were moved.
        name: for messages of progress.
    """
    config = dataclasses.replace(config, num_classes=len(pictures.classes))
    cache, key = FeatureCache(cache_folder() / "ideas", LIMIT), training_key(config, pictures, recipe, seed, pixels)
    kept = cache.load(key)
    if kept is not None:
        return filled(config, kept)
    move = AugmentConfig(crop="shift", shift=recipe.shift) if recipe.shift else None
    batches = rearranged(pictures.batches(seed, recipe.batch_size, move), pixels)
    course = learn(
        new_model(config, seed), batches, recipe.steps, recipe.lr, seed, optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay, dtype=getattr(torch, recipe.precision), progress=effort.progress,
        name=f"{name or config.kind}, seed {seed}",
    )  # fmt: skip
    cache.save(key, torch.cat([tensor.flatten() for tensor in course.model.state_dict().values()]))
    return course.model


def training_key(config: Any, pictures: PictureSet, recipe: Recipe, seed: int, pixels: Tensor | None = None) -> str:
    """Return a hash of all that a trained model follows from."""
    told = {
        "version": VERSION,
        "torch": torch.__version__,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "mean and std": [pictures.preprocess.mean, pictures.preprocess.std],
        "classes": pictures.classes,
        "pixels": None if pixels is None else pixels.tolist(),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for values in (pictures.images, pictures.labels):
        digest.update(str(tuple(values.shape)).encode() + np.ascontiguousarray(values.numpy()).tobytes())
    return digest.hexdigest()


def filled(config: Any, values: Tensor) -> nn.Module:
    """Return an evaluating model of `config` with these values, one after another as its state_dict has them."""
    with torch.random.fork_rng(devices=[]):
        model = build(config).eval()
    named = model.state_dict()
    parts = values.split([tensor.numel() for tensor in named.values()])
    model.load_state_dict({name: part.view_as(own) for (name, own), part in zip(named.items(), parts, strict=True)})
    return model


def first_layer(model: nn.Module) -> nn.Module:
    """Return what of a ViT or a CNN holds the filters that see the pixels."""
    return getattr(model, "stem", model)


def pixel_order(image_size: Size, patch_size: Size, patches: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return which pixel of a picture comes to each place (rows * columns,), the same for all channels.

    Args:
        patches: (N,) patch `patches[i]` comes to place i.
        inside: (pixels of a patch,) the order of the pixels within every patch; None: as they are.
    """
    (height, width), (rows, columns) = image_size, patch_size
    numbers = torch.arange(height * width).view(height // rows, rows, width // columns, columns)
    cut = numbers.permute(0, 2, 1, 3).reshape(len(patches), rows * columns)[patches]
    cut = cut if inside is None else cut[:, inside]
    return cut.view(height // rows, width // columns, rows, columns).permute(0, 2, 1, 3).reshape(-1)


def drawn_order(config: ViTConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return a fixed order of the patches (N,), and one of the pixels within every patch, functions of `seed`."""
    counts = (config.grid[0] * config.grid[1], config.patch_size[0] * config.patch_size[1])
    sites = ("idea fixed patches", "idea fixed pixels")
    patches, inside = (permutation(seed % 2**32, site, 0, count) for site, count in zip(sites, counts, strict=True))
    return torch.from_numpy(patches), torch.from_numpy(inside)


def rearrange(images: Tensor, pixels: Tensor | None) -> Tensor:
    """Return the pictures (B, C, H, W) with pixel `pixels[i]` at place i of each; None: as they are."""
    return images if pixels is None else images.flatten(2)[..., pixels].view_as(images)


def rearranged(batches: Batches, pixels: Tensor | None) -> Batches:
    """Return the same batches with the pixels of each picture rearranged."""
    if pixels is None:
        return batches

    def batch(step: int) -> tuple[Tensor, Tensor]:
        images, labels = batches(step)
        return rearrange(images, pixels), labels

    return batch
