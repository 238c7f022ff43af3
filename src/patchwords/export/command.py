"""The verb `patchwords.export`: from anything that can be loaded to a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoint import LoadedModel
from ..formats import load
from .write import Exported
from .write import export as export_model


def export(
    checkpoint: LoadedModel | str | Path,
    out: str | Path | None = None,
    *,
    to: str,
    precision: str = "fp32",
    check: str | Path = "",
    calibrate: str | Path = "",
    **options: Any,
) -> Exported:
    """Write a checkpoint as one file for another runtime, checked before it is there.

    Args:
        checkpoint: anything that `load` reads, or what it returned.
        out: new file (.onnx, .xml or .pt2); None: named after the checkpoint, in this folder.
        to: onnx, openvino or program (torch.export).
        precision: fp32, bf16 or int8.
        check: pictures, with labels or without, that both must answer alike.
        calibrate: pictures on which int8 measures its ranges; "": those that the run was trained with.
        options: as for `load`, such as image_size=384.

    Returns:
        Exported.

    Raises:
        ConfigError: there is no such file, or `out` exists. CheckError: it answered otherwise, and is not there.
    """
    loaded = checkpoint if isinstance(checkpoint, LoadedModel) else load(checkpoint, **options)
    source = Path() if isinstance(checkpoint, LoadedModel) else Path(checkpoint)
    target = None if out is None else Path(out)
    return export_model(loaded, target, to, precision=precision, check=str(check), calibrate=str(calibrate),
                        source=source)  # fmt: skip
