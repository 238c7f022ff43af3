"""patchwords tune CHECKPOINT DATA --out RUN"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options
from .train import add_run_options, print_result, settings_of

TAKES_SETTINGS = True
FILE = ("grid", "part", "new", "unused")
"""options that say what the checkpoint's file does not"""
WISHES = {"patch_size": "model.patch_size", "channels": "data.channels", "position_resize": "model.position_resize",
          "merge": "model.merge"}  # fmt: skip
"""options that change the model -> the setting of the run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `tune`."""
    parser.usage = (
        "patchwords tune CHECKPOINT DATA --out RUN [--tune auto|probe|head|lora|last-K|all] [--image-size N]"
        " [--preset NAME] [--augment LEVEL] [--epochs N] [--seed S] [--section.field VALUE ...]"
    )
    parser.epilog = (
        "With no options the recipe is chosen from the model and the pictures and printed with the reasons. The same "
        "command goes on with a run that was stopped. Every line of RUN/config.yaml is a setting: --optimizer.lr "
        "0.0001, --transfer.lora_rank 16."
    )
    add_checkpoint(parser)
    parser.add_argument("data", metavar="DATA", nargs="?", default="", help="as for train")
    parser.add_argument("--out", metavar="RUN", required=True, help="folder of the run; made when it is not there")
    parser.add_argument(
        "--tune",
        metavar="WAY",
        default="auto",
        help="probe: the head is solved; head: it is trained; lora: low-rank additions; last-K: the last K blocks; "
        "all: everything; auto: probe, lora, all, and what validates best is kept",
    )
    parser.add_argument(
        "--preset", metavar="NAME", default="", help="paper_finetune_*; see `patchwords models --presets`"
    )
    add_run_options(parser)
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Tune and print where things are."""
    from ..transfer.ladder import tune
    from ..transfer.tune import TuneRequest
    from ..use import load

    facts, settings = told_apart(arguments)
    request = TuneRequest(
        arguments.checkpoint,
        arguments.data,
        arguments.tune,
        arguments.image_size,
        arguments.preset,
        arguments.augment,
        settings,
    )
    result = tune(request, arguments.out, partial(load, **facts))
    if arguments.json:
        print_json(result.as_dict())
        return 0
    print_result(result.evaluations, result.out, result.tune)
    return 0


def told_apart(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what is said of the checkpoint's file, as arguments of `load`, and the settings of the run."""
    from ..transfer.tune import ADAPTED, FREE

    options, settings = checkpoint_options(arguments), settings_of(arguments)
    of_run = {f"model.{name}" for name in (*ADAPTED, *FREE)}
    facts = {name: value for name, value in options.items() if name in FILE or f"model.{name}" in settings}
    facts = {name: value for name, value in facts.items() if f"model.{name}" not in of_run}
    settings = {name: text for name, text in settings.items() if name in of_run or not name.startswith("model.")}
    for name, setting in WISHES.items():
        if text := getattr(arguments, name):
            settings[setting] = text
    return facts, settings
