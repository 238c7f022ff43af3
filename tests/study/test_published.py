"""The study in docs/compare: what the page says of it are the means of its trainings."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
STUDY = DOCS / "compare" / "cifar10"


def means() -> dict[tuple[str, str], float]:
    """Return the mean share of right test pictures by (pictures, model), of the trainings."""
    found = defaultdict(list)
    with (STUDY / "results.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            found[row["size"], row["model"]].append(float(row["test_top1"]))
    assert all(len(values) == 3 for values in found.values())
    return {key: sum(values) / 3 for key, values in found.items()}


def test_the_means_are_those_of_the_trainings() -> None:
    with (STUDY / "scores.csv").open(newline="") as lines:
        scores = {(row["pictures"], row["model"]): float(row["top1"]) for row in csv.DictReader(lines)}
    assert scores == pytest.approx(means(), abs=1e-8)
    assert len(scores) == 28


def test_the_page_shows_them() -> None:
    lines = [line for line in (DOCS / "compare.md").read_text().splitlines() if line.startswith("|")]
    table = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    start = next(place for place, row in enumerate(table) if row[0] == "pictures")
    models, rows = table[start][1:], table[start + 2 : start + 6]
    sized = [(row[0].replace(",", ""), row[1:]) for row in rows]
    shown = {(size, model): cell for size, cells in sized for model, cell in zip(models, cells, strict=True)}
    assert shown == {key: f"{100 * value:.1f}" for key, value in means().items()}
