"""A model tuned to other pictures: adapted, written once as the start of a run, and trained by the one engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import checkpoint, files, training
from ..checkpoint import LoadedModel
from ..config import DataConfig, RunConfig, TransferConfig
from ..data import sources as data_sources
from ..data.manifest import Manifest
from ..data.survey import Survey
from ..errors import ConfigError
from ..formats.adapt import adapt_model
from ..metrics import Evaluation
from ..overrides import parse_settings
from ..progress import say
from ..training import Request
from ..training.folder import START
from ..training.job import Job
from ..training.setup import list_pictures
from ..training.start import require_blocks
from . import recipe
from .range_check import check_range
from .recipe import TuneChoice
from .solve import solve_head

RANGE_CHECK = "range_check.json"
FREE = ("dropout", "attention_dropout", "drop_path", "patch_dropout", "merge", "merge_schedule")
"""settings of a model that change nothing of what its weights mean"""
ADAPTED = ("image_size", "patch_size", "in_channels", "position_resize")
"""settings of a model that its weights are adapted to"""
LEARNING_RATES = ("optimizer.lr", "optimizer.muon_lr")

Load = Callable[[str], LoadedModel]


@dataclass(frozen=True)
class TuneRequest:
    """What was asked for; empty means: chosen from the checkpoint and the pictures."""

    checkpoint: str
    """a name that `load` reads"""
    data: str = ""
    tune: str = "auto"
    """probe, head, lora, last-K, all, auto"""
    image_size: str = ""
    """pixels, "48" or "48x32" """
    preset: str = ""
    """name of a paper's settings"""
    augment: str = ""
    """name of an augmentation level"""
    settings: Mapping[str, str] = field(default_factory=dict)
    """{"section.field": "text"}, the last word"""

    def for_training(self) -> Request:
        """Return the same for the engine."""
        size = {"data.image_size": self.image_size} if self.image_size else {}
        return Request(self.data, "", self.preset, self.augment, {**self.settings, **size, "transfer.tune": self.tune})

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is read.

        Raises:
            ConfigError: an unknown way or setting, or one that the checkpoint decides.
        """
        if self.tune != "auto":
            TransferConfig(tune=self.tune)
        for name in parse_settings(self.settings).get("model", {}):
            if name not in (*FREE, *ADAPTED):
                fix = f"Of a model that is tuned these may be set: {', '.join((*ADAPTED, *FREE))}"
                raise ConfigError("belongs to the checkpoint", where=f"model.{name}", fix=fix)
        for name in ("transfer.tune", "transfer.checkpoint"):
            if name in self.settings:
                raise ConfigError("is not set this way", where=name, fix="Give CHECKPOINT and --tune")
        if self.image_size and {"data.image_size", "model.image_size"} & self.settings.keys():
            raise ConfigError("is given twice", where="--image-size", fix="Leave out data.image_size")


@dataclass(frozen=True)
class TuneResult:
    """What a finished tuning gives back."""

    out: Path
    tune: str
    """what moved; of auto, what was kept"""
    steps: int
    evaluations: dict[str, Evaluation]
    """by split: val and test, as far as there are any"""
    ladder: tuple[dict[str, Any], ...] = ()
    """of auto: each way that was tried, with what it reached on pictures held back"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        evaluations = {name: evaluation.as_dict() for name, evaluation in self.evaluations.items()}
        values = {"out": str(self.out), "tune": self.tune, "steps": self.steps, "evaluations": evaluations}
        return values | ({"ladder": list(self.ladder)} if self.ladder else {})


class Source:
    """The checkpoint, read when it is first needed."""

    def __init__(self, name: str, load: Load) -> None:
        self.name, self._load = name, load

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model with its classes and preprocessing.

        Raises:
            ConfigError: it does not answer with one vector a picture.
        """
        loaded = self._load(self.name)
        if getattr(loaded.model.config, "pool", "") == "none":
            fix = "Give a checkpoint that pools its tokens: cls, mean, cls+mean or map"
            raise ConfigError("answers for every token, not for the picture", where=self.name, fix=fix)
        return loaded

    @cached_property
    def hash(self) -> str:
        """sha256 of its weights."""
        return checkpoint.tensors_hash(self.loaded.model.state_dict())


@dataclass
class Tuning:
    """The start of a run that goes on from a checkpoint; satisfies `training.start.Start`."""

    request: TuneRequest
    source: Source
    manifest: Manifest | None = None
    """the pictures, where they were listed before"""
    adapted: list[str] = field(default_factory=list)
    """what was done to the weights so that they fit"""

    def choose(self, looked: Survey, device: str) -> TuneChoice:
        """Return the settings for pictures that look like this."""
        model = self.source.loaded.model
        require_whole_patches(self.request, model.config.cell_size)
        transfer = TransferConfig(checkpoint=self.request.checkpoint, tune=self.request.tune)
        require_blocks(model, transfer)
        run = recipe.choose(looked, device, self.source.loaded, transfer)
        return TuneChoice(run, sum(parameter.numel() for parameter in model.parameters()), self.adapted)

    def list_pictures(self, source: data_sources.Source, data: DataConfig) -> Manifest:
        """Return the pictures with the splits that the run shall have."""
        return self.manifest or list_pictures(source, data)

    def write(self, out: Path, run: RunConfig, manifest: Manifest) -> RunConfig:
        """Write OUT/start, and return the settings as the adapted model has them.

        A head for other classes is all zeros (2010.11929, sec. 3.2); for the same classes it stays, unless
        transfer.new_head.
        """
        loaded, wanted = self.source.loaded, run.model
        if run.transfer.new_head or run.transfer.tune == "probe":  # a head that is solved has no hidden layer
            loaded = dataclasses.replace(loaded, classes=())
        made, hows = adapt_model(
            loaded,
            image_size=run.data.image_size,
            patch_size=getattr(wanted, "patch_size", None),
            channels=run.data.channels,
            classes=manifest.classes,
            position_resize=getattr(wanted, "position_resize", ""),
        )
        if any("new head" in how for how in hows.values()) and not getattr(made.model.config, "head_bias", True):
            made.model.config = dataclasses.replace(made.model.config, head_bias=True)
            made.model.reset_classifier(len(manifest.classes))
        data = run.data
        if not {"data.mean", "data.std"} & self.request.settings.keys():
            data = dataclasses.replace(data, mean=made.preprocess.mean, std=made.preprocess.std)
        config = dataclasses.replace(
            made.model.config, **{name: getattr(wanted, name) for name in FREE if hasattr(wanted, name)}
        )
        provenance = {
            "checkpoint": self.request.checkpoint,
            "sha256": self.source.hash,
            "adapted": {name: how for name, how in hows.items() if how != "left out"},
            "source": loaded.provenance,
        }
        weights = made.model.state_dict()
        checkpoint.save_model(out / START, config, weights, manifest.classes, made.preprocess, provenance)
        self.adapted[:] = sorted(set(provenance["adapted"].values()))
        return dataclasses.replace(run, model=config, data=data)

    def settle(self, job: Job) -> RunConfig:
        """Return the settings after a last look at model and pictures: a head is solved, or a learning rate found."""
        if job.run.transfer.tune == "probe":
            say(solve_head(job))
            return job.run
        given = self.request.preset or any(name in self.request.settings for name in LEARNING_RATES)
        if given or not job.run.transfer.range_check:
            return job.run
        found = check_range(job)
        files.write_json(job.out / RANGE_CHECK, found.as_dict())
        say(f"optimizer {found.reason}")
        factor = found.lr / job.run.optimizer.lr
        optimizer = dataclasses.replace(
            job.run.optimizer, lr=found.lr, muon_lr=float(f"{factor * job.run.optimizer.muon_lr:.2g}")
        )
        return dataclasses.replace(job.run, optimizer=optimizer)

    def require_same(self, out: Path, stored: RunConfig) -> None:
        """Raise ConfigError when the run in `out` starts from other weights.

        A checkpoint of the same name that is not there any more is not needed.
        """
        name = self.request.checkpoint
        if name == stored.transfer.checkpoint and not Path(name).exists():
            return
        known = checkpoint.load_model(out / START).provenance.get("sha256")
        if self.source.hash != known:
            was = stored.transfer.checkpoint
            raise ConfigError(
                f"belongs to another run: it starts from other weights, of {was}, than {name} has now",
                where=str(out),
                fix="Give the same checkpoint to go on with it, or another --out",
            )


def require_whole_patches(request: TuneRequest, cell: tuple[int, int]) -> None:
    """Raise ConfigError when the size asked for is not whole patches; names the nearest that is."""
    settings = parse_settings(request.for_training().settings)
    size = settings.get("data", {}).get("image_size") or settings.get("model", {}).get("image_size")
    cell = settings.get("model", {}).get("patch_size", cell)
    if size and any(side % patch for side, patch in zip(size, cell, strict=True)):
        near = [max(1, round(side / patch)) * patch for side, patch in zip(size, cell, strict=True)]
        shown = f"{near[0]}" if len(set(near)) == 1 else f"{near[0]}x{near[1]}"
        raise ConfigError(
            f"{size[0]}x{size[1]} pixels cannot be cut into patches of {cell[0]}x{cell[1]}",
            where="--image-size",
            fix=f"The nearest that can is {shown}",
        )


def tune_fixed(request: TuneRequest, out: Path, start: Tuning) -> TuneResult:
    """Tune in one of the fixed ways, in the folder `out`, or go on with the run that is there."""
    result = training.train(request.for_training(), out, start)
    return TuneResult(result.out, request.tune, result.steps, result.evaluations)
