"""patchwords predict CHECKPOINT PICTURE..."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import ConfigError, printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options
from .engine import add_engine, engine_options

TAKES_SETTINGS = ("model",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `predict`."""
    add_checkpoint(parser)
    parser.add_argument(
        "paths",
        metavar="PICTURE",
        nargs="*",
        help="pictures, folders, .zip or .tar files; - reads paths from standard input",
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many labels (default 5)")
    add_engine(parser)
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Predict and print a line for each picture; exit code 65 when one could not be read."""
    from ..use import predict

    paths = list(arguments.paths)
    if "-" in paths:
        listed = [os.fsdecode(line) for line in sys.stdin.buffer.read().split(b"\n") if line]
        paths = [path for given in paths for path in (listed if given == "-" else [given])]
    if not paths:
        raise ConfigError(
            "no picture was given", where="patchwords predict", fix="Give files, folders, or - for a list"
        )
    faults, rows = 0, []
    options = checkpoint_options(arguments) | engine_options(arguments)
    for prediction in predict(arguments.checkpoint, paths, top=arguments.top, **options):
        faults += prediction.fault is not None
        if arguments.json:
            rows.append(prediction.as_dict())
        elif prediction.fault:
            print(f"error: {prediction.fault.line()}", file=sys.stderr)
        else:
            shown = "  ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in prediction.labels)
            print(f"{printable(prediction.path)}: {shown}")
    if arguments.json:
        print_json(rows)
    if faults:
        print(f"{faults} pictures could not be read", file=sys.stderr)
    return 65 if faults else 0
