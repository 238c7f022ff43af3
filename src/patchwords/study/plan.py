"""What a study does: its question with everything worked out that the answer depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..architecture import Architecture
from ..config import RunConfig
from ..data.levels import with_level
from ..errors import CheckpointError, ConfigError
from ..overrides import from_dict, to_dict
from .question import Question

CURVE_POINTS = 8
"""measurements of the validation pictures in a cell, the last at its end"""
LOSSES = 64
"""losses noted in a cell"""
WARMUP = 0.1
"""share of the steps in which the learning rate goes up"""
TRANSFER_RATES = 0.1
"""rates for a model that goes on from a checkpoint, as a share of those for models from scratch"""


@dataclass(frozen=True)
class Contender:
    """One model of a study, from scratch or from a checkpoint."""

    name: str
    """as it was named in --models; of a checkpoint, the end of its path"""
    arm: str
    """scratch, transfer"""
    model: Architecture
    parameters: int
    flops: int
    """operations of a training step, forwards and backwards, for each picture"""
    seconds: float = 0.0
    """measured for each picture of a training step, for match time; else 0"""
    start: str = ""
    """folder in STUDY/starts that holds the weights it starts from"""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """(mean, std) of pixels that its weights were trained with; None: those of the data"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        told = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        normalisation = None if self.normalisation is None else [list(part) for part in self.normalisation]
        return told | {"model": to_dict(self.model), "normalisation": normalisation}


@dataclass(frozen=True)
class Plan:
    """Everything that decides the results of a study; STUDY/study.yaml."""

    question: Question
    run: RunConfig
    """what is the same for all cells; its model is the first"""
    contenders: tuple[Contender, ...]
    sizes: tuple[int, ...]
    """training pictures, ascending"""
    reference: int
    """training samples that a cell of the first model sees"""
    files: Mapping[str, str]
    """file of the study -> sha256, of what the cells read"""
    packages: Mapping[str, str]
    """package -> version when the study began"""

    def batch_size(self, size: int) -> int:
        """Return the pictures of one step of a cell of `size`."""
        return min(self.run.train.batch_size, size)

    def rates(self, contender: Contender) -> tuple[float, ...]:
        """Return the learning rates that a model chooses from, ascending."""
        share = TRANSFER_RATES if contender.arm == "transfer" else 1.0
        return tuple(float(f"{rate * share:.6g}") for rate in sorted(self.question.rates))

    def samples(self, contender: Contender, size: int) -> float:
        """Return the training samples that a cell sees, before they are rounded to whole steps."""
        first, match = self.contenders[0], self.question.match
        if match == "flops":
            return self.reference * first.flops / contender.flops
        if match == "time":
            return self.reference * first.seconds / contender.seconds
        if match == "epochs":
            epochs = self.question.epochs or self.reference / self.sizes[-1]
            return epochs * size
        return self.reference

    def run_of(self, contender: Contender, size: int, seed: int, level: str, rate: float, steps: int) -> RunConfig:
        """Return the complete settings of one training."""
        run, batch = self.run, self.batch_size(size)
        warmup = max(1, round(WARMUP * steps))
        train = dataclasses.replace(
            run.train,
            seed=seed,
            steps=steps,
            batch_size=batch,
            eval_epochs=steps * batch / size / CURVE_POINTS,
            log_steps=max(1, steps // LOSSES),
        )
        mean, std = contender.normalisation or (run.data.mean, run.data.std)
        transfer = run.transfer
        if contender.arm == "transfer":
            transfer = dataclasses.replace(transfer, tune=self.question.tune, checkpoint=contender.name)
        return dataclasses.replace(
            run,
            model=contender.model,
            data=dataclasses.replace(run.data, mean=mean, std=std),
            augment=augmented(run, level),
            optimizer=dataclasses.replace(run.optimizer, lr=rate),
            schedule=dataclasses.replace(run.schedule, warmup_steps=warmup if steps > 1 else 0, warmup_epochs=0.0),
            train=train,
            transfer=transfer,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for study.yaml."""
        sections = to_dict(self.run)
        del sections["model"], sections["transfer"]
        return {
            "version": 1,
            "question": self.question.as_dict(),
            "sizes": list(self.sizes),
            "reference_samples": self.reference,
            "contenders": [contender.as_dict() for contender in self.contenders],
            "run": sections,
            "files": dict(self.files),
            "packages": dict(self.packages),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Plan:
        """Return what `as_dict` wrote.

        Raises:
            CheckpointError: it is not that.
        """
        try:
            sections = dict(values["run"])
            runs = [from_dict(sections | {"model": told["model"]}) for told in values["contenders"]]
            contenders = tuple(
                Contender(**(told | {"model": run.model, "normalisation": _normalisation(told["normalisation"])}))
                for told, run in zip(values["contenders"], runs, strict=True)
            )
            return cls(
                Question.from_dict(values["question"], where),
                runs[0],
                contenders,
                tuple(values["sizes"]),
                values["reference_samples"],
                values["files"],
                values["packages"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError) as error:
            detail = error.line() if isinstance(error, ConfigError) else "is not the description of a study"
            raise CheckpointError(detail, where=where, fix="Restore it, or give another --out") from error


def _normalisation(values: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    return None if values is None else (tuple(values[0]), tuple(values[1]))


def augmented(run: RunConfig, level: str):
    """Return the augmentation of a level: for none what the settings say, else pictures are moved and mirrored too."""
    if level == "none":
        return run.augment
    base = run.augment
    if base.crop == "none" and not base.flip:  # grey pictures are mostly letters, which have a left and a right
        shift = max(1, round(min(run.data.image_size) / 8))
        base = dataclasses.replace(base, crop="shift", shift=shift, flip=run.data.channels == 3)
    return with_level(base, level)
