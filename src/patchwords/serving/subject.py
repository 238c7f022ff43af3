"""A model on the live page: what the page must know of it, and the one thread that computes with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from ..checkpoint import LoadedModel
from ..inspection.attention import token_names
from ..inspection.explanation import METHODS
from ..inspection.stream import cell_size, grid_of
from ..inspection.trace import LayerAttention
from .packed import Answer
from .pictures import shown
from .refusal import Abandoned, Refused

_AT_ONCE = 32 << 20
"""bytes of attention that the page had better ask for in one request"""
_GRAPH_BYTES = 256 << 20
"""of the activations that one step of an attribution may hold"""


class Subject:
    """A model that is asked one question at a time.

    Args:
        number: its place among the models.
        name: for the page to show.
        loaded: the model with its classes and preprocessing.
        thread: one worker that computes all that is asked of this model, so that nothing of it is used twice at once.
    """

    def __init__(self, number: int, name: str, loaded: LoadedModel, thread: ThreadPoolExecutor) -> None:
        self.id, self.name, self.loaded, self.model = str(number), shown(name), loaded, loaded.model
        self.preprocess, self.config = loaded.preprocess, loaded.model.config
        blocks = getattr(self.model, "blocks", ())
        self.attends = bool(len(blocks)) and all(hasattr(block, "attn") for block in blocks)
        self.layers = len(blocks)
        self.heads: int = self.config.num_heads if self.attends else 0
        self.cell_px = cell_size(self.model)
        self.grid = grid_of(self.model, self.preprocess.image_size)
        self.prefix = token_names(self.config) if self.attends else ()
        self.pool: str = getattr(self.config, "pool", "mean")
        answers = getattr(self.config, "num_classes", len(loaded.classes)) if self.pool != "none" else 0
        self.classes = tuple(map(shown, _names(loaded.classes, answers)))
        self.paused: tuple[str, int, Iterator[LayerAttention]] | None = None
        """picture, next layer and the rest of a pass that was stopped between layers"""
        self.explained: tuple[Any, Any] | None = None
        """the last question that attribution answered, and its answer"""
        self._thread = thread
        self._abandoned: threading.Event | None = None
        parts = blocks or [module for module in self.model.modules() if module is not self.model]
        self._hooks = [module.register_forward_pre_hook(self._look_up) for module in parts]

    @property
    def tokens(self) -> int:
        """T: tokens before the patches, and patches."""
        return len(self.prefix) + self.grid[0] * self.grid[1]

    @property
    def layer_bytes(self) -> int:
        """Bytes of one layer's attention in float16."""
        return 2 * self.heads * self.tokens**2

    @property
    def methods(self) -> tuple[str, ...]:
        """Attribution methods that the model allows."""
        if not self.classes:
            return ()
        return tuple(name for name in METHODS if self.attends or name != "gradient_rollout")

    @property
    def batch_size(self) -> int:
        """Pictures whose activations of all layers may be in memory at a time, 1 to 32."""
        width = getattr(self.config, "dim", 64)
        one = 64 * width * self.tokens * max(self.layers, 4)
        return max(1, min(32, _GRAPH_BYTES // one))

    def describe(self) -> dict[str, Any]:
        """Return what the page must know, for JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": "vit" if self.attends else "cnn",
            "image_size": self.preprocess.image_size,
            "cell_px": self.cell_px,
            "grid": self.grid,
            "layers": self.layers,
            "heads": self.heads,
            "prefix": self.prefix,
            "pool": self.pool,
            "classes": len(self.classes),
            "attention": self.attends,
            "methods": self.methods,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "layers_at_once": max(1, _AT_ONCE // self.layer_bytes) if self.attends else 0,
        }

    def submit(self, compute: Callable[[], Answer], abandoned: threading.Event) -> Future[Answer]:
        """Compute in the thread of this model, when it is free; stop between layers once `abandoned` is set."""
        return self._thread.submit(self._compute, compute, abandoned)

    def close(self) -> None:
        """Wait for the thread to end, leave out what waits for it, and leave the model as it was."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        for hook in self._hooks:
            hook.remove()

    def _compute(self, compute: Callable[[], Answer], abandoned: threading.Event) -> Answer:
        if abandoned.is_set():
            raise Abandoned
        self._abandoned = abandoned
        try:
            return compute()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise Refused(503, "there is not enough memory to compute it", fix="Ask for less") from None
            raise
        finally:
            self._abandoned = None

    def _look_up(self, module: nn.Module, inputs: Any) -> None:
        """Stop here when nobody waits any more; and when the backward pass comes by, too."""
        self._check_wanted()
        if isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(self._check_wanted)

    def _check_wanted(self, gradient: torch.Tensor | None = None) -> None:
        if self._abandoned is not None and self._abandoned.is_set():
            raise Abandoned

    def input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the input (1, C, H, W) of `pixels`, uint8 (C, H, W)."""
        return self.preprocess.normalize(pixels[None])


def _names(classes: tuple[str, ...], count: int) -> list[str]:
    return [classes[index] if index < len(classes) else str(index) for index in range(count)]
