"""patchwords models [PATTERN]"""

from __future__ import annotations

import argparse

from ..errors import ConfigError
from . import add_common, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `models`."""
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="such as '*patch16*'")
    parser.add_argument("--presets", action="store_true", help="list the papers' settings for --preset instead")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """List models with their sizes, or presets with what they are."""
    from ..models.zoo import list_models, model_config
    from ..presets import PRESETS

    if arguments.presets:
        if arguments.json:
            print_json({name: {"about": preset.about, **preset.sections} for name, preset in PRESETS.items()})
        else:
            print("\n".join(f"{name:<28} {preset.about}" for name, preset in PRESETS.items()))
        return 0
    configs = {name: model_config(name) for name in list_models(arguments.pattern)}
    if not configs:
        fix = "Give a pattern such as '*patch16*'; without one, all are listed"
        raise ConfigError(f"no model has the name {arguments.pattern!r}", where="patchwords models", fix=fix)
    if arguments.json:
        from ..overrides import to_dict

        print_json({name: to_dict(config) for name, config in configs.items()})
        return 0
    print(f"{'model':<36} {'image':>9} {'patch':>7} {'tokens':>6} {'dim':>5} {'depth':>5} {'heads':>5}")
    for name, config in configs.items():
        rows, columns = config.grid
        image, patch = ("x".join(map(str, pair)) for pair in (config.image_size, config.patch_size))
        sizes = f"{rows * columns:>6} {config.dim:>5} {config.depth:>5} {config.num_heads:>5}"
        print(f"{name:<36} {image:>9} {patch:>7} {sizes}")
    return 0
