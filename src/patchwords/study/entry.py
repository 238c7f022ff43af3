"""What is compared in a study: a model, trained in one way, at one size; and which two of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from .results import Cell, Results


@dataclass(frozen=True)
class Entry:
    """A model and how it was trained: a curve over the sizes."""

    model: str
    arm: str
    augment: str

    def compares_with(self, other: Entry) -> bool:
        """Return whether the two differ in the model and where it starts from, or in augmentation, not in both."""
        return (self.augment == other.augment) != ((self.model, self.arm) == (other.model, other.arm))


def entry_of(cell: Cell) -> Entry:
    """Return the entry that a cell belongs to."""
    return Entry(cell.model, cell.arm, cell.augment)


def entries_of(results: Results) -> tuple[Entry, ...]:
    """Return all entries: by arm and augmentation, the models in the order in which they were asked for."""
    asked = [str(name) for name in results.question.get("models", ())]
    found = {entry_of(cell) for cell in results.cells}
    places = {name: place for place, name in enumerate(asked)}

    def order(entry: Entry) -> tuple[str, str, int, str]:
        return entry.arm, entry.augment, places.get(entry.model, len(asked)), entry.model

    return tuple(sorted(found, key=order))


def groups_of(results: Results, draws: Iterable[str] = ("subset",)) -> dict[tuple[Entry, int], tuple[Cell, ...]]:
    """Return (entry, size) -> its cells, in the order of their seeds."""
    found: dict[tuple[Entry, int], list[Cell]] = {}
    for cell in results.cells:
        if cell.draw in draws:
            found.setdefault((entry_of(cell), cell.size), []).append(cell)
    return {key: tuple(sorted(cells, key=lambda cell: (cell.draw, cell.seed))) for key, cells in found.items()}


def pairs_of(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return the pairs that are compared."""
    return [(first, second) for first, second in combinations(entries, 2) if first.compares_with(second)]


def labels_of(entries: Sequence[Entry]) -> dict[Entry, str]:
    """Return what each entry is called: its model, whether it was transferred, and its augmentation if they differ."""
    several = len({entry.augment for entry in entries}) > 1
    labels = {}
    for entry in entries:
        told = [*(["transfer"] if entry.arm == "transfer" else []), *([entry.augment] if several else [])]
        labels[entry] = f"{entry.model} ({', '.join(told)})" if told else entry.model
    return labels
