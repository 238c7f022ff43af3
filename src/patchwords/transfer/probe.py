"""Probes: how good the frozen features of a model are on labelled pictures, with few of them and with all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import LoadedModel
from ..data.evaluation import eval_batches
from ..errors import ConfigError, nearest
from ..progress import say, show_progress
from .axes import find_axes
from .cache import FeatureCache
from .draws import Draws
from .examples import Examples, open_examples
from .features import Extractor, Features, build_extractor, load_features
from .few_shot import fit_ridge
from .interval import Accuracy
from .logistic import fit_logistic
from .neighbours import NEIGHBOURS, TEMPERATURE, vote

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """What is asked of the features."""

    shots: tuple[int | str, ...] = (1, 5, 10, ALL)
    """pictures of each class to learn from; all: every training picture, once"""
    repeats: int = 10
    """draws for each number of shots"""
    split: str = ""
    """test or val: what is measured on; "": test where there is one"""
    l2: float | None = None
    """penalty of the ridge; None: chosen by leaving one out"""
    neighbours: int = NEIGHBOURS
    """that vote"""
    temperature: float = TEMPERATURE
    """of their weights"""
    seed: int = 0
    """of the draws"""
    precision: str = "auto"
    """fp32, bf16, auto"""
    batch_size: int = 128
    """pictures computed at a time"""
    cache: bool = True
    """keep features, and use those that were kept"""

    def __post_init__(self) -> None:
        for shots in self.shots:
            if shots != ALL and (isinstance(shots, str | bool) or shots < 1):
                raise ConfigError(f"{shots!r} is not a number of pictures", where="--shots", fix="Give 1,5,10 or all")
        for name, low in (("repeats", 1), ("neighbours", 1), ("batch_size", 1), ("seed", 0)):
            if not low <= getattr(self, name) < 2**32:
                raise ConfigError(
                    f"{getattr(self, name)} is out of range", where=f"--{name}", fix=f"Give {low} or more"
                )
        for name in ("l2", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{value} is not a number above 0", where=f"--{name}", fix="Give one, such as 1")
        if not self.shots:
            raise ConfigError("nothing to learn from", where="--shots", fix="Give 1,5,10 or all")
        if self.split not in ("", "val", "test"):
            fix = f"{nearest(self.split, ('val', 'test'))}; train is what is learned from"
            raise ConfigError(f"cannot measure on {self.split!r}", where="--split", fix=fix)


@dataclass(frozen=True)
class Shots:
    """How right the probes are that learn from `shots` pictures of each class."""

    shots: int | str
    """or all"""
    num_pictures: int
    """learned from in each repeat"""
    short_classes: tuple[str, ...]
    """with fewer pictures than that"""
    ridge: Accuracy
    neighbours: Accuracy
    """nearest neighbours, weighted vote"""
    majority: Accuracy
    """nearest neighbours, each with one vote"""
    logistic: Accuracy
    ridge_l2: tuple[float, ...]
    """chosen in each repeat"""
    logistic_l2: tuple[float, ...]
    """chosen in each repeat"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, Accuracy)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()} | {
            name: value.as_dict() for name, value in vars(self).items() if isinstance(value, Accuracy)
        }


@dataclass(frozen=True)
class Probe:
    """What the frozen features of a model are worth on a data set."""

    data: str
    split: str
    """measured on"""
    classes: tuple[str, ...]
    num_train: int
    num_measured: int
    num_features: int
    device: str
    precision: str
    cached: bool
    """all features were read from the cache"""
    seen_in_training: int
    """measured pictures that the run which made the checkpoint was trained on; 0 too where nobody knows"""
    settings: ProbeSettings
    rows: tuple[Shots, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = dict(vars(self)) | {"classes": list(self.classes)}
        values["settings"] = vars(self.settings) | {"shots": list(self.settings.shots)}
        values["rows"] = [row.as_dict() for row in self.rows]
        return values


def probe_model(loaded: LoadedModel, data: str, settings: Mapping[str, Any], run: Path | None = None) -> Probe:
    """Return the Probe of `loaded` on `data`: learned from its train split, measured on test or val.

    Nothing is chosen by the measured pictures.

    Args:
        loaded: checkpoint; its classes need not be those of `data`.
        data: as for `train`.
        settings: fields of ProbeSettings, and of the data as data__NAME.
        run: as for `open_examples`.

    Raises:
        ConfigError, DataError, MissingError, NonFiniteError: as the parts do; one class only is a DataError.
    """
    own = {name: value for name, value in settings.items() if "__" not in name}
    known = ProbeSettings.__dataclass_fields__
    if strange := sorted(own.keys() - known.keys()):
        raise ConfigError("unknown setting", where=strange[0], fix=nearest(strange[0], known))
    asked = ProbeSettings(**own)
    extractor = build_extractor(loaded, asked.precision)
    texts = {name.replace("__", "."): str(value) for name, value in settings.items() if "__" in name}
    examples = open_examples(data, asked.split, texts, run)
    classes = examples.manifest.classes
    say(f"model     {extractor.num_features} features a picture; {extractor.precision} on {extractor.device} "
        f"({extractor.reason})")  # fmt: skip
    say(f"data      {len(classes)} classes: learning from train ({len(examples.train)} pictures), measured on "
        f"{examples.split} ({len(examples.measured)})")  # fmt: skip
    cache = FeatureCache() if asked.cache else None
    features = [
        _features_of(extractor, examples, label, numbers, cache, asked.batch_size)
        for label, numbers in (("train", examples.train), (examples.split, examples.measured))
    ]
    labels = [examples.manifest.labels[numbers] for numbers in (examples.train, examples.measured)]
    problem = _Problem(features[0].values, labels[0], features[1].values, labels[1], len(classes), asked)
    draws = Draws(labels[0], examples.hashes(examples.train), classes, asked.seed)
    return Probe(
        data=data,
        split=examples.split,
        classes=classes,
        num_train=len(examples.train),
        num_measured=len(examples.measured),
        num_features=extractor.num_features,
        device=extractor.device,
        precision=extractor.precision,
        cached=all(each.cached for each in features),
        seen_in_training=examples.seen_in_training,
        settings=asked,
        rows=tuple(_measure(problem, draws, shots) for shots in sorted(set(asked.shots), key=_order)),
    )


def _order(shots: int | str) -> float:
    return float("inf") if shots == ALL else float(shots)


@dataclass(frozen=True)
class _Problem:
    """Features and labels: of the pictures one may learn from, and of those that are asked about."""

    known: np.ndarray
    labels: np.ndarray
    asked: np.ndarray
    answers: np.ndarray
    num_classes: int
    settings: ProbeSettings

    def right(self, scores: np.ndarray) -> float:
        """Return the share of right answers of scores (N, K)."""
        return float((scores.argmax(axis=1) == self.answers).mean())


def _measure(problem: _Problem, draws: Draws, shots: int | str) -> Shots:
    settings = problem.settings
    count = None if shots == ALL else int(shots)
    found: dict[str, list[float]] = {name: [] for name in ("ridge", "neighbours", "majority", "logistic")}
    penalties: dict[str, list[float]] = {"ridge": [], "logistic": []}
    repeats = 1 if count is None else settings.repeats
    bar = show_progress(f"probing, {shots} shots" if count else "probing, all pictures")
    numbers = np.zeros(0)
    for repeat in range(repeats):
        numbers = draws.numbers(repeat, count)
        known, labels = problem.known[numbers], problem.labels[numbers]
        axes = find_axes(known)
        fits = {
            "ridge": fit_ridge(axes, labels, problem.num_classes, settings.l2),
            "logistic": fit_logistic(axes, labels, problem.num_classes),
        }
        for name, fit in fits.items():
            found[name].append(problem.right(fit.scores(problem.asked)))
            penalties[name].append(fit.l2)
        votes = vote(known, labels, problem.num_classes, problem.asked, settings.neighbours, settings.temperature)
        found["neighbours"].append(problem.right(votes.weighted))
        found["majority"].append(problem.right(votes.counted))
        bar(repeat + 1, repeats)
    return Shots(
        shots=shots,
        num_pictures=len(numbers),
        short_classes=draws.short(count) if count else (),
        **{name: Accuracy(tuple(values)) for name, values in found.items()},
        ridge_l2=tuple(penalties["ridge"]),
        logistic_l2=tuple(penalties["logistic"]),
    )


def _features_of(
    extractor: Extractor,
    examples: Examples,
    label: str,
    numbers: np.ndarray,
    cache: FeatureCache | None,
    batch_size: int,
) -> Features:
    """Return the Features of the numbered pictures."""
    bar, pictures, preprocess = show_progress(f"reading {label}"), examples.pictures, extractor.loaded.preprocess
    return load_features(
        extractor,
        examples.hashes(numbers),
        lambda: eval_batches(pictures, numbers, preprocess, batch_size, examples.workers),
        cache,
        lambda done: bar(done, len(numbers)),
        lambda row: pictures.where(int(numbers[row])),
    )
