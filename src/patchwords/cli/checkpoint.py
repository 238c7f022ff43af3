"""The options of every command that takes a CHECKPOINT: what its file does not say, and what is wished."""

from __future__ import annotations

import argparse
from typing import Any

from ..architecture import POSITION_RESIZES

HELP = "a run, a model folder, a file of another library, or hf:owner/name[@revision]"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the positional CHECKPOINT and its options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=HELP)
    group = parser.add_argument_group(
        "the checkpoint", "what a file of another library does not say is --model.SETTING VALUE, as --model.num_heads 6"
    )
    group.add_argument("--image-size", metavar="N", default="", help="resize it to pictures of N or ROWS,COLUMNS")
    group.add_argument("--patch-size", metavar="N", default="", help="resize its patches (FlexiViT)")
    group.add_argument("--channels", metavar="C", default="", help="1 (grey) or 3 (RGB)")
    group.add_argument(
        "--position-resize",
        metavar="RULE",
        default="",
        help=f"whose rule resizes positions: {', '.join(POSITION_RESIZES)}; default: that of the file's library",
    )
    group.add_argument("--merge", metavar="R", default="", help="merge R alike patches in each block (ToMe); 0: none")
    group.add_argument("--grid", metavar="R,C", default="", help="patches of the file, where they are no square")
    group.add_argument("--part", metavar="NAME", default="", help="entry of a training checkpoint, as model_ema")
    group.add_argument(
        "--new", metavar="PATTERN", action="append", default=[], help="parameters that may start at random"
    )
    group.add_argument(
        "--unused", metavar="PATTERN", action="append", default=[], help="tensors of the file that may be left out"
    )


def checkpoint_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, as arguments of `patchwords.load`.

    Raises:
        ConfigError: one is not of its kind; names it.
    """
    from ..architecture import Size
    from ..overrides import parse, parse_settings

    options: dict[str, Any] = dict(parse_settings(arguments.settings).get("model", {}))
    kinds = {"image_size": Size, "patch_size": Size, "channels": int, "position_resize": str, "grid": Size, "part": str,
             "merge": int}  # fmt: skip
    for name, kind in kinds.items():
        if text := getattr(arguments, name):
            options[name] = parse(text, kind, f"--{name.replace('_', '-')}")
    return options | {name: tuple(getattr(arguments, name)) for name in ("new", "unused") if getattr(arguments, name)}
