"""patchwords bench [step|infer|load|time-to]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckError, ConfigError
from ..files import write_json
from . import print_json

if TYPE_CHECKING:
    from ..bench.timing import Row

WHAT = ("step", "infer", "load", "time-to")
BATCHES = {("step", "vit_tiny_patch4_32"): 128, ("step", "vit_small_patch16_224"): 16}
"""pictures at a time where --batch-size does not say; of others 32"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `bench`."""
    parser.add_argument("what", nargs="?", choices=WHAT, help="default: step, infer and load")
    parser.add_argument("--peers", action="store_true", help="beside other libraries, installed apart in the cache")
    parser.add_argument("--model", metavar="NAME", default="vit_tiny_patch4_32", help="of `patchwords models`")
    parser.add_argument("--batch-size", metavar="N", type=int, help="pictures at a time (default 128, 16 or 32)")
    parser.add_argument("--rounds", metavar="N", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--from", metavar="FILE", nargs="+", help="measure nothing, take results of --json")
    parser.add_argument("--write", metavar="PAGE", help="put the table into this page, between its two marks")
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="the result as JSON, to FILE or printed")


def main(arguments: argparse.Namespace) -> int:
    """Check, measure, print and write."""
    _refuse(arguments)
    from ..bench import peers, report

    if arguments.peers:
        peers.enter(sys.argv[1:])
    given = getattr(arguments, "from")
    found = report.load_reports(given) if given else [_measured(arguments)]
    if arguments.json == "-":
        print_json(found if given else found[0])
    else:
        print("\n".join(line for each in found for line in report.lines(each)))
    if arguments.json and arguments.json != "-":
        write_json(arguments.json, found[0])
    if arguments.write:
        report.write_page(arguments.write, found)
    failed = [row for each in found for row in each["rows"] if not row["passed"]]
    if failed and arguments.json != "-":
        raise CheckError("computes something else, not timed", where=f"{failed[0]['case']}: {failed[0]['side']}")
    return 3 if failed else 0


def _refuse(arguments: argparse.Namespace) -> None:
    for option, value in (("--batch-size", arguments.batch_size), ("--rounds", arguments.rounds)):
        if value is not None and value < 1:
            raise ConfigError(f"{value} is too small", where=option, fix="Give 1 or more")
    if arguments.json not in (None, "-") and not arguments.json.endswith(".json"):
        raise ConfigError(f"{arguments.json!r} is no name of a JSON file", where="--json", fix="Let it end in .json")
    given = getattr(arguments, "from")
    if given and (arguments.what or arguments.peers or arguments.json not in (None, "-")):
        raise ConfigError("measures nothing", where="--from", fix="Leave out what to measure, --peers and --json FILE")
    if arguments.write and not Path(arguments.write).is_file():
        raise ConfigError(
            "no such page", where=arguments.write, fix="Give one with the two marks, see docs/performance.md"
        )


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    from ..bench.report import Report

    rows: list[Row] = []
    for what in (arguments.what,) if arguments.what else ("step", "infer", "load"):
        rows += _rows(what, arguments)
    return Report(tuple(rows)).as_dict()


def _rows(what: str, arguments: argparse.Namespace) -> list[Row]:
    name, rounds, peers = arguments.model, arguments.rounds, arguments.peers
    batch_size = arguments.batch_size or BATCHES.get((what, name), 32)
    if what == "step":
        from ..bench.step import measure_step

        return measure_step(name, batch_size, rounds, peers=peers)
    if what == "infer":
        from ..bench.infer import measure_inference

        return measure_inference(name, batch_size, rounds, peers=peers)
    if what == "load":
        from ..bench.load import measure_load

        return measure_load(rounds, peers)
    from ..bench.time_to import measure_time_to

    return measure_time_to(rounds, peers)
