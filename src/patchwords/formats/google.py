"""The .npz files of the paper's authors: google-research/vision_transformer.

Source: models_vit.py of that repository; what big_vision's files share with it is in flax.py.
"""

from __future__ import annotations

from ..architecture import ViTConfig
from .big_vision import BIG_VISION
from .flax import (
    SAYABLE,
    cell_of,
    constants,
    finished,
    idle,
    is_big_vision,
    newer,
    pairs_of,
    prefix_of,
    renamed,
    respelled,
    sizes,
    unplaced,
    unsayable,
)
from .format import Description, Facts, Format, Source, beyond
from .layout import Pair, pair

__all__ = ["BIG_VISION", "GOOGLE"]

TABLE = "Transformer/posembed_input/pos_embedding"


def recognises(source: Source) -> bool:
    """Return whether the names are those of the paper's code."""
    prefix = prefix_of(source.tensors)
    return prefix is not None and not is_big_vision(source.tensors, prefix)


def canonical(source: Source) -> Source:
    """Return the arrays without prefix and in the newer numbering."""
    return Source(renamed(source.tensors.stripped(prefix_of(source.tensors) or ""), newer))


def describe(source: Source, facts: Facts) -> Description:
    """Return the model and the preprocessing that the paper's code gives it."""
    tensors = source.tensors
    class_token = "cls" in tensors
    settings = sizes(tensors, facts)
    settings |= {"class_token": class_token, "pool": "cls" if class_token else "mean"}
    if TABLE in tensors:
        count = tensors.shape_of(TABLE, 3)[1] - class_token
        settings["image_size"] = facts.image_size(count, cell_of(settings))
    else:
        settings |= unplaced(tensors, facts, settings, convention="")
    return finished(settings, facts)


def pairs(source: Source | None, config: ViTConfig) -> list[Pair]:
    """Return where each parameter lies."""
    return [*pairs_of(source, config), pair("pos_embed", TABLE)]


def refuses(config: ViTConfig) -> list[str]:
    """Return what the paper's code cannot be told; which pooling it is, its files say by the class token alone."""
    without_effect = () if config.class_token else ("position_prefix",)
    found = beyond(config, (*SAYABLE, "stem", "class_token", "pool", *without_effect))
    found += [f"stem={config.stem}"] if config.stem.startswith("conv") else []
    return found + unsayable(config, {"cls": True, "mean": False})


GOOGLE = Format(
    name="google",
    about="google-research/vision_transformer, the paper authors' .npz",
    recognises=recognises,
    canonical=canonical,
    describe=describe,
    pairs=pairs,
    idle=idle,
    refuses=refuses,
    constants=constants,
    respelled=respelled,
)
