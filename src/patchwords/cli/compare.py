"""patchwords compare --data D --models vit,cnn,mlp --sizes 500,2000,all --out STUDY"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import ConfigError, printable
from . import add_common, print_json

if TYPE_CHECKING:
    from ..study.question import Question
    from ..study.run import StudyResult

TAKES_SETTINGS = ("data", "augment", "optimizer", "schedule", "train")
Value = TypeVar("Value")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `compare`."""
    parser.usage = (
        "patchwords compare --data D --models vit,cnn,mlp --sizes 500,2000,all --seeds 3 --out STUDY [--match WHAT]"
        " [--augment none,light] [--from CHECKPOINT] [--workers N] [--section.field VALUE ...]"
    )
    parser.epilog = (
        "Every model is trained on the same pictures in the same way; each chooses its learning rate on validation "
        "pictures. The same command goes on with a study that was stopped, and so does `patchwords compare --out "
        "STUDY`. Other machines that share the folder help with `patchwords compare --worker STUDY`."
    )
    add = parser.add_argument
    add("--data", metavar="D", default="", help="as for train")
    kinds = "vit, cnn, hybrid, mlp, mixer, local, axial, lstm, bilstm, bag, nopos"
    add("--models", metavar="A,B,...", default="", help=f"{kinds}, or names of `patchwords models`")
    add("--sizes", metavar="N,...,all", default="", help="training pictures; smaller sets are parts of larger ones")
    add("--seeds", metavar="N", default="", help="trainings of each; default: 3")
    add("--out", metavar="STUDY", default="", help="folder of the study; made when it is not there")
    add("--match", metavar="WHAT", default="", help="what is the same for all models: samples (seen; the default), "
        "epochs, flops, params (presets of as many, and samples), time")  # fmt: skip
    add("--samples", metavar="N", default="", help="training samples each cell sees (of the first model, for flops and "
        "time); default: 10 epochs of the largest size, within 30,000 and 1,000,000")  # fmt: skip
    add("--epochs", metavar="N", default="", help="for --match epochs")
    add("--augment", metavar="LEVEL,...", default="", help="none, light, medium, strong (AugReg); default: none")
    add("--from", metavar="CHECKPOINT", dest="sources", action="append", help="one more model, that goes on from it")
    add("--tune", metavar="WAY", default="", help="what of it moves: head, lora, last-K, all; default: all")
    add("--lrs", metavar="X,Y,...", default="", help="learning rates to choose from; default: 3e-4,1e-3,3e-3, and a "
        "tenth of them for a checkpoint")  # fmt: skip
    add("--choose-share", metavar="X", default="", help="samples for trying a rate, as a share of a cell's; "
        "default: 0.25")  # fmt: skip
    add("--scale", metavar="NAME", default="", help="presets that the kinds stand for: tiny, micro (default), nano")
    add("--bootstrap", metavar="K", default="", help="K models more of each, on pictures drawn with replacement, for "
        "bias and variance")  # fmt: skip
    add("--disjoint", metavar="K", default="", help="the same on K sets that share no picture")
    add("--precision", metavar="P", default="", help="fp32 (default), bf16; for all")
    add("--workers", metavar="N", type=int, default=0, help="processes; default: one for each core")
    add("--worker", metavar="STUDY", default="", help="help with a study that another process leads, until it is done")
    add("--launch", metavar="HOW", default="local", help="who starts the workers: local, submitit, ray")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Compare and print the table, or help with a study."""
    if arguments.worker:
        return help_with(arguments)
    from ..architecture import one_of
    from ..study.launch import LAUNCHERS
    from ..study.run import compare
    from ..use import load

    if not arguments.out:
        raise ConfigError("no folder was given", where="--out", fix="Give the folder of the study")
    one_of("--launch", arguments.launch, LAUNCHERS)
    question = question_of(arguments)
    result = compare(question, arguments.out, load, workers=arguments.workers, launch=arguments.launch)
    if arguments.json:
        print_json(result.as_dict())
    else:
        print_result(result)
    return 0


def help_with(arguments: argparse.Namespace) -> int:
    """Work on a study that another process leads."""
    from ..study.worker import work_alone

    if arguments.out or question_of(arguments) is not None:
        raise ConfigError("takes no other options", where="--worker", fix="Give the folder of the study alone")
    work_alone(arguments.worker)
    if arguments.json:
        print_json({"out": arguments.worker})
    else:
        print(f"all trainings are done; results: patchwords compare --out {printable(arguments.worker)}")
    return 0


def question_of(arguments: argparse.Namespace) -> Question | None:
    """Return what is asked; None when nothing is, to go on with what a study asks already."""
    from ..study.question import Question

    kinds: dict[str, Callable[[str, str], object]] = {
        "data": lambda text, where: text,
        "models": listed(lambda text, where: text),
        "sizes": listed(lambda text, where: int(text) if text.isascii() and text.isdigit() else text),
        "seeds": whole,
        "match": lambda text, where: text,
        "samples": whole,
        "epochs": number,
        "augment": listed(lambda text, where: text),
        "tune": lambda text, where: text,
        "lrs": listed(number),
        "choose_share": number,
        "scale": lambda text, where: text,
        "bootstrap": whole,
        "disjoint": whole,
        "precision": lambda text, where: text,
    }
    given = {name: read(getattr(arguments, name), f"--{name.replace('_', '-')}") for name, read in kinds.items()
             if getattr(arguments, name)}  # fmt: skip
    if "lrs" in given:
        given["rates"] = given.pop("lrs")
    if arguments.sources:
        given["sources"] = tuple(arguments.sources)
    if arguments.settings:
        given["settings"] = arguments.settings
    return Question(**given) if given else None


def listed(read: Callable[[str, str], Value]) -> Callable[[str, str], tuple[Value, ...]]:
    """Return a reader of values with commas between them."""
    return lambda text, where: tuple(read(part.strip(), where) for part in text.split(",") if part.strip())


def whole(text: str, where: str) -> int:
    """Return a whole number, or raise ConfigError."""
    if not (text.isascii() and text.replace("_", "").isdigit()):
        raise ConfigError(f"{text!r} is not a whole number", where=where, fix="Give a whole number")
    return int(text)


def number(text: str, where: str) -> float:
    """Return a number, or raise ConfigError."""
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number", where=where, fix="Give a number") from None


def print_result(result: StudyResult) -> None:
    """Print the table of means, the verdict and where things are."""
    from ..study.tables import tables_of

    scores = next(table for table in tables_of(result.summary) if table.name == "scores")
    print("\n".join([*lines(scores.shown, scores.heads), "", *map(printable, result.verdict.lines()), ""]))
    out = printable(str(result.out))
    print(f"study     {out}")
    print(f"report    {out}/report.html    (verdict, figures, tables; one file)")
    print(f"numbers   {out}/results.csv, results.json, results.npz, summary.json")


def lines(rows: list[dict[str, str | int | float]], heads: dict[str, str]) -> list[str]:
    """Return a table as lines of text, its columns as wide as they must be."""
    cells = [list(heads.values()), *([_cell(row.get(name, "")) for name in heads] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [printable("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))) for row in cells]


def _cell(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
