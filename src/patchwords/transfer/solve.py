"""A head solved, not trained: logistic regression on the features of pictures as they are."""

from __future__ import annotations

import numpy as np
import torch

from .. import checkpoint
from ..checkpoint import LoadedModel
from ..training.folder import START
from ..training.job import Job
from .axes import find_axes
from .cache import FeatureCache
from .features import build_extractor, load_features
from .logistic import fit_logistic


def solve_head(job: Job) -> str:
    """Write RUN/start again, with a head fitted to the training pictures; return a line about it.

    Features are those of training and validation pictures, kept in the cache; the head learns from the former only.
    """
    loaded = checkpoint.load_model(job.out / START)
    manifest = job.manifest
    numbers = np.sort(np.concatenate([manifest.split("train"), manifest.split("val")]))
    hashes = [manifest.pictures[i].sha256 for i in numbers.tolist()]
    extractor = build_extractor(loaded)
    features = load_features(
        extractor, hashes, lambda: job.pixel_batches(numbers, 128), FeatureCache(),
        name=lambda place: manifest.pictures[numbers[place]].path,
    )  # fmt: skip
    train = np.isin(numbers, manifest.split("train"))
    labels = manifest.labels[numbers]
    fitted = fit_logistic(find_axes(features.values[train]), labels[train], len(manifest.classes))
    write_head(loaded, fitted.weights, fitted.bias)
    checkpoint.save_model(
        job.out / START, loaded.model.config, loaded.model.state_dict(), loaded.classes, loaded.preprocess,
        loaded.provenance,
    )  # fmt: skip
    return f"recipe    logistic regression on {extractor.num_features} features, penalty {fitted.l2:g}"


@torch.no_grad()
def write_head(loaded: LoadedModel, weights: np.ndarray, bias: np.ndarray) -> None:
    """Put weights (D, K) and bias (K,) into the head.

    A distilled model answers with the mean of two heads. The second reads a token of its own, for which nothing was
    fitted: it becomes zero and the first twice as large.
    """
    model = loaded.model
    share = 1.0 if model.head_dist is None else 2.0
    model.head.weight.copy_(torch.from_numpy(share * weights.T))
    model.head.bias.copy_(torch.from_numpy(share * bias))
    if model.head_dist is not None:
        for part in model.head_dist.parameters():
            part.zero_()
