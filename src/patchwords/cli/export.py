"""patchwords export CHECKPOINT --to onnx|openvino|program"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ConfigError, printable
from . import add_common, print_json
from .checkpoint import add_checkpoint, checkpoint_options

if TYPE_CHECKING:
    from ..export import Agreement

TAKES_SETTINGS = ("model",)
WRITTEN = ("onnx", "openvino", "program")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `export`."""
    parser.epilog = "The file is there only when it has answered as the model does; see docs/export.md."
    add_checkpoint(parser)
    parser.add_argument("--to", metavar="FORMAT", default="", help=", ".join(WRITTEN))
    parser.add_argument("--out", metavar="FILE", default="", help="new file: .onnx, .xml (OpenVINO) or .pt2 (program)")
    parser.add_argument("--precision", metavar="NAME", default="fp32", help="fp32 (default), bf16 or int8")
    parser.add_argument("--check", metavar="DATA", default="", help="pictures that model and file must answer alike")
    parser.add_argument(
        "--calibrate", metavar="DATA", default="", help="pictures for int8; default: those the run was trained with"
    )
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Export, and print what was written and how exact it is."""
    from ..use import export

    if not arguments.to:
        raise ConfigError("needs --to", where="patchwords export", fix=f"Formats: {', '.join(WRITTEN)}")
    done = export(
        arguments.checkpoint,
        arguments.out or None,
        to=arguments.to,
        precision=arguments.precision,
        check=arguments.check,
        calibrate=arguments.calibrate,
        **checkpoint_options(arguments),
    )
    if arguments.json:
        print_json(done.as_dict())
        return 0
    rows, columns = done.image_size
    print(f"wrote     {printable(str(done.out))}: {done.to}, {done.precision}, {done.bytes / 1e6:.1f} MB")
    print(f"pictures  {rows}x{columns} uint8, any number at a time")
    if done.precision == "int8":
        first = "first" if done.kept == 1 else f"first {done.kept}"
        print(f"products  int8, all but the {first} and the last")
    for name, found in (("built-in", done.built_in), ("check", done.check)):
        if found:
            print(f"{name:<9} {_said(found)}")
    return 0


def _said(found: Agreement) -> str:
    text = (
        f"{found.pictures} pictures: {100 * found.top1:.2f} % the same first label, logits differ by "
        f"{found.largest_logit:.2g} at most and {found.mean_logit:.2g} on average, probabilities by "
        f"{found.largest_probability:.2g} at most"
    )
    if found.accuracy_before is not None and found.accuracy_after is not None:
        shift = 100 * (found.accuracy_after - found.accuracy_before)
        text += f"; right {100 * found.accuracy_before:.2f} % before, {100 * found.accuracy_after:.2f} % after"
        text += f" ({shift:+.2f} points)"
    return text
