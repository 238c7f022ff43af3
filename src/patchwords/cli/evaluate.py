"""patchwords eval CHECKPOINT [DATA]"""

from __future__ import annotations

import argparse

from ..errors import printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options
from .engine import add_engine, engine_options

TAKES_SETTINGS = ("model",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `eval`."""
    add_checkpoint(parser)
    parser.add_argument(
        "data", metavar="DATA", nargs="?", default="", help="other pictures; default: the run's test split"
    )
    parser.add_argument("--split", metavar="NAME", default="", help="train, val, test or all")
    parser.add_argument("--report", metavar="FILE.html", default="", help="write a page: confusion, mistakes, maps")
    add_engine(parser)
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure and print a table."""
    from ..use import evaluate

    options = checkpoint_options(arguments) | engine_options(arguments)
    measured = evaluate(arguments.checkpoint, arguments.data, split=arguments.split, report=arguments.report, **options)
    if arguments.json:
        print_json(measured.as_dict())
        return 0
    averaged = f" (mean of {arguments.views} views)" if arguments.views > 1 else ""
    print(f"{measured.correct} of {measured.total} right{averaged}")
    print(f"top-1 {100 * measured.top1:.2f} %   top-5 {100 * measured.top5:.2f} %   loss {measured.loss:.4f}")
    print(f"expected calibration error {100 * measured.ece:.2f} %")
    rows = measured.per_class()
    width = max([len(printable(row["class"])) for row in rows] + [5])
    print(f"\n{'class':<{width}}  precision  recall     f1  pictures")
    for row in rows:
        print(
            f"{printable(row['class']):<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}"
            f"  {row['support']:8d}"
        )
    if len(rows) <= 20:
        print("\nconfusion: rows are the true class, columns the predicted one, in the order above")
        digits = len(str(measured.confusion.max(initial=0)))
        for row, counts in zip(rows, measured.confusion, strict=True):
            print(f"{printable(row['class']):<{width}}  " + " ".join(f"{count:>{digits}d}" for count in counts))
    if measured.mistakes:
        print("\nworst mistakes, most certain first")
        for mistake in measured.mistakes:
            print(
                f"  {printable(mistake.path)}: {printable(mistake.label)} taken for "
                f"{printable(mistake.predicted)} ({100 * mistake.probability:.1f} %)"
            )
    if arguments.report:
        print(f"\nreport {printable(arguments.report)}")
    return 0
