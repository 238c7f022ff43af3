"""Every attribution method by name, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..architecture import one_of
from ..errors import ConfigError
from .attribution import Attribution, Question, ask
from .gradients import GRADIENT_METHODS, attribute_by_gradient
from .integrated import integrate_gradients
from .occlusion import occlude
from .results import Progress

METHODS = ("gradient_rollout", "integrated_gradients", "grad_cam", "gradient_input", "gradient", "occlusion")


def attribute(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | np.ndarray | None = None,
    *,
    methods: Sequence[str] | None = None,
    baseline: Tensor | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    progress: Progress | None = None,
) -> tuple[Attribution, ...]:
    """Return for each method the maps of what speaks for one class in each picture.

    Whether a map explains anything is for `curves.measure_curves` to say.

    Args:
        images: (B, C, H, W), normalised.
        targets: (B,) classes; None: the most probable of each picture.
        methods: some of `METHODS`; None: all that the model allows (`gradient_rollout` needs attention).
        baseline: the picture without content (C, H, W) or a colour (C,); None: the mean colour of the data.
        options: method -> keywords of its function: `integrate_gradients`, `occlude`; those of `attribute_by_gradient`
            under "gradients".

    Raises:
        ConfigError: no such method, or the model cannot be asked in this way.
    """
    question = ask(model, images, targets, baseline)
    attends = hasattr(model, "blocks") and all(hasattr(block, "attn") for block in model.blocks) and len(model.blocks)
    wanted = methods if methods is not None else [name for name in METHODS if attends or name != "gradient_rollout"]
    for name in wanted:
        one_of("methods", name, METHODS)
    unknown = set(options or {}) - {"gradients", "integrated_gradients", "occlusion"}
    if unknown:
        raise ConfigError(f"no options for {sorted(unknown)[0]!r}", where="options")
    steps = _steps(question, wanted, options or {})
    found: dict[str, Attribution] = {}
    for number, step in enumerate(steps):
        part = _part_of(progress, number, len(steps))
        found |= {each.method: each for each in step(part)}
    return tuple(found[name] for name in wanted)


def _steps(
    question: Question, wanted: Sequence[str], options: dict[str, dict[str, Any]]
) -> list[Callable[[Progress | None], Sequence[Attribution]]]:
    """Return the work as functions of a progress: all gradient methods together, then one method each."""
    steps: list[Callable[[Progress | None], Sequence[Attribution]]] = []
    if together := [name for name in wanted if name in GRADIENT_METHODS]:
        chosen = options.get("gradients", {})
        steps.append(lambda progress: attribute_by_gradient(question, together, progress=progress, **chosen))
    for name, function in (("integrated_gradients", integrate_gradients), ("occlusion", occlude)):
        if name in wanted:
            given = options.get(name, {})
            steps.append(lambda progress, f=function, g=given: [f(question, progress=progress, **g)])
    return steps


def _part_of(progress: Progress | None, number: int, steps: int, scale: int = 1000) -> Progress | None:
    """Return the progress of step `number` of `steps`, in thousandths of a step."""
    if progress is None:
        return None
    return lambda done, total: progress(number * scale + scale * done // max(total, 1), steps * scale)
