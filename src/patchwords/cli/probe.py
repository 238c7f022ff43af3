"""patchwords probe CHECKPOINT DATA"""

from __future__ import annotations

import argparse

from ..errors import ConfigError, printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options

TAKES_SETTINGS = ("data", "model")
COLUMNS = {"ridge": "ridge", "neighbours": "kNN weighted", "majority": "kNN majority", "logistic": "logistic"}
"""field of the result -> what it is called in the table"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `probe`."""
    add_checkpoint(parser)
    parser.add_argument("data", metavar="DATA", help="digits, cifar10, a folder, a .zip, a .tar, or a list of files")
    parser.add_argument(
        "--shots", metavar="N,N,...", default="1,5,10,all", help="pictures of each class to learn from; all: every one"
    )
    parser.add_argument("--repeats", metavar="N", type=int, default=10, help="draws of them")
    parser.add_argument("--split", metavar="NAME", default="", help="test or val; default: test where there is one")
    parser.add_argument("--l2", metavar="X", type=float, help="penalty of the ridge; default: by leaving one out")
    parser.add_argument("--neighbours", metavar="K", type=int, default=20, help="pictures that vote")
    parser.add_argument("--temperature", metavar="T", type=float, default=0.07, help="of their weighted vote")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws")
    parser.add_argument("--precision", metavar="NAME", default="auto", help="of the features: fp32, bf16, auto")
    parser.add_argument("--batch-size", metavar="N", type=int, default=128, help="pictures computed at a time")
    parser.add_argument("--no-cache", action="store_true", help="neither use nor keep features")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Probe and print a table."""
    from ..use import probe

    names = ("repeats", "split", "l2", "neighbours", "temperature", "seed", "precision", "batch_size")
    result = probe(
        arguments.checkpoint,
        arguments.data,
        shots=_shots(arguments.shots),
        cache=not arguments.no_cache,
        options=checkpoint_options(arguments),
        **{name: getattr(arguments, name) for name in names},
        **{name.replace(".", "__"): text for name, text in arguments.settings.items() if name.startswith("data.")},
    )
    if arguments.json:
        print_json(result.as_dict())
    else:
        print("\n".join(lines(result)))
    return 0


def _shots(text: str) -> tuple[int | str, ...]:
    parts = [part.strip() for part in text.split(",")]
    if strange := [part for part in parts if part != "all" and not (part.isascii() and part.isdigit())]:
        raise ConfigError(f"{strange[0]!r} is not a number of pictures", where="--shots", fix="Give 1,5,10 or all")
    return tuple(part if part == "all" else int(part) for part in parts)


def lines(result) -> list[str]:
    """Return the table of a Probe, and what to know about it."""
    told = [f"{'shots':>5}  {'pictures':>8}" + "".join(f"  {title:>13}" for title in COLUMNS.values())]
    for row in result.rows:
        cells = "".join(f"  {_cell(getattr(row, name)):>13}" for name in COLUMNS)
        told.append(f"{row.shots:>5}  {row.num_pictures:>8}{cells}")
    told += ["", f"% right of {result.num_measured} {result.split} pictures in {len(result.classes)} classes"]
    repeats = result.settings.repeats
    if repeats > 1 and any(len(row.ridge.repeats) > 1 for row in result.rows):
        told[-1] += f"; mean and half of its 95 % interval (Student's t) over {repeats} draws"
    for row in result.rows:
        if row.short_classes:
            names = ", ".join(printable(name) for name in row.short_classes[:5])
            more = ", ..." if len(row.short_classes) > 5 else ""
            told.append(f"{row.shots} shots: {len(row.short_classes)} classes have fewer, all of theirs are used: "
                        f"{names}{more}")  # fmt: skip
    return told


def _cell(accuracy) -> str:
    mean = f"{100 * accuracy.mean:.2f}"
    return mean if accuracy.half is None else f"{mean} +- {100 * accuracy.half:.2f}"
