"""torch.export programs (.pt2): for C++ and for further compilation; reading one can run code that is in it."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ..errors import CheckpointError, ConfigError
from .description import PREFIX, Description
from .engine import Engine
from .onnx_file import unusable

ENTRY = f"{PREFIX}json"
"""name of the extra file that holds the metadata"""


class ProgramEngine(Engine):
    """A program of torch.export, run by torch."""

    def __init__(self, program: ExportedProgram, description: Description) -> None:
        super().__init__(description, "program")
        self.program = program.module()

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of pixels."""
        return self.program(pixels)

    def train(self, mode: bool = True) -> ProgramEngine:
        """Do nothing: a program is of one mode."""
        return self


def write_program(program: ExportedProgram, description: Description, path: Path) -> None:
    """Write `program` to `path`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path, extra_files={ENTRY: json.dumps(description.entries())})


def read_program(path: Path, trusted: bool = False) -> ProgramEngine:
    """Return the engine of the program at `path`.

    torch.export.load unpickles what the archive holds and evaluates its symbolic sizes as Python, so that a made-up
    file can run anything: it is read only when its maker is trusted.

    Raises:
        ConfigError: not `trusted`. CheckpointError: damaged, or not ours.
    """
    if not trusted:
        fix = "Give --trust if you made it yourself, or export to onnx or openvino"
        raise ConfigError("is a torch program: reading one can run code that is in it", where=str(path), fix=fix)
    if not zipfile.is_zipfile(path):
        raise CheckpointError("is no torch program", where=str(path), fix="The file is damaged; use a copy")
    extra = {ENTRY: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path, extra_files=extra)
        entries = json.loads(extra[ENTRY] or "{}")
    except Exception as error:
        raise unusable(path, error) from error
    return ProgramEngine(program, Description.from_entries(entries, str(path)))
