"""Ticks that do not touch: names, whole numbers, powers; and where a layer stands on an axis."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import text


def name_ticks(axis: Any, places: Sequence[float], names: Sequence[object], length_in: float, each_in: float) -> None:
    """Put `names` at `places` of an axis of `length_in` inches; only every nth where all would touch."""
    step = 1
    while step < len(names) and len(names) / step * each_in > length_in + 1e-6:
        step += 1
    chosen = range(0, len(names), step)
    axis.set_ticks([float(places[i]) for i in chosen], [text.plain(names[i], 24) for i in chosen])


def number_ticks(axis: Any, count: int, most: int = 8) -> None:
    """Put round numbers at an axis of 1..count, at most about `most`."""
    step = next(step * 10**power for power in range(9) for step in (1, 2, 5) if count / (step * 10**power) <= most)
    numbers = range(1, count + 1, step) if step < 5 else [1, *range(step, count + 1, step)]
    axis.set_ticks(list(numbers), [str(number) for number in numbers])


def log_ticks(axis: Any, low: float, high: float, most: int = 6) -> None:
    """Put 1, 2, 5, 10 ... at a logarithmic axis from `low` to `high`; powers of ten only where these are too many."""
    values = log_values(low, high, most)
    axis.set_ticks(values, [text.number(value) for value in values])
    axis.set_ticks([], minor=True)


def log_values(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` round numbers from `low` to `high`: 1, 2, 5, 10 ..., or 1, 3, 10 ..., or powers of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**power for power in powers for step in steps]
        values = [value for value in values if low <= value <= high]
        if len(values) <= most:
            break
    return values[:: -(-len(values) // most)] if len(values) > most else values


def layer_places(names: Sequence[str]) -> np.ndarray:
    """Return where layers stand: the embedding at 0, block k at k, the last norm and what follows after the blocks."""
    blocks = [int(found[1]) + 1 if (found := re.match(r"block(\d+)/", name)) else None for name in names]
    after = max((block for block in blocks if block is not None), default=0)
    places = []
    for name, block in zip(names, blocks, strict=True):
        if block is None and name != "embed":
            after += 1
        places.append(0 if name == "embed" else after if block is None else block)
    return np.array(places)


def layer_ticks(axes: Any, names: Sequence[str], most: int = 12) -> None:
    """Name the layers along the x axis of a chart whose places are those of `layer_places`."""
    places = layer_places(names)
    blocks = [place for place, name in zip(places, names, strict=True) if name.startswith("block")]
    number_ticks(axes.xaxis, max(blocks, default=1), most)
    ticks = [
        (float(tick), label.get_text()) for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    ]
    ticks = ticks if blocks else []
    if "embed" in names:
        ticks = [(0.0, "in"), *(tick for tick in ticks if tick[0] >= most / 12)]
    ends = {int(place): name for place, name in zip(places, names, strict=True) if name in ("encoded", "logits")}
    for place, name in ends.items():
        near = max(blocks, default=0) / most
        ticks = [tick for tick in ticks if place - tick[0] > near] + [
            (float(place), "out" if name == "encoded" else "end")
        ]
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.set_xlim(float(places.min()) - 0.5, float(places.max()) + 0.5)
    told = [words for name, words in (("embed", "in: embedding"), ("encoded", "out: last norm")) if name in names]
    axes.set_xlabel(f"block ({', '.join(told)})" if told else "block")
