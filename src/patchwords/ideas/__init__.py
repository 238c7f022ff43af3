"""The ideas of the Vision Transformer, each run and measured: `patchwords show`.

Every idea is one module with `IDEA` (what is claimed, and the experiment) and `run`. Nothing is imported before it is
asked for.

>>> from patchwords.ideas import load_idea
>>> idea = load_idea("sets")   # doctest: +SKIP
>>> idea.run(Effort()).verdict   # doctest: +SKIP
'confirmed'
"""

from __future__ import annotations

import importlib

from ..errors import ConfigError, nearest
from .idea import Idea

IDEAS = {
    "sets": "sets",
    "breakset": "breakset",
    "pairs": "pairs",
    "quadratic": "quadratic",
    "pixels": "pixels",
    "expensive": "expensive",
    "local-cone": "local_cone",
    "global-one": "global_one",
    "masks": "masks",
    "patchify": "patchify",
    "embed": "embed",
    "table": "table",
    "where": "where",
    "mlp-general": "mlp_general",
    "on-the-fly": "on_the_fly",
    "prior": "prior",
    "shrink": "shrink",
    "shift": "shift",
    "universal": "universal",
    "lstm": "lstm",
    "same-filters": "same_filters",
    "is-conv": "is_conv",
    "distance": "distance",
    "early-far": "early_far",
    "no-conv": "no_conv",
    "general-computer": "general_computer",
    "words": "words",
    "pretrain": "pretrain",
}
"""name -> the module of this folder that holds it, in the order of their numbers, S-01 to S-28"""


FURTHER = {"positions": "positions", "pooling": "pooling", "scaling": "scaling", "permuted": "permuted"}
"""name -> module of what the paper found on the way (P-15 to P-17, P-23); run where they are asked for by name"""


def names() -> tuple[str, ...]:
    """Return the names of all ideas, S-01 first."""
    return tuple(IDEAS)


def load_idea(name: str) -> Idea:
    """Return the idea of this name, one of IDEAS or of FURTHER.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    known = IDEAS | FURTHER
    if name not in known:
        raise ConfigError(f"there is no idea {name!r}", where="patchwords show", fix=nearest(name, known))
    return importlib.import_module(f".{known[name]}", __name__).IDEA
