"""What an exported file says of itself: classes, preprocessing, precision, versions, where its weights come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ..checkpoint import LoadedModel, tensors_hash
from ..decode import DECODE_RULE
from ..errors import CheckpointError, ConfigError
from ..overrides import to_dict
from ..preprocess import Preprocess

FORMAT = 1
PREFIX = "patchwords."
"""what the names of our entries begin with in metadata that others write to as well"""
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Description:
    """The metadata of an exported file: all that `predict` and `eval` need beside the graph."""

    precision: str
    classes: tuple[str, ...]
    """in the order of the logits"""
    preprocess: Preprocess
    model: dict[str, Any]
    """the architecture, as in config.json"""
    provenance: dict[str, Any]
    tensors: str
    """sha256 of the float32 weights that were exported (`checkpoint.tensors_hash`)"""
    patchwords: str
    """version that wrote it"""
    weights: str = ""
    """sha256 of the numbers in the file, as its format counts them; "": its format checks them itself"""

    def entries(self) -> dict[str, str]:
        """Return the metadata as {name: text}; values that are no texts are JSON, ASCII only."""
        return {
            "format": str(FORMAT),
            "version": self.patchwords,
            "precision": self.precision,
            "classes": json.dumps(list(self.classes)),
            "preprocessor_config": json.dumps(self.preprocess.to_json()),
            "decode_rule": str(DECODE_RULE),
            "model": json.dumps(self.model),
            "provenance": json.dumps(self.provenance),
            "tensors_sha256": self.tensors,
            "weights_sha256": self.weights,
        }

    @classmethod
    def from_entries(cls, entries: Mapping[str, str], where: str) -> Description:
        """Return what `entries` say.

        Raises:
            CheckpointError: the file is none of ours, of another format, or damaged.
        """
        if "format" not in entries or "classes" not in entries:
            fix = "Give a file that `patchwords export` wrote"
            raise CheckpointError("does not say its classes and preprocessing", where=where, fix=fix)
        if entries["format"] != str(FORMAT):
            fix = "Use a matching patchwords"
            raise CheckpointError(f"is of format {entries['format']!r}, not {FORMAT}", where=where, fix=fix)
        try:
            classes = json.loads(entries["classes"])
            if entries["precision"] not in PRECISIONS or not all(isinstance(name, str) for name in classes):
                raise ValueError("precision or classes")
            return cls(
                precision=entries["precision"],
                classes=tuple(classes),
                preprocess=Preprocess.from_json(entries["preprocessor_config"], where),
                model=dict(json.loads(entries["model"])),
                provenance=dict(json.loads(entries["provenance"])),
                tensors=entries["tensors_sha256"],
                patchwords=entries["version"],
                weights=entries["weights_sha256"],
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            what = f"has metadata that cannot be read ({' '.join(str(error).split())})"
            raise CheckpointError(what, where=where, fix="The file is damaged; use a copy") from None


def describe(loaded: LoadedModel, precision: str) -> Description:
    """Return the description of `loaded` exported at `precision`.

    Raises:
        ConfigError: it answers nothing that has a name.
    """
    if not loaded.classes:
        fix = "Give it a head: patchwords tune CHECKPOINT DATA --out RUN"
        raise ConfigError("has no head, so there are no classes to export", where="CHECKPOINT", fix=fix)
    return Description(
        precision=precision,
        classes=loaded.classes,
        preprocess=loaded.preprocess,
        model=to_dict(loaded.model.config),
        provenance=loaded.provenance,
        tensors=tensors_hash(loaded.model.state_dict()),
        patchwords=version("patchwords"),
    )
