"""patchwords models [PATTERN]"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ConfigError
from . import add_common, print_json

if TYPE_CHECKING:
    from ..architecture import Architecture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `models`."""
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="such as '*patch16*'")
    parser.add_argument("--presets", action="store_true", help="list the papers' settings for --preset instead")
    add_common(parser)


def main(arguments: argparse.Namespace) -> int:
    """List models with their sizes and what they cost, or presets with what they are."""
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
    print(_table(configs))
    return 0


def _table(configs: dict[str, Architecture]) -> str:
    """Return a line for each model; the cell is what of the picture lies under one token: the patch, or a stride."""
    from ..cost import cost_of

    head = f"{'model':<36} {'kind':<5} {'image':>7} {'cell':>7} {'tokens':>6} {'dim':>5} {'depth':>5} {'heads':>5}"
    lines = [f"{head} {'million weights':>15} {'GFLOPs':>8}"]
    for name, config in configs.items():
        image, cell = ("x".join(map(str, pair)) for pair in (config.image_size, config.cell_size))
        cost, heads = cost_of(config), getattr(config, "num_heads", "-")
        sizes = f"{image:>7} {cell:>7} {cost.tokens:>6} {config.dim:>5} {config.depth:>5} {heads:>5}"
        lines.append(f"{name:<36} {config.kind:<5} {sizes} {cost.parameters / 1e6:>15.2f} {cost.flops / 1e9:>8.3f}")
    return "\n".join(lines)
