"""patchwords convert CHECKPOINT [OUT --to FORMAT]"""

from __future__ import annotations

import argparse

from ..errors import ConfigError, printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options

TAKES_SETTINGS = ("model",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `convert`."""
    parser.epilog = "Without OUT it says whose file it is and what became of every tensor, and writes nothing."
    add_checkpoint(parser)
    parser.add_argument("out", metavar="OUT", nargs="?", default="", help="new file or folder")
    parser.add_argument("--to", metavar="FORMAT", default="", help=", ".join(WRITTEN))
    parser.add_argument("--check", action="store_true", help="read it back and compare the logits")
    parser.add_argument(
        "--allow",
        metavar="SETTING",
        action="append",
        default=[],
        help="a setting, as activation, that may take the library's fixed value although logits move",
    )
    add_common(parser)


WRITTEN = ("google", "big_vision", "timm", "transformers", "torchvision", "patchwords")


def main(arguments: argparse.Namespace) -> int:
    """Load, print the report of every tensor, and write."""
    from ..formats.read import UnaccountedError
    from ..use import convert, load

    if bool(arguments.out) != bool(arguments.to):
        missing, other = ("--to", "OUT") if arguments.out else ("OUT", "--to")
        raise ConfigError(f"{other} needs {missing}", where="patchwords convert", fix=f"Formats: {', '.join(WRITTEN)}")
    try:
        loaded = load(arguments.checkpoint, **checkpoint_options(arguments))
    except UnaccountedError as fault:
        if not arguments.json:
            print(fault.report.text())
        raise
    converted = None
    if arguments.out:
        converted = convert(loaded, arguments.out, arguments.to, checked=arguments.check, allow=arguments.allow)
    if arguments.json:
        print_json({"report": loaded.report.as_dict(), "converted": converted.as_dict() if converted else None})
        return 0
    print(loaded.report.text())
    if converted:
        print(f"wrote     {printable(str(converted.out))}: {converted.format} format, {converted.count} arrays")
        for note in converted.notes:
            print(f"note      {note}")
        if converted.difference is not None:
            print(f"checked   read back: largest difference of a logit {converted.difference:.2g}")
    return 0
