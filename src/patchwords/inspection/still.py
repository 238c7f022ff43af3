"""A model held still: evaluation mode, no gradients of its parameters, and afterwards exactly as it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .results import Progress
from .trace import Pictures


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Hold `model` in evaluation mode with gradients asked of its input only; put everything back at the end.

    Gradients are on inside, whatever the caller's mode is. Parameters get none: no `.grad` is made or changed, and
    backward passes skip the products that would make them.
    """
    modes = [(module, module.training) for module in model.modules()]
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in asked:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, wanted in asked:
            parameter.requires_grad_(wanted)


def as_input(model: nn.Module, images: Tensor) -> Tensor:
    """Return a copy of `images` (B, C, H, W) in the type and on the device of the model, outside every graph.

    Raises:
        ConfigError: not a batch of pictures.
    """
    if images.ndim != 4 or not len(images):
        raise ConfigError(f"pictures of shape {tuple(images.shape)}", fix="Give (batch, channels, rows, columns)")
    like = next(model.parameters())
    with torch.inference_mode(False):  # a copy made inside could not be differentiated
        return images.detach().to(device=like.device, dtype=like.dtype, copy=True)


class Kept(dict[str, Any]):
    """A record that keeps of each intermediate only what `keep(name, value)` returns, and nothing for None.

    What is not kept is free at once, so that attention weights of all layers are never in memory together.
    """

    def __init__(self, keep: Callable[[str, Tensor], Any]) -> None:
        super().__init__()
        self._keep = keep

    def __setitem__(self, name: str, value: Any) -> None:
        kept = self._keep(name, value)
        if kept is not None:
            super().__setitem__(name, kept)


def batches(images: Pictures, size: int, progress: Progress | None = None) -> Iterator[Tensor]:
    """Yield `images`, one tensor or batches, in batches of at most `size`; each counts as done when the next begins."""
    done, total = 0, len(images) if isinstance(images, Tensor) else 0
    for batch in [images] if isinstance(images, Tensor) else images:
        for part in chunks(len(batch), size):
            yield batch[part]
            done += part.stop - part.start
            if progress:
                progress(done, total or done)


def chunks(count: int, size: int) -> list[slice]:
    """Return slices of at most `size` that cover 0 .. count - 1, as equal as they can be."""
    parts = max(-(-count // max(size, 1)), 1)
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
