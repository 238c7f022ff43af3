"""patchwords bench [step|infer|load|time-to]"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckError, ConfigError, MissingError
from ..files import write_json
from . import print_json

if TYPE_CHECKING:
    from ..bench.timing import Row

WHAT = ("step", "infer", "load", "time-to")
TAKES_SETTINGS = True
MODEL = "vit_tiny_patch4_32"
BATCHES = {("step", "vit_tiny_patch4_32"): 128, ("step", "vit_small_patch16_224"): 16}
"""pictures at a time where --batch-size does not say; of others 32"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `bench`."""
    parser.add_argument("what", nargs="?", choices=WHAT, help="default: step, infer and load")
    parser.add_argument("--peers", action="store_true", help="beside other libraries, installed apart in the cache")
    parser.add_argument(
        "--model", metavar="NAME", default="", help=f"of `patchwords models` (default {MODEL}; time-to: the recipe's)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, help="pictures at a time (default 128, 16 or 32)")
    parser.add_argument("--rounds", metavar="N", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--memory", action="store_true", help="step: the most memory that it takes, in place of time")
    parser.add_argument("--curve", metavar="STEPS", type=int, help="step: also losses over STEPS steps, beside float32")
    parser.add_argument("--merge", metavar="R", type=int, default=0, help="infer: also merging so many tokens a block")
    parser.add_argument("--data", metavar="DATA", default="cifar10", help="time-to: pictures (default cifar10)")
    parser.add_argument(
        "--target", metavar="PERCENT", type=float, default=90.0, help="time-to: test top-1 (default 90)"
    )
    parser.add_argument("--seeds", metavar="N", type=int, default=3, help="time-to: trainings (default 3)")
    parser.add_argument("--views", type=int, choices=(1, 2, 6), default=1, help="time-to: of each test picture")
    parser.add_argument("--ablate", action="store_true", help="step, time-to: also without each lever")
    parser.add_argument("--out", metavar="DIR", default="runs/time-to", help="time-to: where the runs are kept")
    parser.add_argument("--from", metavar="FILE", nargs="+", help="measure nothing, take results of --json")
    parser.add_argument("--write", metavar="PAGE", help="store the result beside this page, and renew its table")
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="the result as JSON, to FILE or printed")


def main(arguments: argparse.Namespace) -> int:
    """Check, measure, print and write."""
    _refuse(arguments)
    from ..bench import peers, report

    if arguments.peers:
        peers.enter(sys.argv[1:])
    given = getattr(arguments, "from")
    if given:
        found = report.load_reports(given)
    else:
        rows = {what: _rows(what, arguments) for what in ([arguments.what] if arguments.what else WHAT[:3])}
        found = [report.as_dict(itertools.chain(*rows.values()))]
        if arguments.write:
            report.store(arguments.write, {_stored_as(what, arguments): part for what, part in rows.items()})
    if arguments.write:
        report.write_page(arguments.write, found if given else report.stored(arguments.write))
    if arguments.json == "-":
        print_json(found if given else found[0])
    else:
        print("\n".join(line for each in found for line in report.lines(each)))
    if arguments.json and arguments.json != "-":
        write_json(arguments.json, found[0])
    failed = [row for each in found for row in each["rows"] if not row["passed"]]
    if failed and arguments.json != "-":
        raise CheckError("computes something else, not measured", where=f"{failed[0]['case']}: {failed[0]['side']}")
    return 3 if failed else 0


def _stored_as(what: str, arguments: argparse.Namespace) -> str:
    """Return the name of a result in the folder of a page: a later one of the same kind takes its place."""
    memory, model = "-memory" * arguments.memory, f"-{arguments.model or MODEL}" * (what in WHAT[:2])
    memory += "-levers" * (arguments.ablate and what == "step")
    model += f"-{arguments.batch_size}" * bool(what == "infer" and arguments.batch_size)
    model += f"-{Path(arguments.out).name}" * (what == "time-to")
    return f"{what}{memory}{model}.json"


def _refuse(arguments: argparse.Namespace) -> None:
    numbers = {"--batch-size": arguments.batch_size, "--rounds": arguments.rounds, "--curve": arguments.curve}
    numbers["--seeds"] = arguments.seeds
    for option, value in numbers.items():
        if value is not None and value < 1:
            raise ConfigError(f"{value} is too small", where=option, fix="Give 1 or more")
    if (arguments.memory or arguments.curve) and arguments.what != "step":
        raise ConfigError("is of the step alone", where="--memory, --curve", fix="Say patchwords bench step")
    if arguments.settings and arguments.what != "time-to":
        name = f"--{next(iter(arguments.settings))}"
        raise ConfigError("is a setting of trainings", where=name, fix="Say patchwords bench time-to")
    if not 0 < arguments.target <= 100:
        raise ConfigError(f"{arguments.target:g} is no share", where="--target", fix="Give more than 0, at most 100")
    if arguments.json not in (None, "-") and not arguments.json.endswith(".json"):
        raise ConfigError(f"{arguments.json!r} is no name of a JSON file", where="--json", fix="Let it end in .json")
    given = getattr(arguments, "from")
    if given and (arguments.what or arguments.peers or arguments.json not in (None, "-")):
        raise ConfigError("measures nothing", where="--from", fix="Leave out what to measure, --peers and --json FILE")
    if arguments.write and not Path(arguments.write).is_file():
        fix = "Give one with the two marks, see docs/performance.md"
        raise MissingError("no such page", where=arguments.write, fix=fix)


def _rows(what: str, arguments: argparse.Namespace) -> list[Row]:
    name, rounds, peers = arguments.model or MODEL, arguments.rounds, arguments.peers
    batch_size = arguments.batch_size or BATCHES.get((what, name), 32)
    if what == "step" and arguments.memory:
        from ..bench.memory import measure_memory

        return measure_memory(name, batch_size, rounds, peers)
    if what == "step":
        from ..bench.curve import measure_curve
        from ..bench.step import measure_step

        if arguments.ablate:
            from ..bench.levers import measure_levers

            return measure_levers(name, batch_size, rounds)
        curve = measure_curve(name, batch_size, arguments.curve) if arguments.curve else []
        return measure_step(name, batch_size, rounds, peers=peers) + curve
    if what == "infer":
        from ..bench.infer import measure_inference

        return measure_inference(name, batch_size, rounds, peers=peers, merge=arguments.merge)
    if what == "load":
        from ..bench.load import measure_load

        return measure_load(rounds, peers)
    from ..bench.time_to import measure_time_to

    wished = {"target": arguments.target / 100}
    wished |= {name: getattr(arguments, name) for name in ("seeds", "ablate", "views")}
    settings = arguments.settings | ({"model": arguments.model} if arguments.model else {})
    return measure_time_to(arguments.data, Path(arguments.out), settings=settings, **wished)
