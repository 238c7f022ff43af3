"""patchwords show [IDEA ...], and patchwords show cost MODEL"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigError, printable
from . import add_common, print_json

if TYPE_CHECKING:
    from ..ideas.show import Shown

LARGEST_SEED = 2**32 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `show`."""
    parser.usage = "patchwords show [IDEA ...] [options], or patchwords show cost MODEL [options]"
    parser.add_argument(
        "ideas", metavar="IDEA", nargs="*", help="see patchwords ideas; without names: all that train nothing"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quick", action="store_true", help="run the trained ones too, in minutes each")
    group.add_argument("--full", action="store_true", help="the real thing with several seeds, up to two hours each")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="all random numbers come from it (default 0)")
    parser.add_argument("--data", metavar="DATA", default="", help="pictures for trained ideas (default cifar10)")
    parser.add_argument("--out", metavar="DIR", default="", help="write ideas.html, numbers and figures there")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the ideas and print one line each, of a single one everything; a claim that is refuted is a result."""
    for name in arguments.ideas:
        load_name(name)
    if not 0 <= arguments.seed <= LARGEST_SEED:
        raise ConfigError(f"{arguments.seed} is outside 0 to {LARGEST_SEED}", where="--seed")
    from ..ideas.idea import Effort
    from ..ideas.show import show
    from ..progress import say

    effort = Effort(full=arguments.full, seed=arguments.seed, data=arguments.data)
    shown = show(
        arguments.ideas, effort, arguments.out or None, trained=arguments.quick or arguments.full, progress=say
    )
    faults = [each.fault for each in shown if each.fault]
    for fault in faults:
        print(f"error: {fault.line()}", file=sys.stderr)
    if arguments.json:
        print_json({"ideas": [each.as_dict() for each in shown], "out": arguments.out})
    else:
        _print(shown, arguments.out)
    return faults[0].exit_code if faults else 0


def load_name(name: str) -> None:
    """Raise ConfigError when there is no idea of this name; `cost` stands before a model."""
    from ..ideas import load_idea

    if name == "cost":
        raise ConfigError("'cost' comes first", where="patchwords show", fix="Write patchwords show cost MODEL")
    load_idea(name)


def _print(shown: Sequence[Shown], out: str) -> None:
    if len(shown) == 1 and shown[0].result:
        _print_all(shown[0])
    else:
        _print_lines(shown)
    if out:
        print(f"\npage     {printable(out)}/ideas.html")
        print(f"numbers  {printable(out)}/NAME.json, figures .png and .svg")


def _print_lines(shown: Sequence[Shown]) -> None:
    """Print a line an idea: name, verdict, seconds, key figure."""
    from ..ideas.show import key_figure

    wide = max(len(each.idea.name) for each in shown)
    for each in shown:
        told = key_figure(each.result) if each.result else each.why
        seconds = f"{each.seconds:6.1f} s" if each.result else " " * 8
        print(f"{each.idea.number}  {each.idea.name:<{wide}}  {each.verdict:<9}  {seconds}  {printable(told)}")


def _print_all(shown: Shown) -> None:
    """Print everything that is known of one idea."""
    from ..ideas.show import plain_number

    idea, result = shown.idea, shown.result
    print(f"{idea.number} {idea.name}: {result.verdict} ({shown.seconds:.1f} s)\n")
    for head, words in (("claim", idea.claim), ("experiment", idea.experiment), ("source", idea.paper)):
        print(f"{head:<11} {words}")
    print("\nchecks")
    for check in result.checks:
        met = "met" if check.met else "not met"
        needed = f"{check.relation} {plain_number(check.threshold)}"
        print(f"  {met:<8} {plain_number(check.value):>14} {needed:<16} {printable(check.name)}")
    if result.figures:
        print("\nfigures")
        for name, value in result.figures.items():
            print(f"  {printable(value if isinstance(value, str) else plain_number(value)):>23}  {printable(name)}")
    print(f"\n{printable(result.reason)}")
