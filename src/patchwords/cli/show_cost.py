"""patchwords show cost [MODEL]: what a model costs by its settings, nothing built and nothing run"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from ..errors import ConfigError, printable
from . import add_common, print_json

TAKES_SETTINGS = ("model",)


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `show cost`."""
    parser.add_argument("model", metavar="MODEL", nargs="?", default="", help="a model's name, or a CHECKPOINT")
    parser.add_argument("--image-size", metavar="N", default="", help="pictures of N or ROWS,COLUMNS")
    parser.add_argument("--batch-size", metavar="N", type=int, default=1, help="pictures that memory is given for")
    parser.add_argument(
        "--precision", metavar="P", choices=("fp32", "bf16"), default="fp32", help="of memory: fp32 (default) or bf16"
    )
    parser.add_argument("--audit", action="store_true", help="hold the paper's figures of compute against the formula")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print what one picture costs in a model, or the audit of the paper's figures."""
    if arguments.audit:
        return _audit(arguments)
    from ..architecture import Size
    from ..cost import cost_of
    from ..cost.table import cost_table
    from ..overrides import parse

    if not arguments.model:
        fix = "Give a name that `patchwords models` lists, or a checkpoint; or --audit"
        raise ConfigError("which model is missing", where="patchwords show cost", fix=fix)
    if arguments.batch_size < 1:
        raise ConfigError(f"{arguments.batch_size} is too small", where="--batch-size", fix="Give 1 or more")
    config = _config_of(arguments.model, getattr(arguments, "settings", {}))
    size = parse(arguments.image_size, Size, "--image-size") if arguments.image_size else None
    cost = cost_of(config, size)
    if arguments.json:
        print_json({"model": arguments.model} | cost.as_dict())
    else:
        print("\n".join(cost_table(cost, printable(arguments.model), arguments.batch_size, arguments.precision)))
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from ..cost.audit import audit, audit_table

    if arguments.model:
        raise ConfigError("has no effect with --audit", where=arguments.model, fix="Leave one of them out")
    if arguments.json:
        print_json([row.as_dict() for row in audit()])
    else:
        print("\n".join(audit_table()))
    return 0


def _config_of(name: str, settings: dict[str, str]) -> Any:
    """Return the settings of a model of the zoo, with changes, or of a checkpoint.

    Raises:
        ConfigError: neither is there.
    """
    from ..models.zoo import PRESETS, model_config
    from ..overrides import parse_settings

    if name in PRESETS:
        return model_config(name, **parse_settings(settings).get("model", {}))
    if settings:
        raise ConfigError("settings can be changed of a model of `patchwords models` only", where=next(iter(settings)))
    if not name.startswith("hf:") and not Path(name).exists():
        close = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        what = f"no model and no file is named {name!r}"
        raise ConfigError(what, where="patchwords show cost", fix=f"{hint}All models are listed by `patchwords models`")
    from ..use import load

    return load(name).model.config
