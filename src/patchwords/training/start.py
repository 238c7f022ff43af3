"""What a run that goes on from another model adds to set-up, and which of its weights then move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import nn

from .. import checkpoint
from ..config import DataConfig, RunConfig, TransferConfig
from ..data.manifest import Manifest
from ..data.sources import Source
from ..data.survey import Survey
from ..errors import ConfigError
from ..models.lora import add_low_rank
from .folder import START
from .recipe import Choice

if TYPE_CHECKING:
    from .job import Job

HEADS = ("head", "head_dist")


class Start(Protocol):
    """Asked by set-up at the places where a run from another model is not like one from scratch."""

    def choose(self, looked: Survey, device: str) -> Choice:
        """Return the settings for pictures that look like this."""
        ...

    def list_pictures(self, source: Source, data: DataConfig) -> Manifest:
        """Return the pictures with the splits that the run shall have."""
        ...

    def write(self, out: Path, run: RunConfig, manifest: Manifest) -> RunConfig:
        """Write OUT/start, the model adapted to the settings, and return them as the model then is."""
        ...

    def settle(self, job: Job) -> RunConfig:
        """Return the settings after a last look at model and pictures; nothing of the job is kept but its pictures."""
        ...

    def require_same(self, out: Path, stored: RunConfig) -> None:
        """Raise ConfigError when the run in `out` starts from another model."""
        ...


def load_start(out: Path, transfer: TransferConfig) -> nn.Module:
    """Return the model that the run in `out` starts from; the weights that rest do not require a gradient.

    LoRA draws from torch's global generator.

    Raises:
        CheckpointError: RUN/start is damaged. ConfigError: the model has no such parts.
    """
    model = checkpoint.load_model(out / START).model
    choose_moving(model, transfer)
    return model


def choose_moving(model: nn.Module, transfer: TransferConfig) -> None:
    """Let only what `transfer.tune` names require a gradient.

    probe: nothing; head: the head; last-K: the last K blocks and what follows them; lora: the head and what is added
    beside the dense layers; all: everything.

    Raises:
        ConfigError: there are not K blocks, or none that LoRA could be added to.
    """
    require_blocks(model, transfer)
    depth = model.config.depth
    first = {"probe": depth + 2, "all": 0}.get(transfer.tune, depth + 1 - transfer.last_blocks)
    heads_only = transfer.tune in ("head", "lora") or transfer.tune == "last-0"
    for name, parameter in model.named_parameters():
        wanted = name.split(".")[0] in HEADS if heads_only else model.layer_of(name) >= first
        parameter.requires_grad_(wanted)
    if transfer.tune == "lora":
        add_low_rank(model, transfer.lora_rank, transfer.lora_alpha, transfer.lora_mlp)


def require_blocks(model: nn.Module, transfer: TransferConfig) -> None:
    """Raise ConfigError when the model has not the blocks that `transfer.tune` asks for."""
    depth, fix = model.config.depth, "Give head or all"
    if transfer.last_blocks > depth:
        fix = f"Give at most last-{depth}, or all" if depth else fix
        raise ConfigError(f"the model has {depth} blocks, not {transfer.last_blocks}", where="--tune", fix=fix)
    if transfer.tune == "lora" and not depth:
        raise ConfigError("the model has no blocks that LoRA could be added to", where="--tune", fix=fix)
