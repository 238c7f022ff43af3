"""patchwords train DATA --out RUN"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import printable
from . import add_common, print_json

if TYPE_CHECKING:
    from ..metrics import Evaluation

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train`."""
    parser.usage = (
        "patchwords train DATA --out RUN [--model NAME] [--preset NAME] [--augment LEVEL] [--epochs N] [--seed S]"
        " [--section.field VALUE ...]"
    )
    parser.epilog = (
        "With no options, model and recipe are chosen from the pictures and printed with the reasons. The same command "
        "goes on with a run that was stopped. Every line of RUN/config.yaml is a setting: --optimizer.lr 0.001, "
        "--model.pool cls, --augment.mixup 0.2."
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        default="",
        help="digits, cifar10, a folder of class folders, a .zip or .tar of one, or a .csv, .jsonl or .parquet list",
    )
    parser.add_argument("--out", metavar="RUN", required=True, help="folder of the run; made when it is not there")
    parser.add_argument("--model", metavar="NAME", default="", help="see `patchwords models`")
    parser.add_argument(
        "--preset", metavar="NAME", default="", help="settings of a paper; see `patchwords models --presets`"
    )
    add_run_options(parser)
    add_common(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings of a run that have a short option of their own."""
    parser.add_argument("--augment", metavar="LEVEL", default="", help="none, light, medium, strong (AugReg)")
    parser.add_argument("--epochs", metavar="N", default="", help="how often each picture is seen")
    parser.add_argument("--seed", metavar="S", default="", help="another seed is another run")
    parser.add_argument("--precision", metavar="P", default="", help="auto, fp32, bf16")
    parser.add_argument("--device", metavar="D", default="", help="auto, cpu, cuda, mps")
    parser.add_argument("--strict", action="store_true", help="stop when any picture cannot be used")


def main(arguments: argparse.Namespace) -> int:
    """Train and print where things are."""
    from ..training import Request, train

    request = Request(arguments.data, arguments.model, arguments.preset, arguments.augment, settings_of(arguments))
    result = train(request, arguments.out)
    if arguments.json:
        print_json(result.as_dict())
        return 0
    print_result(result.evaluations, result.out)
    return 0


def settings_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the settings that were given, also those with a short option of their own."""
    settings = dict(arguments.settings)
    for option in ("epochs", "seed", "precision", "device"):
        if getattr(arguments, option):
            settings[f"train.{option}"] = getattr(arguments, option)
    if arguments.strict:
        settings["data.strict"] = "true"
    return settings


def print_result(evaluations: Mapping[str, Evaluation], run: Path, how: str = "") -> None:
    """Print a line for each split that was measured, where things are (`how` behind the run), and what to do next."""
    for name, evaluation in evaluations.items():
        print(
            f"{name}: {evaluation.correct} of {evaluation.total} right, top-1 {100 * evaluation.top1:.2f} %, "
            f"calibration error {100 * evaluation.ece:.1f} %"
        )
    out = printable(str(run))
    print(f"run       {out}{f'    ({how})' if how else ''}")
    print(f"model     {out}/model    (weights, classes and preprocessing: the folder to share)")
    print(f"measure   patchwords eval {out}")
    print(f"use       patchwords predict {out} PICTURE ...")
