"""The command line: each command is a call of the Python API and the printing of its result."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import Any, NoReturn

from ..errors import ConfigError, PatchwordsError, nearest

COMMANDS = {
    "train": "train a Vision Transformer on a folder of pictures, or go on with a run",
    "eval": "measure a run: accuracy, confusion, calibration, worst mistakes",
    "predict": "labels with probabilities for pictures",
    "audit": "what is wrong with a folder of pictures, before training",
    "models": "the models there are to choose from",
}
"""command -> what it does; the module of the same name in this folder holds it (eval: evaluate)"""

_MODULES = {"eval": "evaluate"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ConfigErrors: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing usage."""
        raise ConfigError(message, where=self.prog, fix=f"See {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `patchwords`."""
    argv = sys.argv[1:] if argv is None else argv
    debug, as_json = "--debug" in argv, "--json" in argv
    try:
        code = dispatch([argument for argument in argv if argument != "--debug"])
        sys.stdout.flush()
        return code
    except PatchwordsError as fault:
        if debug:
            raise
        if as_json:
            print(json.dumps(fault.as_dict()))
        print(f"error: {fault.line()}" if fault.exit_code != 75 else fault.line(), file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("stopped at once; the last saved state is kept: run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `patchwords models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        print(f"error: {_bug(error)}", file=sys.stderr)
        return 1


def _bug(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in patchwords: {text}. Run again with --debug and report what it prints"


def dispatch(argv: list[str]) -> int:
    """Find the command of `argv`, parse its arguments and run it."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"patchwords {version('patchwords')}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise ConfigError(f"unknown command {name!r}", where="patchwords", fix=nearest(name, COMMANDS))
    module = importlib.import_module(f".{_MODULES.get(name, name)}", __package__)
    parser = Parser(prog=f"patchwords {name}", description=COMMANDS[name], allow_abbrev=False)
    module.add_arguments(parser)
    arguments, rest = parser.parse_known_args(argv[1:])
    arguments.settings = settings_of(rest, parser, getattr(module, "TAKES_SETTINGS", False))
    return module.main(arguments)


def settings_of(rest: list[str], parser: argparse.ArgumentParser, allowed: bool) -> dict[str, str]:
    """Return {"section.field": "text"} from the arguments `parser` did not know.

    Raises:
        ConfigError: an argument is neither an option nor a setting; names the nearest.
    """
    settings: dict[str, str] = {}
    pending = list(rest)
    while pending:
        argument = pending.pop(0)
        option, equals, text = argument.partition("=")
        if not (allowed and option.startswith("--") and "." in option):
            _refuse(argument, parser, allowed)
        if not equals:
            if not pending or pending[0].startswith("--"):
                raise ConfigError("needs a value", where=option, fix=f"Write {option} VALUE")
            text = pending.pop(0)
        settings[option.removeprefix("--")] = text
    return settings


def _refuse(argument: str, parser: argparse.ArgumentParser, allowed: bool) -> NoReturn:
    if not argument.startswith("-"):
        raise ConfigError(f"one argument too many: {argument!r}", where=parser.prog, fix=f"See {parser.prog} --help")
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    if allowed:
        from ..overrides import all_settings

        known += [f"--{name}" for name in all_settings()]
    import difflib

    option = argument.partition("=")[0]
    close = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise ConfigError(f"unknown option {option}", where=parser.prog, fix=f"{hint}See {parser.prog} --help")


def overview() -> str:
    """Return the text of `patchwords --help`."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "patchwords: Vision Transformers: train, look inside, compare and ship\n\n"
        f"usage: patchwords COMMAND ...\n\n{commands}\n\n"
        "patchwords COMMAND --help shows the options of one. Results go to standard output, progress to standard\n"
        "error; --json prints results for machines; --debug shows the traceback of a failure."
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options every command has."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(value: Any) -> None:
    """Print `value` as JSON on standard output; names that are not UTF-8 are escaped."""
    print(json.dumps(value, indent=1))
