"""Several views of one picture, whose answers are averaged: test-time augmentation, for more time the better answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import ConfigError

VIEWS = (1, 2, 6)
"""how many: the picture alone; and its mirror image; both also moved by a pixel to either end of the diagonal"""
MOVES = ((0, 0), (-1, -1), (1, 1))
"""pixels down and to the right"""


class AveragedViews(nn.Module):
    """From pictures (B, C, H, W) to the logarithm (B, K) of the mean of the probabilities of their views.

    Args:
        model: from pictures, normalised or uint8, to logits (B, K).
        views: one of `VIEWS`.

    Raises:
        ConfigError: another number of views.
    """

    def __init__(self, model: nn.Module, views: int) -> None:
        super().__init__()
        if views not in VIEWS:
            allowed = ", ".join(map(str, VIEWS))
            raise ConfigError(f"{views} is not a number of views", where="--views", fix=f"Give one of {allowed}")
        self.model, self.views = model, views

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities; the logits of the model itself for one view."""
        if self.views == 1:
            return self.model(images)
        seen = [moved(images, *by) for by in MOVES[: self.views // 2]]
        seen += [view.flip(-1) for view in seen]
        return torch.stack([self.model(view).float().softmax(dim=-1) for view in seen]).mean(dim=0).log()


def moved(images: Tensor, down: int, right: int) -> Tensor:
    """Return pictures of the same size moved by whole pixels; at the edge that is left the last row or column again."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device).sub(down).clamp(0, height - 1)
    columns = torch.arange(width, device=images.device).sub(right).clamp(0, width - 1)
    return images[..., rows[:, None], columns]
