"""Frozen features: the vector y that a model gives each picture before its head, computed once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import LoadedModel, tensors_hash
from ..config import PRECISIONS
from ..decode import DECODE_RULE
from ..device import DTYPES, choose_device, computes_in_bf16
from ..errors import ConfigError, NonFiniteError, nearest
from ..overrides import to_dict
from .cache import FeatureCache

_VERSION = 1
"""of how features are computed; another one makes every key another"""
LARGE = 20_000_000
"""parameters from which bf16 is chosen where the processor computes in it (ViT-S has 22 million)"""


@dataclass(frozen=True)
class Extractor:
    """A model in evaluation mode that answers with features, and where and how it computes."""

    loaded: LoadedModel
    device: str
    precision: str
    """fp32; bf16: matrix products in bfloat16, sums and norms in float32"""
    reason: str
    """for the precision"""

    @property
    def num_features(self) -> int:
        """Numbers a picture."""
        return self.loaded.model.num_features

    @cached_property
    def weights_hash(self) -> str:
        """sha256 of all weights."""
        return tensors_hash(self.loaded.model.state_dict())

    def compute(self, batches: Iterable[Tensor], seen: Callable[[int], None] = lambda count: None) -> Tensor:
        """Return features (N, num_features), float32, of batches of uint8 pixels (B, C, H, W), each picture once."""
        home = next(self.loaded.model.parameters()).device
        model, rows, count = self.loaded.model.to(self.device).eval(), [], 0
        bf16 = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device, DTYPES["bf16"], enabled=bf16):
            for pixels in batches:
                images = self.loaded.preprocess.normalize(pixels.to(self.device))
                rows.append(features_of(model, images).float().cpu())
                count += len(pixels)
                seen(count)
        model.to(home)
        return torch.cat(rows) if rows else torch.zeros(0, self.num_features)

    def key(self, hashes: Sequence[str]) -> str:
        """Return the sha256 of all that the features of pictures with these `hashes` follow from.

        Weights, architecture, preprocessing, the pictures in their order, device and precision.
        """
        content = [
            _VERSION,
            self.weights_hash,
            to_dict(self.loaded.model.config),
            dataclasses.asdict(self.loaded.preprocess),
            DECODE_RULE,
            self.device,
            self.precision,
            list(hashes),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def build_extractor(loaded: LoadedModel, precision: str = "auto") -> Extractor:
    """Return the Extractor of a model on the fastest device there is.

    Args:
        loaded: with a model that keeps the contract of models/contract.py.
        precision: fp32, bf16; auto: bf16 for 20 million parameters or more where the processor computes in it.

    Raises:
        ConfigError: no such precision, or the model has no one vector for a picture.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}", where="--precision", fix=nearest(precision, PRECISIONS))
    model = loaded.model
    if getattr(model.config, "pool", "") == "none" or model.num_features < 1:
        raise ConfigError(
            "has no one vector of features for a picture",
            where="model.pool",
            fix="Give a checkpoint that pools its tokens: cls, mean, cls+mean or map",
        )
    device = choose_device("auto")
    if precision != "auto":
        return Extractor(loaded, device, precision, "asked for")
    large = sum(parameter.numel() for parameter in model.parameters()) >= LARGE
    native = computes_in_bf16(device)
    reason = "the model is small" if not large else "native here" if native else "bf16 is not native here"
    return Extractor(loaded, device, "bf16" if large and native else "fp32", reason)


def features_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the features y (B, num_features) of normalised images: what the model records under that name.

    The cost of the head is that of one small product; without `record` in the blocks they take their fast path.
    """
    record: dict[str, Tensor] = {}
    model.forward_head(model.forward_features(images), record)
    return record["features"]


@dataclass(frozen=True)
class Features:
    """Features of a list of pictures."""

    values: np.ndarray
    """(N, D) float32"""
    cached: bool
    """they were read, not computed"""


def load_features(
    extractor: Extractor,
    hashes: Sequence[str],
    batches: Callable[[], Iterable[Tensor]],
    cache: FeatureCache | None,
    seen: Callable[[int], None] = lambda count: None,
    name: Callable[[int], str] = str,
) -> Features:
    """Return features from the cache, or compute and keep them.

    Args:
        extractor: what computes.
        hashes: sha256 (N,) of the pictures.
        batches: called when they have to be computed: uint8 pixels (B, C, H, W) in the order of `hashes`.
        cache: where they are kept; None: nowhere.
        seen: called with the number done.
        name: of a picture by its number, for a message.

    Raises:
        NonFiniteError: a feature is not a finite number; nothing is kept.
    """
    key = extractor.key(hashes) if cache else ""
    kept = cache.load(key) if cache else None
    if kept is not None and kept.shape == (len(hashes), extractor.num_features):
        return Features(kept.numpy(), True)
    values = extractor.compute(batches(), seen)
    finite = torch.isfinite(values).all(dim=1)
    if not finite.all():
        bad = torch.nonzero(~finite).flatten().tolist()
        raise NonFiniteError(
            f"features of {len(bad)} of {len(values)} pictures are not finite numbers",
            where=name(bad[0]),
            fix="The weights are damaged or blew up in training"
            + ("; or try --precision fp32" if extractor.precision == "bf16" else ""),
        )
    if cache:
        cache.save(key, values)
    return Features(values.numpy(), False)
