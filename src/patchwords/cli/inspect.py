"""patchwords inspect CHECKPOINT [PICTURE|DATA ...]"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options

if TYPE_CHECKING:
    from ..report.over_time import OverTime
    from ..report.survey import Outcome, Survey

TAKES_SETTINGS = ("model",)


class _List(argparse.Action):
    """--list: print the exhibits and stop, whatever else is missing."""

    def __call__(self, *_: object) -> None:
        from ..report.exhibits import EXHIBITS

        width = max(map(len, EXHIBITS))
        for each in EXHIBITS.values():
            needs = f" (needs {', '.join(each.needs)})" if each.needs else ""
            print(f"{each.name:<{width}}  {each.shows}{needs}")
        raise SystemExit(0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `inspect`."""
    add_checkpoint(parser)
    parser.add_argument(
        "named",
        metavar="PICTURE|DATA",
        nargs="*",
        help="pictures, folders, archives or a data set; default: a fixed sample of the run's own test pictures",
    )
    parser.add_argument("--out", metavar="DIR", default="", help="folder to write; default: inspect-NAME")
    parser.add_argument("--only", metavar="NAME,...", default="", help="some exhibits; --list shows their names")
    parser.add_argument("--list", action=_List, nargs=0, help="print the exhibits and stop")
    parser.add_argument("--pictures", metavar="N", type=int, default=128, help="how many to measure over (default 128)")
    parser.add_argument(
        "--other", "--compare", metavar="CHECKPOINT2", default="", help="a second model, on the same pictures"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument(
        "--over-time",
        action="store_true",
        help="of a run that was trained with --train.watch_epochs: how it learned, look by look, and its curves",
    )
    group = parser.add_argument_group("the live page")
    group.add_argument("--live", action="store_true", help="look in the browser instead, until Ctrl-C; writes nothing")
    group.add_argument("--host", metavar="NAME", default="127.0.0.1", help="where to listen (default: this machine)")
    group.add_argument("--port", metavar="N", type=int, default=0, help="default: a free one")
    group.add_argument("--no-browser", action="store_true", help="do not open it")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Look, write the folder and print where things are; exit code 65 when a picture could not be read."""
    if arguments.live:
        return _live(arguments)
    if arguments.over_time:
        return _over_time(arguments)
    from ..use import inspect

    out = arguments.out or f"inspect-{_plain_name(arguments.checkpoint)}"
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    if arguments.only and not only:
        raise ConfigError("names no exhibit", where="--only", fix="See patchwords inspect --list")
    found = inspect(
        arguments.checkpoint,
        arguments.named,
        out=out,
        only=only,
        count=arguments.pictures,
        other=arguments.other or None,
        seed=arguments.seed,
        **checkpoint_options(arguments),
    )
    return _tell(found, found.outcomes, out, arguments.json)


def _over_time(arguments: argparse.Namespace) -> int:
    """Draw what a run stored while it was watched; exit code 65 when some of it is damaged."""
    given = {"PICTURE|DATA": arguments.named, "--only": arguments.only, "--other": arguments.other}
    given |= {"--pictures": arguments.pictures != 128, "--seed": arguments.seed}
    given |= {f"--{name.replace('_', '-')}": value for name, value in checkpoint_options(arguments).items()}
    for name, value in given.items():
        if value:
            raise ConfigError("has no effect with --over-time", where=name, fix="Leave one of them out")
    from ..report.over_time import look_over_time

    run = Path(arguments.checkpoint)
    out = arguments.out or f"inspect-{_plain_name(str(run.resolve()))}-over-time"
    found = look_over_time(run, Path(out))
    outcomes = [each for each in found.outcomes if found.watched or each.finding]
    return _tell(found, outcomes, out, arguments.json, "" if found.watched else found.hint)


def _tell(found: Survey | OverTime, outcomes: Iterable[Outcome], out: str, as_json: bool, hint: str = "") -> int:
    """Print what was seen and where things are; return the exit code, 65 when something could not be read."""
    for fault in found.faults:
        print(f"error: {fault.line()}", file=sys.stderr)
    if as_json:
        print_json(found.as_dict() | {"out": out})
    else:
        for outcome in outcomes:
            told = outcome.finding.says[0] if outcome.finding else f"does not apply: {outcome.why}"
            print(f"{outcome.exhibit.name:<12} {printable(told)}")
        if hint:
            print(f"\n{hint}")
        print(f"\nreport       {printable(str(Path(out) / 'report.html'))}")
        print(f"numbers      {printable(out)}/NAME.csv and .npz, figures .png and .svg, settings index.json")
    return 65 if found.faults else 0


def _live(arguments: argparse.Namespace) -> int:
    """Serve the page and return its exit code."""
    for name in ("out", "only", "json", "over_time"):
        if getattr(arguments, name):
            where = f"--{name.replace('_', '-')}"
            raise ConfigError("has no effect with --live", where=where, fix="Leave one of them out")
    from ..serving.limits import check_installed

    check_installed()  # before minutes of loading
    from ..serving.live import choose_pictures, serve
    from ..use import load

    loaded = [load(arguments.checkpoint, **checkpoint_options(arguments))]
    names = [arguments.checkpoint]
    if arguments.other:
        loaded.append(load(arguments.other))
        names.append(arguments.other)
    short = [_plain_name(name) for name in names]
    models = list(zip(short if len(set(short)) == len(short) else names, loaded, strict=True))
    pictures = choose_pictures(arguments.checkpoint, arguments.named, loaded[0].classes, arguments.seed)
    browser = not arguments.no_browser
    return serve(models, pictures, host=arguments.host, port=arguments.port, open_browser=browser)


def _plain_name(checkpoint: str) -> str:
    """Return a name for a folder, from the last part of a path or address."""
    name = Path(checkpoint.rstrip("/").split("@")[0].replace(":", "/")).name
    return re.sub(r"[^\w.-]+", "-", name.removesuffix(".safetensors")).strip(".-") or "model"
