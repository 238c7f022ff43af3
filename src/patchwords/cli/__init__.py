"""The command line: each command is a call of the Python API and the printing of its result."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import Any, NoReturn

from ..errors import ConfigError, PatchwordsError, nearest, suggestion
from ..files import fault_of

COMMANDS = {
    "train": "train a Vision Transformer on a folder of pictures, or go on with a run",
    "tune": "put a trained model to other pictures: head, LoRA, last blocks or all of it",
    "eval": "measure a run: accuracy, confusion, calibration, worst mistakes",
    "predict": "labels with probabilities for pictures",
    "inspect": "look inside any model: figures, numbers and one page",
    "export": "one file for ONNX Runtime, OpenVINO or torch.export, checked against the model",
    "convert": "any ViT file to any other, every tensor accounted for",
    "probe": "how good the frozen features of a checkpoint are on labelled pictures",
    "show": "the ideas of the Vision Transformer, each run and measured; show cost: what a model costs",
    "ideas": "the ideas there are to show, and what each claims",
    "compare": "which model, with how much data: trainings, statistics and one page",
    "audit": "what is wrong with a folder of pictures, before training",
    "pack": "pictures as shards with an index, whole or pre-resized, for fast loading",
    "bench": "speed and memory, checked first, beside other libraries and as a share of what this machine can do",
    "models": "the models there are to choose from",
}
"""command -> what it does; the module of the same name in this folder holds it (eval: evaluate)"""

RUNS = {"train", "tune", "compare"}
"""commands that save what they do, and go on"""
_MODULES = {"eval": "evaluate", "show cost": "show_cost"}
"""commands of one or two words whose module has another name"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ConfigErrors: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing usage."""
        raise ConfigError(message, where=self.prog, fix=f"See {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `patchwords`."""
    argv = sys.argv[1:] if argv is None else argv
    if any(argument.endswith(".tar") for argument in argv):
        from ..data.shards import rejoined

        argv = rejoined(argv)  # NAME-000000.tar NAME-000001.tar ..., as the shell lists them, is one data set
    debug, as_json = "--debug" in argv, "--json" in argv
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show is printed escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = dispatch([argument for argument in argv if argument != "--debug"])
        sys.stdout.flush()
        return code
    except PatchwordsError as fault:
        return _failed(fault, debug, as_json)
    except KeyboardInterrupt:
        kept = "; the last saved state is kept: run the same command to go on" if RUNS & set(argv[:1]) else ""
        print(f"stopped at once{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `patchwords models | head -1`
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 74 if RUNS & set(argv[:1]) else 0  # a training that could not go on is not done
    except OSError as error:
        return _failed(fault_of(error, error.filename or "", "use"), debug, as_json)
    except Exception as error:
        return _failed(_bug(error), debug, as_json)


def _failed(fault: PatchwordsError, debug: bool, as_json: bool) -> int:
    """Say what is wrong in one line (and as JSON) and return the exit code; raise when debugging."""
    if debug:
        raise fault
    if as_json:
        print(json.dumps(fault.as_dict()))
    print(f"error: {fault.line()}" if fault.exit_code != 75 else fault.line(), file=sys.stderr)
    return fault.exit_code


def _bug(error: Exception) -> PatchwordsError:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return PatchwordsError(
        f"this is a bug in patchwords: {text}", fix="Run again with --debug and report what it prints"
    )


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
    name, after = (f"{name} {argv[1]}", argv[2:]) if " ".join(argv[:2]) in _MODULES else (name, argv[1:])
    module = importlib.import_module(f".{_MODULES.get(name, name)}", __package__)
    parser = Parser(prog=f"patchwords {name}", description=COMMANDS.get(name, module.__doc__), allow_abbrev=False)
    getattr(module, "add_cost_arguments" if name == "show cost" else "add_arguments")(parser)
    settings, rest = take_settings(after, parser, getattr(module, "TAKES_SETTINGS", False))
    arguments, unknown = parser.parse_known_intermixed_args(rest)  # options may stand before pictures
    if unknown:
        raise ConfigError(f"one argument too many: {unknown[0]!r}", where=parser.prog, fix=f"See {parser.prog} --help")
    arguments.settings = settings
    return module.main(arguments)


def take_settings(
    argv: list[str], parser: argparse.ArgumentParser, sections: bool | tuple[str, ...]
) -> tuple[dict[str, str], list[str]]:
    """Return ({"section.field": "text"}, the other arguments).

    Args:
        sections: those whose settings the command takes; True: all of them.

    Raises:
        ConfigError: an option is neither one of `parser` nor a setting; names the nearest.
    """
    known = {option for action in parser._actions for option in action.option_strings}
    settings: dict[str, str] = {}
    rest: list[str] = []
    pending = list(argv)
    while pending:
        argument = pending.pop(0)
        option, equals, text = argument.partition("=")
        if argument == "--":
            rest += [argument, *pending]
            break
        if not option.startswith("--") or option in known:
            rest.append(argument)
            continue
        if "." not in option or not (sections is True or _section(option) in (sections or ())):
            _refuse(option, parser, known, sections)
        if not equals:
            if not pending or pending[0].startswith("--"):
                raise ConfigError("needs a value", where=option, fix=f"Write {option} VALUE")
            text = pending.pop(0)
        settings[option.removeprefix("--")] = text
    return settings, rest


def _section(option: str) -> str:
    return option.removeprefix("--").partition(".")[0]


def _refuse(
    option: str, parser: argparse.ArgumentParser, known: set[str], sections: bool | tuple[str, ...]
) -> NoReturn:
    if sections:
        from ..overrides import all_settings

        known = known | {f"--{name}" for name in all_settings() if sections is True or _section(name) in sections}
    fix = f"{suggestion(option, known)}See {parser.prog} --help"
    raise ConfigError(f"unknown option {option}", where=parser.prog, fix=fix)


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
