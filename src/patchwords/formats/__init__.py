"""Any ViT file to a model and back: whose file it is, what every tensor became, and the same numbers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..architecture import Size
from ..checkpoint import LoadedModel, model_folder
from ..errors import ConfigError
from .adapt import adapt_model, merging
from .format import Format
from .read import is_ours, read_foreign, read_own
from .write import Converted, check, write

_MODULES = {"google": ("GOOGLE", "BIG_VISION"), "torchvision": ("FORMAT",), "transformers": ("FORMAT",),
            "dino": ("FORMAT",), "timm": ("FORMAT",)}  # fmt: skip
"""module -> its formats, in the order in which they are asked whether a file is theirs"""


def all_formats() -> list[Format]:
    """Return every format there is but our own."""
    modules = {name: importlib.import_module(f".{name}", __package__) for name in _MODULES}
    return [getattr(modules[name], format) for name, formats in _MODULES.items() for format in formats]


def load(
    path: str | Path,
    *,
    image_size: int | Size | None = None,
    patch_size: int | Size | None = None,
    channels: int | None = None,
    position_resize: str = "",
    merge: int | None = None,
    merge_schedule: str = "",
    new: Sequence[str] = (),
    unused: Sequence[str] = (),
    part: str = "",
    **facts: Any,
) -> LoadedModel:
    """Return the model at `path`; arguments and errors as for `patchwords.load`."""
    if str(path).startswith("hf:"):
        from .hub import fetch

        path = fetch(str(path))
    path = Path(path)
    if not path.exists():
        model_folder(path)  # says that nothing is there, and what is near
    if is_ours(path):
        if said := [name for name, value in facts.items() if value is not None]:
            fix = "Leave it out: the folder says everything about its model"
            raise ConfigError("belongs to the checkpoint", where=f"model.{said[0]}", fix=fix)
        loaded = read_own(path)
    else:
        said = {name: value for name, value in facts.items() if value is not None}
        said |= {"image_size": image_size} if image_size else {}
        loaded = read_foreign(path, all_formats(), said, new, unused, part)
    return merging(_adapted(loaded, image_size, patch_size, channels, position_resize), merge, merge_schedule)


def _adapted(
    loaded: LoadedModel, image_size: int | Size | None, patch_size: int | Size | None, channels: int | None, rule: str
) -> LoadedModel:
    """Return `loaded` for what is wished, and say in its report what that changed."""
    wished = {"image_size": image_size, "patch_size": patch_size, "channels": channels}
    if not rule and all(wish is None for wish in wished.values()):
        return loaded
    adapted, hows = adapt_model(loaded, **wished, position_resize=rule)
    shapes = {name: tuple(tensor.shape) for name, tensor in adapted.model.state_dict().items()}
    lines = []
    for line in loaded.report.lines:
        if line.name in hows:
            how = "; ".join(part for part in (line.how, hows[line.name]) if part)
            line = replace(line, status="adapted", shape=shapes[line.name], how=how)
        lines.append(line)
    return replace(adapted, report=replace(loaded.report, lines=tuple(lines)))


def convert(loaded: LoadedModel, out: Path, to: str, *, checked: bool = False, allow: Sequence[str] = ()) -> Converted:
    """Write `loaded` to `out` as `to`; when `checked`, read it back and compare the answers.

    Args and errors as for `patchwords.convert`.
    """
    formats, config = all_formats(), loaded.model.config
    converted = write(loaded, out, to, formats, tuple(allow))
    if not checked:
        return converted
    format = next((format for format in formats if format.name == to), None)
    alone = format is None or format.files  # then it lies beside the arrays what they do not say
    said = {} if alone else {"num_heads": config.num_heads, "grid": config.grid}
    return check(loaded, load(out, **said), converted, format.constants(config) if format else {})
