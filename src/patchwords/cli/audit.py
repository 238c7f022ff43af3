"""patchwords audit DATA"""

from __future__ import annotations

import argparse

from ..errors import ConfigError
from . import add_common, print_json

TAKES_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `audit`."""
    parser.add_argument("data", metavar="DATA", help="digits, cifar10, a folder, a .zip, a .tar, or a list of files")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """Audit and print what was found and what will be done about it."""
    from ..config import DataConfig
    from ..data import open_source
    from ..data.audit import audit
    from ..overrides import parse_settings, with_fields

    sections = parse_settings(arguments.settings)
    if strange := sorted(sections.keys() - {"data"}):
        raise ConfigError("has nothing to do with an audit", where=strange[0], fix="Allowed: --data.NAME VALUE")
    config = with_fields(DataConfig(), sections.get("data", {}), "data")
    report = audit(open_source(arguments.data), config)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print("\n".join(report.lines()))
    return 0
