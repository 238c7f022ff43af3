"""How another library stores a parameter: under which names, and in which order of its numbers.

A format is a list of pairs, one for each parameter. Each pair is read both ways, so that a reader and a writer
cannot come to differ, and only moves numbers, so that there and back is the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..tensorfile import new_tensor


@dataclass(frozen=True)
class Layout:
    """A change of the order of numbers, and its inverse."""

    how: str
    """a few words for the report; "": nothing changes"""
    to_ours: Callable[[Sequence[Tensor]], Tensor]
    """from their arrays to our parameter"""
    to_theirs: Callable[[Tensor], Sequence[Tensor]]
    """from our parameter to their arrays; also works on the meta device, where it gives their shapes"""


@dataclass(frozen=True)
class Pair:
    """One parameter here and there."""

    ours: str
    """name in `model.state_dict()`"""
    theirs: tuple[str, ...]
    """names of the arrays that hold it"""
    layout: Layout


def pair(ours: str, theirs: str | Sequence[str], layout: Layout | None = None) -> Pair:
    """Return the Pair of a parameter with one or several of their arrays, by default in the same order."""
    return Pair(ours, (theirs,) if isinstance(theirs, str) else tuple(theirs), layout or SAME)


def simple(how: str, to_ours: Callable[[Tensor], Tensor], to_theirs: Callable[[Tensor], Tensor]) -> Layout:
    """Return the Layout of a parameter that is one array there."""
    return Layout(how, lambda arrays: to_ours(arrays[0]), lambda ours: [to_theirs(ours)])


SAME = simple("", lambda theirs: theirs, lambda ours: ours)
TRANSPOSED = simple("transposed", lambda theirs: theirs.T, lambda ours: ours.T)
"""Flax kernels are (in, out)"""
FILTERS = simple("filters transposed", lambda theirs: theirs.permute(3, 2, 0, 1), lambda ours: ours.permute(2, 3, 1, 0))
"""Flax filters are (rows, columns, in, out)"""


def reshaped(ours_shape: Sequence[int], theirs_shape: Sequence[int]) -> Layout:
    """Return the Layout of the same numbers in the same order under another shape."""
    return simple("reshaped", lambda theirs: theirs.reshape(ours_shape), lambda ours: ours.reshape(theirs_shape))


def joined(parts: Sequence[str], each: Layout = SAME, dim: int = 0) -> Layout:
    """Return the Layout of equal parts, such as q, k and v, that are one parameter here and several arrays there.

    Args:
        parts: their names, for the report.
        each: layout of every part.
        dim: along which they lie one after another.
    """
    how = f"{', '.join(parts)} joined" + (f", each {each.how}" if each.how else "")

    def to_theirs(ours: Tensor) -> list[Tensor]:
        return [array for part in ours.chunk(len(parts), dim) for array in each.to_theirs(part)]

    def to_ours(arrays: Sequence[Tensor]) -> Tensor:
        found = [each.to_ours([array]) for array in arrays]
        shape = [sum(part.shape[dim] for part in found) if axis == dim else size
                 for axis, size in enumerate(found[0].shape)]  # fmt: skip
        ours = new_tensor(tuple(shape), found[0].dtype)
        for place, part in zip(ours.split([part.shape[dim] for part in found], dim), found, strict=True):
            place.copy_(part)  # of a transposed part, half the time of torch.cat
        return ours

    return Layout(how, to_ours, to_theirs)
