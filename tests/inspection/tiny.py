"""Small models whose insides can be checked pixel by pixel: ViTs, and a CNN of the contract."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from patchwords.config import ViTConfig
from patchwords.models import build
from patchwords.models.contract import note


def tiny_vit(seed: int = 0, **options: Any) -> nn.Module:
    """A ViT of 12x8 pixels, patches of 4x2, with a random head and class token; untrained."""
    settings = dict(image_size=(12, 8), patch_size=(4, 2), dim=16, depth=2, num_heads=2, mlp_dim=24, num_classes=5)
    torch.manual_seed(seed)
    model = build(ViTConfig(**(settings | options)))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


class TinyCnn(nn.Module):
    """Three 3x3 convolutions with a shortcut, ReLU and max-pooling; tokens are the cells of each map."""

    def __init__(self, image_size: tuple[int, int] = (12, 16), width: int = 6, classes: int = 4) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            image_size=image_size, num_classes=classes, kind="cnn", summary="two convolutions"
        )
        self.grid, self.num_features, self.num_prefix_tokens = (image_size[0] // 2, image_size[1] // 2), width, 0
        self.root = nn.Conv2d(3, width, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(width, classes)

    def forward_features(self, images: Tensor, record: dict | None = None) -> Tensor:
        z = torch.relu(self.root(images))
        note(record, "embed", z.flatten(2).transpose(1, 2))
        z = nn.functional.max_pool2d(z, 2)
        for number, conv in enumerate(self.convs):
            branch = conv(torch.relu(z))
            note(record, f"block{number:02d}/mlp", branch.flatten(2).transpose(1, 2))
            z = z + branch
            note(record, f"block{number:02d}/+mlp", z.flatten(2).transpose(1, 2))
        return note(record, "encoded", z.relu().flatten(2).transpose(1, 2))

    def forward_head(self, tokens: Tensor, record: dict | None = None) -> Tensor:
        return note(record, "logits", self.head(note(record, "features", tokens.mean(dim=1))))

    def forward(self, images: Tensor, record: dict | None = None) -> Tensor:
        return self.forward_head(self.forward_features(images, record), record)


def tiny_cnn(seed: int = 0, **options: Any) -> TinyCnn:
    torch.manual_seed(seed)
    return TinyCnn(**options).eval()


def pictures(model: nn.Module, count: int = 3, seed: int = 1) -> Tensor:
    """Noise of the size that `model` reads."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *model.config.image_size, generator=generator)


def found_state(model: nn.Module) -> list[Any]:
    """What must not change when a model is looked at: modes, which parameters learn, gradients, values."""
    modes = [module.training for module in model.modules()]
    learns = [
        (p.requires_grad, None if p.grad is None else p.grad.clone(), p.detach().clone()) for p in model.parameters()
    ]
    return [modes, *learns]


def assert_as_found(model: nn.Module, before: list[Any]) -> None:
    """Fail when anything of `found_state` changed."""
    after = found_state(model)
    assert after[0] == before[0]
    for (learns, grad, value), (learned, old, kept) in zip(after[1:], before[1:], strict=True):
        assert learns == learned
        assert (grad is None) == (old is None) and (grad is None or torch.equal(grad, old))
        assert torch.equal(value, kept)


def disturb(model: nn.Module) -> list[Any]:
    """Put `model` into an unusual state (modes, frozen parts, a gradient) and return it."""
    model.train()
    next(model.children()).eval()
    first, *others = model.parameters()
    first.requires_grad_(False)
    others[-1].grad = torch.ones_like(others[-1])
    return found_state(model)
