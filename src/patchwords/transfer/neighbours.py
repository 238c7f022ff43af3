"""The k nearest neighbours by cosine: each votes for its class, weighted by its likeness or alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

TEMPERATURE = 0.07
"""of DINO: a likeness s weighs exp(s / 0.07)"""
NEIGHBOURS = 20
"""of DINO, the best of those that they tried"""
_ENTRIES = 2**23
"""likenesses held at a time"""


@dataclass(frozen=True)
class Votes:
    """Votes for each picture."""

    weighted: np.ndarray
    """(N, K) sums of exp((s - largest s) / temperature) over the neighbours of each class"""
    counted: np.ndarray
    """(N, K) numbers of neighbours of each class; a tie goes to the larger `weighted`, as a part below 1"""


def vote(
    known: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    asked: np.ndarray,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Votes:
    """Return the votes of the k nearest of the `known` features for each of those `asked` about.

    Args:
        known: (M, D) features with labels (M,); when there are fewer than k, all vote.
        asked: (N, D) features.
        temperature: above 0.

    Source: 2104.14294, sec. 4.1 and appendix; the weighting is that of Wu et al., 1805.01978, sec. 3.4.
    """
    pool, asked_unit = _unit(known), _unit(asked)
    classes = torch.from_numpy(labels)
    k = min(k, len(labels))
    weighted, counted = (torch.zeros(len(asked), num_classes, dtype=torch.float64) for _ in range(2))
    rows = max(1, _ENTRIES // len(labels))
    for start in range(0, len(asked), rows):
        part = slice(start, start + rows)
        likeness, nearest = (asked_unit[part] @ pool.T).topk(k, dim=1)
        weights = ((likeness - likeness[:, :1]).double() / temperature).exp()
        weighted[part].scatter_add_(1, classes[nearest], weights)
        counted[part].scatter_add_(1, classes[nearest], torch.ones_like(weights))
    share = weighted / (weighted.sum(dim=1, keepdim=True) * 2)
    return Votes(weighted.numpy(), (counted + share).numpy())


def _unit(features: np.ndarray) -> torch.Tensor:
    """Return features scaled to length 1, in float32."""
    return torch.nn.functional.normalize(torch.from_numpy(np.asarray(features, dtype=np.float64)), dim=1).float()
