"""How alike the layers of one model or of two are: linear CKA, unbiased for minibatches.

Sources: Kornblith et al. (1905.00414, sec. 3); the minibatch estimator of Nguyen et al. (2010.15327) as used for ViTs
by Raghu et al. (2108.08810, sec. 4, fig. 1-2), with HSIC_1 of Song et al. (2012).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architecture import one_of
from ..errors import ConfigError
from .results import Progress, Row, table
from .still import Kept, as_input, chunks, still
from .stream import as_tokens, choose, is_layer
from .trace import Pictures

TOKENS = ("mean", "cls", "all")
SMALLEST = 4
"""pictures that HSIC_1 needs at least"""
_ROUNDING = 1e-12
"""of squares in float32"""
_COLUMNS = 1 << 14
"""features multiplied at a time in float64"""


@dataclass(frozen=True)
class Similarity:
    """Linear CKA of each layer of one model with each layer of the same or another model."""

    layers: tuple[str, ...]
    """of the model"""
    other_layers: tuple[str, ...]
    """of the other model, or the same names"""
    cka: np.ndarray
    """(layers, other layers): 1 the same up to rotation and scale, about 0 unrelated; the estimate may leave 0..1;
    nan where a layer is the same for all pictures, as the class token is before the first block"""
    tokens: str
    """what stood for a picture: mean of the patches, cls, or all tokens side by side"""
    other_tokens: str
    pictures: int
    """pictures used"""
    batch_size: int
    """pictures in the largest minibatch"""
    same_model: bool
    """one model with itself"""

    @property
    def nearest(self) -> tuple[str, ...]:
        """For each layer the other model's layer most like it."""
        return tuple(self.other_layers[i] for i in np.nan_to_num(self.cka, nan=-np.inf).argmax(axis=1))

    @property
    def off_diagonal(self) -> float:
        """Mean similarity of different layers of one model; how uniform it is (2108.08810, sec. 4); nan for two."""
        if not self.same_model or self.layers != self.other_layers or len(self.layers) < 2:
            return float("nan")
        return float(np.nanmean(self.cka[~np.eye(len(self.layers), dtype=bool)]))

    def rows(self) -> list[Row]:
        """Return one line for each pair of layers."""
        return table([("layer", self.layers), ("other_layer", self.other_layers)], cka=self.cka)


def linear_cka(x: np.ndarray, y: np.ndarray, *, unbiased: bool = True) -> float:
    """Return the linear CKA of features x (n, p) and y (n, q) of the same n pictures.

    Args:
        unbiased: HSIC_1, whose expected value does not depend on n (4 or more pictures); False: the definition of
            1905.00414, eq. 2-4, which grows with p and q when n is small.
    """
    grams = torch.stack([_gram(torch.as_tensor(each)) for each in (x, y)])
    products = _hsic(grams, grams) if unbiased else _biased_hsic(grams)
    return float(products[0, 1] / (products[0, 0] * products[1, 1]).sqrt())


def measure_similarity(
    model: nn.Module,
    images: Pictures,
    other: nn.Module | None = None,
    *,
    other_images: Pictures | None = None,
    layers: Sequence[str] | None = None,
    other_layers: Sequence[str] | None = None,
    tokens: str = "mean",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Similarity:
    """Measure linear CKA between all layers, over minibatches, with memory for one minibatch.

    Args:
        images: one tensor, cut into near-equal minibatches of at most `batch_size`, or minibatches; fewer than 4
            pictures at the end are left out.
        other: a second model, of any kind and width; None: the same.
        other_images: the same pictures as the other model wants them, cut the same way; None: `images`.
        layers: names of the record; None: embedding, blocks, last norm.
        tokens: mean (of the patches), cls, or all (side by side, as 2108.08810 does). A model without class token
            is read by the mean where cls is asked for of the other one.

    Raises:
        ConfigError: fewer than 4 pictures, different numbers of pictures, no such layer or tokens, or cls where no
            model has a class token.
    """
    one_of("tokens", tokens, TOKENS)
    if other is None and other_layers is None:
        other_layers = layers
    sides = [_Side(model, tokens, layers), _Side(other or model, tokens, other_layers)]
    if tokens == "cls" and not any(side.tokens == "cls" for side in sides):
        raise ConfigError("no class token", where="tokens", fix="Give mean or all")
    shared = other is None and sides[0].wanted == sides[1].wanted and other_images is None
    total = len(images) if isinstance(images, Tensor) else 0
    totals, seen, largest = [], 0, 0
    for first, second in _pairs(images, other_images, batch_size):
        x = sides[0].grams(first)
        y = x if shared else sides[1].grams(first if second is None else second)
        totals.append((_hsic(x, y), _hsic_own(x), _hsic_own(y)))
        seen, largest = seen + len(first), max(largest, len(first))
        if progress:
            progress(seen, total or seen)
    if not totals:
        raise ConfigError("fewer than 4 pictures", where="images", fix="Give 4 or more, better some hundred")
    cross, own, others = (torch.stack(each).mean(dim=0) for each in zip(*totals, strict=True))
    cka = (cross / (own[:, None] * others[None]).clamp_min(0).sqrt()).cpu().numpy()
    names = [sides[0].names, sides[0].names if shared else sides[1].names]
    return Similarity(*names, cka.astype(np.float32), sides[0].tokens, sides[1].tokens, seen, largest, other is None)


class _Side:
    """One model of the comparison."""

    def __init__(self, model: nn.Module, tokens: str, wanted: Sequence[str] | None) -> None:
        self.model, self.wanted = model, wanted
        self.names: tuple[str, ...] = ()
        self._recorded: dict[str, None] = {}
        has_class_token = getattr(model.config, "class_token", False)
        self.tokens = "mean" if tokens == "cls" and not has_class_token else tokens

    def grams(self, images: Tensor, at_once: int = 32) -> Tensor:
        """Return the Gram matrices (layers, n, n) of the features of n pictures, diagonal included."""
        parts: list[dict[str, Tensor]] = []
        with still(self.model), torch.no_grad():
            for part in chunks(len(images), at_once):
                record = Kept(self._keep)
                self.model(as_input(self.model, images[part]), record)
                parts.append(dict(record))
        self.names = choose(self.wanted, self._recorded, parts[0])
        return torch.stack([_gram(torch.cat([part[name] for part in parts])) for name in self.names])

    def _keep(self, name: str, value: Any) -> Tensor | None:
        self._recorded[name] = None
        wanted = is_layer(name) if self.wanted is None else name in self.wanted
        if not wanted or not isinstance(value, Tensor):
            return None
        if value.ndim == 2:  # features, logits
            return value
        tokens = as_tokens(value)
        if self.tokens == "mean":
            return tokens[:, self.model.num_prefix_tokens :].mean(dim=1)
        return tokens[:, 0] if self.tokens == "cls" else tokens.flatten(1)


def _pairs(images: Pictures, others: Pictures | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield minibatches of 4 pictures or more, and the same pictures for the other model (None: the same tensor)."""
    first = _batches(images, size)
    second: Iterator[Tensor | None] = itertools.repeat(None) if others is None else _batches(others, size)
    for x in first:
        y = next(second, x.new_zeros(0))
        if y is not None and len(y) != len(x):
            raise ConfigError(f"{len(x)} pictures beside {len(y)}", where="other_images", fix="Give the same pictures")
        if len(x) >= SMALLEST:
            yield x, y


def _batches(images: Pictures, size: int) -> Iterator[Tensor]:
    if not isinstance(images, Tensor):
        yield from images
        return
    for part in chunks(len(images), max(size, SMALLEST)):
        yield images[part]


def _gram(features: Tensor) -> Tensor:
    """Return X X^T (n, n) in float64 of features (n, p), their mean taken off (which HSIC does not see).

    Features that differ by no more than rounding give zeros.
    """
    flat = features.detach().flatten(1)
    gram, size = flat.new_zeros(len(flat), len(flat), dtype=torch.float64), 0.0
    for columns in flat.split(_COLUMNS, dim=1):
        wide = columns.double()
        size = size + wide.square().sum()
        wide = wide - wide.mean(dim=0)
        gram += wide @ wide.T
    return gram * (gram.trace() > _ROUNDING * size)


def _hsic(k: Tensor, other: Tensor) -> Tensor:
    """Return HSIC_1 (a, b) of Gram matrices k (a, n, n) and other (b, n, n) (Song et al. 2012)."""
    n = k.shape[-1]
    k, other = _hollow(k), _hollow(other)
    sums, other_sums = k.sum(dim=-1), other.sum(dim=-1)
    trace = k.flatten(1) @ other.flatten(1).T
    both = sums.sum(dim=-1)[:, None] * other_sums.sum(dim=-1)[None] / ((n - 1) * (n - 2))
    return (trace + both - 2 / (n - 2) * (sums @ other_sums.T)) / (n * (n - 3))


def _hsic_own(k: Tensor) -> Tensor:
    """Return HSIC_1 (a,) of each of k (a, n, n) with itself."""
    return torch.cat([_hsic(each[None], each[None])[0] for each in k])


def _hollow(k: Tensor) -> Tensor:
    return k * (1 - torch.eye(k.shape[-1], dtype=k.dtype, device=k.device))


def _biased_hsic(grams: Tensor) -> Tensor:
    """Return trace(K H L H) (a, a) of Gram matrices of centred features."""
    flat = grams.flatten(1)
    return flat @ flat.T
