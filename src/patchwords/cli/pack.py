"""patchwords pack DATA OUT.tar"""

from __future__ import annotations

import argparse

from ..errors import printable
from . import add_common, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `pack`."""
    parser.add_argument("data", metavar="DATA", help="digits, cifar10, a folder, an archive, a table, or shards")
    parser.add_argument("out", metavar="OUT", help="writes OUT-000000.tar, OUT-000001.tar, ... and OUT.index.json")
    parser.add_argument("--shard-size", metavar="MB", type=int, default=256, help="megabytes of a shard (256)")
    parser.add_argument("--resize", metavar="N", type=int, default=0, help="shorter side of larger pictures in pixels")
    parser.add_argument("--quality", metavar="Q", type=int, default=0, help="write as JPEG of this quality, 1 to 100")
    parser.add_argument("--raw", action="store_true", help="write uint8 pixels as .npy: larger, nothing to decode")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="threads (2)")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Pack and print what was written and what was left out."""
    from ..data import open_source
    from ..data.pack import PackOptions, pack
    from ..progress import show_progress

    options = PackOptions(
        shard_size=arguments.shard_size, resize=arguments.resize, quality=arguments.quality, raw=arguments.raw
    )
    source = open_source(arguments.data)
    result = pack(source, arguments.out, options, workers=arguments.workers, progress=show_progress("packing"))
    if arguments.json:
        print_json(result.as_dict())
        return 0
    for path, reason in result.rejected:
        print(f"left out  {printable(path)}: {reason}")
    listed = result.packed + len(result.rejected)
    print(f"packed    {result.packed} of {listed} pictures, {result.size / 1e6:,.1f} MB in {len(result.shards)} shards")
    print(f"train     patchwords train {printable(result.index)} --out RUN")
    return 0
