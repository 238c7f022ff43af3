"""What a study asks: fixed when it begins, written in STUDY/study.yaml, and compared when it goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..architecture import in_range, one_of
from ..config import TransferConfig
from ..data.levels import AUGMENT_LEVELS
from ..errors import CheckpointError, ConfigError, nearest
from ..overrides import parse_settings

MATCHES = ("samples", "epochs", "flops", "params", "time")
SCALES = ("tiny", "micro", "nano")
RATES = (3e-4, 1e-3, 3e-3)
SETTABLE = ("data", "augment", "optimizer", "schedule", "train")
"""sections whose settings hold for every cell alike"""
DECIDED = {
    "data.source": "--data",
    "optimizer.lr": "--lrs",
    "train.epochs": "--epochs with --match epochs",
    "train.steps": "--samples",
    "train.seed": "--seeds",
    "train.precision": "--precision",
    "train.compile": "",
    "train.threads": "",
    "train.eval_epochs": "",
    "train.watch_epochs": "",
    "train.report": "",
    "train.tensorboard": "",
    "train.log_steps": "",
}
"""setting that the study decides -> the option that says it"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which models, with how much data, and what is the same for all of them."""

    data: str = ""
    """as for `patchwords train`"""
    models: tuple[str, ...] = ()
    """kinds (vit, cnn, ...) or names of `patchwords models`"""
    sizes: tuple[int | str, ...] = ("all",)
    """training pictures; all: every one"""
    seeds: int = 3
    """of subset, first weights and order: 0 .. seeds - 1"""
    match: str = "samples"
    """what is the same for all models: samples seen, epochs, flops, params (and samples), time"""
    samples: int = 0
    """training samples seen by a cell (of the first model, for flops and time); 0: chosen from the sizes"""
    epochs: float = 0.0
    """how often each picture is seen, for match epochs; 0: as many as samples say at the largest size"""
    augment: tuple[str, ...] = ("none",)
    """levels of augmentation"""
    sources: tuple[str, ...] = ()
    """checkpoints to go on from, each an arm of its own"""
    tune: str = "all"
    """what of them moves: head, lora, last-K, all"""
    rates: tuple[float, ...] = RATES
    """learning rates to choose from; a tenth of them for checkpoints"""
    choose_share: float = 0.25
    """samples of a trial of one rate, as a share of those of a cell"""
    scale: str = "micro"
    """tiny, micro, nano: which presets the kinds stand for"""
    bootstrap: int = 0
    """models for bias and variance, each trained on pictures drawn with replacement"""
    disjoint: int = 0
    """models for bias and variance, no two of which see the same picture"""
    precision: str = "fp32"
    """fp32 or bf16, for all cells"""
    settings: Mapping[str, str] = field(default_factory=dict)
    """{"section.field": "text"} for all cells"""

    def __post_init__(self) -> None:
        one_of("--match", self.match, MATCHES)
        one_of("--scale", self.scale, SCALES)
        one_of("--precision", self.precision, ("fp32", "bf16"))
        in_range("--seeds", self.seeds, 1, 10_000)
        in_range("--samples", self.samples, 0, 1e12)
        in_range("--epochs", self.epochs, 0, 1e6)
        in_range("--choose-share", self.choose_share, 0.01, 1.0)
        in_range("--bootstrap", self.bootstrap, 0, 1000)
        in_range("--disjoint", self.disjoint, 0, 1000)
        self._check_lists()
        self._check_settings()
        if self.epochs and self.match != "epochs":
            raise ConfigError("needs --match epochs", where="--epochs", fix="Or give --samples")
        if self.samples and self.match == "epochs" and self.epochs:
            raise ConfigError("is given beside --epochs", where="--samples", fix="Give one of the two")
        if self.sources:
            one_of("--tune", "last-1" if TransferConfig(tune=self.tune).last_blocks else self.tune,
                   ("head", "lora", "all", "last-1"))  # fmt: skip

    def _check_lists(self) -> None:
        if not self.models and not self.sources:
            raise ConfigError("no model was given", where="--models", fix="For example --models vit,cnn,mlp")
        for option in ("models", "sizes", "augment", "sources", "rates"):
            values = getattr(self, option)
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise ConfigError(f"{twice} is given twice", where=_option(option))
        for option in ("sizes", "augment", "rates"):
            if not getattr(self, option):
                raise ConfigError("is empty", where=_option(option))
        for size in self.sizes:
            if size != "all" and (not isinstance(size, int) or size < 2):
                raise ConfigError(f"{size!r} is not a number of pictures", where="--sizes", fix="Give 500,2000,all")
        for rate in self.rates:
            if not 0 < rate < 100:
                raise ConfigError(f"{rate:g} is not a learning rate", where="--lrs", fix="Give for example 3e-4,1e-3")
        for level in self.augment:
            if level not in AUGMENT_LEVELS:
                raise ConfigError(f"{level!r} is not a level", where="--augment", fix=nearest(level, AUGMENT_LEVELS))

    def _check_settings(self) -> None:
        for name in self.settings:
            if name.partition(".")[0] not in SETTABLE:
                raise ConfigError("cannot be set for a study", where=name, fix=f"Sections: {', '.join(SETTABLE)}")
            if name in DECIDED:
                option = DECIDED[name]
                fix = f"Give {option}" if option else "Leave it out"
                raise ConfigError("is decided by the study", where=name, fix=fix)
        parse_settings(self.settings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in told.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Question:
        """Return what `as_dict` wrote.

        Raises:
            CheckpointError: it is not that.
        """
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except (TypeError, ValueError, ConfigError) as error:
            detail = error.line() if isinstance(error, ConfigError) else "does not hold a question"
            raise CheckpointError(detail, where=where, fix="Restore it, or give another --out") from error

    def require_same(self, other: Question, out: str) -> None:
        """Raise ConfigError naming the first thing that `other` asks differently from what the study in `out` does."""
        mine, theirs = self.as_dict(), other.as_dict()
        changed = [name for name in mine if mine[name] != theirs[name]]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"asks another question: {_option(name)} was {_told(mine[name])}, now {_told(theirs[name])}",
                where=out,
                fix="Give the same options to go on with it, none to go on with whatever it asks, or another --out",
            )


def _option(name: str) -> str:
    return "--" + {"sources": "from", "rates": "lrs", "choose_share": "choose-share"}.get(name, name)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: value[name] for name in sorted(value)}
    return list(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value) or "nothing"
    if isinstance(value, dict):
        return " ".join(f"--{name} {text}" for name, text in value.items()) or "nothing"
    return str(value)
