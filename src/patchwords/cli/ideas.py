"""patchwords ideas"""

from __future__ import annotations

import argparse
import textwrap

from . import add_common, print_json

WIDTH = 110
"""columns"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `ideas`."""
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """List the ideas with what they claim."""
    from ..ideas import FURTHER, load_idea, names

    ideas = [load_idea(name) for name in (*names(), *FURTHER)]
    if arguments.json:
        fields = ("name", "number", "claim", "experiment", "paper", "trained")
        print_json({"ideas": [{name: getattr(idea, name) for name in fields} for idea in ideas]})
        return 0
    wide = max(len(idea.name) for idea in ideas)
    for idea in ideas:
        kind = "trained" if idea.trained else "exact"
        lines = textwrap.wrap(idea.claim, WIDTH - wide - 17)
        print(f"{idea.number}  {idea.name:<{wide}}  {kind:<7}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{wide + 17}}{line}")
    print("\nexact ones take seconds; something is trained for the others: patchwords show NAME")
    return 0
