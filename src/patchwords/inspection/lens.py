"""The logit lens: what the head would answer from the tokens of an earlier layer, for the picture and for each patch.

The last LayerNorm and the head are put on the tokens after each layer (nostalgebraist, 2020; for
ViTs Vilas et al., 2310.18969). Nothing is trained, so that a low layer that answers badly may still hold the
answer in another basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .results import Progress, Row, table
from .still import Kept, as_input, batches, chunks, still
from .stream import as_tokens, is_layer, place
from .trace import Pictures

POOLS = ("cls", "mean")
"""heads that read one token, or a mean of tokens, so that one patch can stand for all"""
_PATCHES = 1 << 12
"""patches read at a time: their logits stay below 16 MB for 1000 classes"""


@dataclass(frozen=True)
class Lens:
    """What each layer would answer, if it were the last."""

    layers: tuple[str, ...]
    """names of the record; the last is what the model answers"""
    accuracy: np.ndarray
    """(layers,) share of the pictures answered rightly; nan without labels"""
    patch_accuracy: np.ndarray
    """(layers,) share of all patches that answer rightly by themselves; nan without labels"""
    agreement: np.ndarray
    """(layers,) share of the pictures answered as the whole model does"""
    rank: np.ndarray
    """(layers, pictures) place of the model's answer among the classes, from 1"""
    probability: np.ndarray
    """(layers, pictures) of the model's answer"""
    answers: np.ndarray
    """(layers, pictures) most probable class"""
    targets: np.ndarray
    """(pictures drawn,) class of `maps`"""
    maps: np.ndarray
    """(layers, pictures drawn, rows, columns) probability of the class of `targets` from each patch by itself"""

    def rows(self) -> list[Row]:
        """Return one line a layer, means over pictures."""
        means = {"mean_rank": self.rank.mean(axis=1), "mean_probability": self.probability.mean(axis=1)}
        shares = {name: getattr(self, name) for name in ("accuracy", "patch_accuracy", "agreement")}
        return table([("layer", self.layers)], **shares, **means)


def read_layers(
    model: nn.Module,
    images: Pictures,
    labels: Tensor | np.ndarray | None = None,
    targets: Tensor | np.ndarray | None = None,
    *,
    drawn: int = 8,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Lens:
    """Read the answer out of every layer.

    Args:
        images: normalised pictures, all of one size.
        labels: (pictures,) right classes, -1 for unknown.
        targets: (drawn pictures,) classes to map; None: the model's answers.
        drawn: of how many of the first pictures maps are kept.

    Raises:
        ConfigError: the head reads neither the class token nor the mean of the patches, or the layers are not as
            wide as it; labels or targets that do not fit.
    """
    _check(model)
    reader = _Reader(model, None if targets is None else np.asarray(targets), drawn)
    known, seen = None if labels is None else np.asarray(labels), 0
    for batch in batches(images, batch_size, progress):
        right = None if known is None else known[seen : seen + len(batch)]
        seen += len(batch)
        if right is None or len(right) == len(batch):
            reader.read(batch, right)
    if known is not None and len(known) != seen:
        raise ConfigError(f"{len(known)} labels for {seen} pictures", where="labels")
    return reader.result()


def _check(model: nn.Module) -> None:
    config = model.config
    name, fix = type(model).__name__, "Heads on the class token or the mean of the patches can be read"
    if not isinstance(getattr(model, "norm", None), nn.Module):
        raise ConfigError(f"the head of this {name} is made for its last layer, and no norm makes the others alike")
    if getattr(config, "pool", "mean") not in POOLS:
        raise ConfigError(f"the head of this {name} cannot read single tokens", where="model.pool", fix=fix)
    if not getattr(config, "num_classes", 0):
        raise ConfigError("the model has no head to read with", where="model.num_classes", fix="Give a trained model")


class _Reader:
    """Reads pictures batch by batch and gathers what was read."""

    def __init__(self, model: nn.Module, targets: np.ndarray | None, drawn: int) -> None:
        self.model, self.targets, self.drawn = model, targets, drawn
        self.layers: tuple[str, ...] = ()
        self._seen = 0
        self._gathered: dict[str, list[np.ndarray]] = {}
        self._asked: list[np.ndarray] = []

    def read(self, images: Tensor, labels: np.ndarray | None) -> None:
        """Read every layer of one batch."""
        with still(self.model), torch.no_grad():
            record = Kept(lambda name, value: as_tokens(value) if is_layer(name) and name != "encoded" else None)
            final = self.model(as_input(self.model, images), record).argmax(dim=1)
            self.layers = tuple(record)
            asked = self._targets(final)
            _, grid = place(self.model, images.shape[2:], record[self.layers[-1]].shape[1])
            layers = [self._layer(tokens, final, asked, labels) for tokens in record.values()]
        for name in layers[0]:
            self._gathered.setdefault(name, []).append(np.stack([layer[name] for layer in layers]))
        maps = self._gathered["maps"][-1]
        self._gathered["maps"][-1] = maps.reshape(*maps.shape[:2], *grid)
        self._asked.append(asked.cpu().numpy())
        self._seen += len(images)

    def _targets(self, final: Tensor) -> Tensor:
        """Return the classes (n,) to map of the next pictures that are to be drawn, n being 0 when there are enough."""
        count = max(0, min(self.drawn - self._seen, len(final)))
        if self.targets is None:
            return final[:count]
        wanted = torch.as_tensor(self.targets[self._seen : self._seen + count], device=final.device).long()
        classes = self.model.config.num_classes
        if len(wanted) != count or not ((wanted >= 0) & (wanted < classes)).all():
            fix = f"Give one of 0 to {classes - 1} for each picture drawn"
            raise ConfigError(f"targets {self.targets.tolist()}", where="targets", fix=fix)
        return wanted

    def _layer(self, tokens: Tensor, final: Tensor, asked: Tensor, labels: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return what one layer says of each picture."""
        prefix, count = self.model.num_prefix_tokens, len(tokens)
        if tokens.shape[2] != self.model.num_features:
            what = f"a layer of width {tokens.shape[2]}, the head reads {self.model.num_features}"
            raise ConfigError(what, where="model.pool")
        encoded = self.model.norm(tokens)
        logits = self.model.forward_head(encoded).float()
        own = logits.gather(1, final[:, None])
        patches, shares, right = encoded[:, prefix:], [], []
        known = None if labels is None else torch.as_tensor(labels, device=final.device)
        for part in chunks(count, max(1, _PATCHES // patches.shape[1])):
            single = self._of_patches(patches[part])
            maps = single[: max(0, len(asked) - part.start)]
            target = asked[part.start : part.start + len(maps), None, None].expand(-1, maps.shape[1], 1)
            shares.append(maps.softmax(dim=2).gather(2, target)[..., 0])
            right.append((single.argmax(dim=2) == (-1 if known is None else known[part, None])).float().mean(dim=1))
        answers = logits.argmax(dim=1)
        found = {
            "answers": answers,
            "rank": 1 + (logits > own).sum(dim=1),
            "probability": logits.softmax(dim=1).gather(1, final[:, None])[:, 0],
            "agreement": (answers == final).float(),
            "accuracy": torch.full_like(own[:, 0], torch.nan) if known is None else (answers == known).float(),
            "patch_accuracy": torch.full_like(own[:, 0], torch.nan) if known is None else torch.cat(right),
            "maps": torch.cat(shares),
        }
        return {name: value.cpu().numpy() for name, value in found.items()}

    def _of_patches(self, patches: Tensor) -> Tensor:
        """Return logits (B, N, K): each patch (B, N, D) answers alone, standing for all tokens that the head reads."""
        alone = patches.flatten(0, 1)[:, None].expand(-1, self.model.num_prefix_tokens + 1, -1)
        return self.model.forward_head(alone).float().unflatten(0, patches.shape[:2])

    def result(self) -> Lens:
        """Return all that was read."""
        found = {name: np.concatenate(parts, axis=1) for name, parts in self._gathered.items()}
        means = {name: found.pop(name).mean(axis=1) for name in ("accuracy", "patch_accuracy", "agreement")}
        return Lens(self.layers, **means, **found, targets=np.concatenate(self._asked))
