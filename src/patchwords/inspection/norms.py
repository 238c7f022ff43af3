"""How much each part of a block adds to what skips it: |z| / |f(z)| (Raghu et al., 2108.08810, sec. 6, fig. 7-8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .results import Progress, Row, table
from .still import Kept, as_input, batches, still
from .stream import as_tokens
from .trace import Pictures

_BRANCH = re.compile(r"(block\d+)/(\w+)")
KINDS = ("class token", "patches")


@dataclass(frozen=True)
class NormRatios:
    """Size of the skip connection against its branch, for each branch of each block."""

    branches: tuple[str, ...]
    """names of the record: block00/attn, block00/mlp, ..."""
    ratio: np.ndarray
    """(branches, 2) mean of |z| / |f(z)| over pictures, for class token and patches; above 1 the skip is larger;
    nan without class token, inf where a branch adds nothing"""
    skip_norm: np.ndarray
    """(branches, 2) mean |z|"""
    branch_norm: np.ndarray
    """(branches, 2) mean |f(z)|"""
    token_ratio: np.ndarray
    """(branches, T) mean of |z| / |f(z)| over pictures, for each token; nan where a layer has fewer tokens"""
    pictures: int

    def rows(self) -> list[Row]:
        """Return one line for each branch and kind of token."""
        columns = {"ratio": self.ratio, "skip_norm": self.skip_norm, "branch_norm": self.branch_norm}
        return table([("branch", self.branches), ("tokens", KINDS)], **columns)


def measure_norms(
    model: nn.Module, images: Pictures, *, batch_size: int = 32, progress: Progress | None = None
) -> NormRatios:
    """Measure |z| / |f(z)| of every branch f of every block, z being what goes round it.

    z is taken as the sum after the branch less the branch, so that shortcuts that change the width count as they are;
    float32 carries ratios down to about 1e-6.

    Raises:
        ConfigError: the model records no branch with the sum after it.
    """
    sums: dict[str, Tensor] = {}
    seen = 0
    with still(model), torch.no_grad():
        for batch in batches(images, batch_size, progress):
            watch = _Watch()
            model(as_input(model, batch), Kept(watch.keep))
            for name, found in watch.sums.items():
                sums[name] = sums.get(name, 0) + found
            seen += len(batch)
    if not sums:
        raise ConfigError(f"{type(model).__name__} records no branch with a skip connection", where="model")
    return _summary(model, sums, seen)


class _Watch:
    """Sums over the pictures of a batch of |z|, |f(z)| and their ratio, taken as the model writes its record."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self._branches: dict[str, Tensor] = {}

    def keep(self, name: str, value: Any) -> None:
        if _BRANCH.fullmatch(name):
            self._branches[name] = value
        elif (branch := self._branches.pop(name.replace("/+", "/"), None)) is not None:
            added = as_tokens(branch)
            skip, length = (as_tokens(value) - added).norm(dim=-1).double(), added.norm(dim=-1).double()
            self.sums[name.replace("/+", "/")] = torch.stack(
                [each.sum(dim=0) for each in (skip, length, skip / length)]
            )


def _summary(model: nn.Module, sums: dict[str, Tensor], pictures: int) -> NormRatios:
    prefix, has_class_token = model.num_prefix_tokens, getattr(model.config, "class_token", False)
    means = [(found / pictures).cpu().numpy() for found in sums.values()]
    kinds = np.full((3, len(means), 2), np.nan, np.float32)
    tokens = np.full((len(means), max(mean.shape[1] for mean in means)), np.nan, np.float32)
    for number, mean in enumerate(means):
        if has_class_token:
            kinds[:, number, 0] = mean[:, 0]
        kinds[:, number, 1] = mean[:, prefix:].mean(axis=1)
        tokens[number, : mean.shape[1]] = mean[2]
    return NormRatios(tuple(sums), kinds[2], kinds[0], kinds[1], tokens, pictures)
