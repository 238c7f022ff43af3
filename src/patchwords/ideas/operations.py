"""What a computation does, seen from inside: the operations it runs, the products among them, the bytes alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Shapes = tuple[tuple[int, ...], ...]


class Operations(TorchDispatchMode):
    """Within it, every operation that torch runs is written down: its name and the shapes of the tensors it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Shapes]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        shapes = tuple(tuple(each.shape) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor))
        self.seen.append((func.overloadpacket.__name__, shapes))
        return func(*args, **(kwargs or {}))

    def named(self, *parts: str) -> list[tuple[str, Shapes]]:
        """Return the operations with one of `parts` in their names."""
        return [each for each in self.seen if any(part in each[0] for part in parts)]

    def products(self) -> list[tuple[int, int, int, int]]:
        """Return the batched matrix products as (count, rows, inner, columns)."""
        return [(*left, right[2]) for _, (left, right, *_) in self.named("bmm")]


class Bytes(TorchDispatchMode):
    """Within it, the bytes of all tensors made and not yet freed are counted; `most` is the largest number."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {each.untyped_storage()._cdata for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given | self._known:
                self._add(each.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


def most_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes of tensors that `work` holds at a time, besides those that it was given."""
    with Bytes() as counted:
        kept = work()
        most = counted.most
        del kept
    return most
