"""The options of every command that answers about pictures: which engine, in which precision, where, how many views."""

from __future__ import annotations

import argparse
from typing import Any

ENGINES = "auto, torch (default), onnx, openvino"


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine, --precision, --device, --trust and --views."""
    group = parser.add_argument_group("the engine", "CHECKPOINT may also be a file that `patchwords export` wrote")
    group.add_argument("--engine", metavar="NAME", default="torch", help=f"what answers: {ENGINES}")
    group.add_argument("--precision", metavar="NAME", default="", help="fp32 (default) or bf16")
    group.add_argument("--device", metavar="D", default="auto", help="of torch: auto (default), cpu, cuda, mps")
    group.add_argument("--trust", action="store_true", help="read a .pt2 file, which can run code that is in it")
    group.add_argument(
        "--views",
        metavar="N",
        type=int,
        default=1,
        help="views of each picture, averaged: 1 (default), 2 (mirrored too) or 6 (both also moved by a pixel)",
    )


def engine_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, as arguments of `patchwords.predict`."""
    return {
        "engine": arguments.engine,
        "precision": arguments.precision,
        "device": arguments.device,
        "trusted": arguments.trust,
        "views": arguments.views,
    }
