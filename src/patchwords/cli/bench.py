"""patchwords bench [step|infer]"""

from __future__ import annotations

import argparse
import statistics

from ..errors import CheckError, ConfigError
from . import add_common, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `bench`."""
    parser.add_argument("what", nargs="?", choices=("step", "infer"), help="default: both")
    parser.add_argument("--model", metavar="NAME", default="vit_tiny_patch4_32", help="of `patchwords models`")
    parser.add_argument("--batch-size", metavar="N", type=int, default=32, help="pictures at a time (default 32)")
    parser.add_argument("--rounds", metavar="N", type=int, default=10, help="timed rounds (default 10)")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Check, measure and print."""
    for option, value in (("--batch-size", arguments.batch_size), ("--rounds", arguments.rounds)):
        if value < 1:
            raise ConfigError(f"{value} is too small", where=option, fix="Give 1 or more")
    from .. import bench

    asked = arguments.model, arguments.batch_size, arguments.rounds
    rows = [bench.measure_step(*asked)] if arguments.what != "infer" else []
    rows += bench.measure_inference(*asked) if arguments.what != "step" else []
    failed = [row for row in rows if not row.passed]
    if arguments.json:
        print_json({"rows": [row.as_dict() for row in rows]})
    else:
        for row in rows:
            times = f"{1000 * min(row.seconds):.1f} ms least, {1000 * statistics.median(row.seconds):.1f} median, " \
                f"{row.of_peak:.2f} of the GEMM peak" if row.seconds else "FAILED, not timed"  # fmt: skip
            print(f"{row.case}: {row.side}: {times}; " + "; ".join(
                f"{c.name}: off by {c.error:.2g} of {c.bound:g}" for c in row.checks))  # fmt: skip
    if failed and not arguments.json:
        raise CheckError("computes something else, not timed", where=failed[0].side)
    return 3 if failed else 0
