"""Transfer on real pictures: eight classes of CIFAR-10 learned, the other two tuned to with few labels.

    python benchmarks/transfer.py [--json FILE] [--work FOLDER] [--quick]

1. A small ViT is trained on eight classes.
2. It is tuned to the other two with 20, 50, 200 and 1000 labels, three draws of each, in every fixed way and by
   `auto`; beside it the same model is trained from scratch, which sees twice as many pictures. All are measured on
   the 2,000 test pictures of the two classes.
3. The model of step 1, trained at 32 pixels, is tuned at 48 to its own eight classes, and measured at both.

It asks: better than from scratch at every size and every draw; `auto` within one point of the best fixed way (means of
the draws); 48 pixels better than 32. When one is not met, the exit code is 3.

What is done is kept in FOLDER: the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import patchwords as pw
from patchwords.randomness import permutation

NEW = ("ship", "truck")
"""the two classes that are not in step 1"""
FIXED = ("probe", "head", "lora", "last-2", "all")
SMALL = {
    "model__dim": 64, "model__depth": 4, "model__mlp_dim": 128,
    "train__compile": "off", "train__precision": "fp32", "train__tensorboard": False,
}  # fmt: skip
"""of what is trained from random weights: the recipe's model for such pictures, smaller"""
MARGIN = 0.01
"""of `auto` behind the best fixed way"""


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    labels: tuple[int, ...] = (20, 50, 200, 1000)
    """in all, half of each class"""
    draws: int = 3
    per_class: int = 5000
    """training pictures of each of the eight classes"""
    epochs: float = 12.0
    """of step 1"""
    larger_epochs: float = 2.0
    """of step 3"""
    tests: int = 1000
    """test pictures of each class"""


QUICK = Sizes((20, 200), 1, 500, 6.0, 2.0, 200)


@dataclass(frozen=True)
class Cell:
    """One training, measured."""

    labels: int
    draw: int
    way: str
    top1: float
    seconds: float
    kept: str = ""
    """what auto chose"""


def cifar10() -> Path:
    """Return the archive with CIFAR-10 as train/CLASS/... and test/CLASS/..."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("PATCHWORDS_DATA", default)) / "cifar10.zip"
    if not path.exists():
        sys.exit(f"{path}: not there; set PATCHWORDS_DATA to a folder with cifar10.zip")
    return path


def write_pictures(work: Path) -> dict[tuple[str, str], list[str]]:
    """Put the pictures into WORK/pictures, and return {(split, class): file names}, sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    with zipfile.ZipFile(cifar10()) as archive:
        for name in sorted(archive.namelist()):
            split, label, _ = name.split("/")
            target = work / "pictures" / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
            found.setdefault((split, label), []).append(f"pictures/{name}")
    return found


def write_list(path: Path, rows: list[tuple[str, str, str]]) -> str:
    """Write a list of (file name, label, split) and return its path."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "split"), *rows])
    return str(path)


def drawn(names: list[str], count: int, seed: int, label: str) -> list[str]:
    """Return `count` of `names`, a function of the seed."""
    return [names[i] for i in permutation(seed, f"labels/{label}", 0, len(names))[:count].tolist()]


def list_of(found: dict, work: Path, name: str, classes: list[str], count: int, tests: int, seed: int) -> str:
    """Write WORK/NAME.csv with `count` training and `tests` test pictures of each class; return its path."""
    rows = [(path, label, "train") for label in classes for path in drawn(found["train", label], count, seed, label)]
    rows += [(path, label, "test") for label in classes for path in found["test", label][:tests]]
    return write_list(work / f"{name}.csv", rows)


def measured(labels: int, draw: int, way: str, work: Callable[[], object]) -> Cell:
    """Do the work and return its cell."""
    began = time.monotonic()
    result = work()
    kept = getattr(result, "tune", "") if way == "auto" else ""
    cell = Cell(labels, draw, way, result.evaluations["test"].top1, time.monotonic() - began, kept)
    print(f"{labels:5d} labels, draw {draw}, {way:>7}{f' ({kept})' if kept else ''}: "
          f"{100 * cell.top1:.2f} %, {cell.seconds:.0f} s", flush=True)  # fmt: skip
    return cell


def cells_of(source: Path, data: str, labels: int, draw: int, runs: Path) -> list[Cell]:
    """Return every way with one draw of labels."""
    quiet = {"train__tensorboard": False, "train__compile": "off", "train__seed": draw}
    made = []
    for way in (*FIXED, "auto"):
        out = runs / f"{labels}-{draw}-{way}"
        made.append(measured(labels, draw, way, lambda w=way, o=out: pw.tune(source, data, o, tune=w, **quiet)))
    batch = min(32, labels // 4 * 2)  # even, for two shards
    steps = max(400, 2 * 30 * labels // batch)
    settings = SMALL | {"train__steps": steps, "train__batch_size": batch, "train__shards": 2, "train__eval_epochs": 0,
                        "train__seed": draw, "schedule__warmup_steps": steps // 20}  # fmt: skip
    out = runs / f"{labels}-{draw}-scratch"
    made.append(measured(labels, draw, "scratch", lambda: pw.train(data, out, **settings)))
    return made


def larger_pictures(source: Path, data: str, runs: Path, sizes: Sizes) -> dict[str, float]:
    """Return the accuracy on the eight classes at 32 pixels and after tuning at 48."""
    before = pw.evaluate(source, data, split="test").top1
    after = measured(
        0, 0, "48 px",
        lambda: pw.tune(source, data, runs / "48", tune="all", image_size=48, train__epochs=sizes.larger_epochs,
                        train__tensorboard=False, train__compile="off"),
    )  # fmt: skip
    return {"32": before, "48": after.top1, "seconds": after.seconds}


def table(cells: list[Cell]) -> str:
    """Return the mean accuracy of each way (columns) at each number of labels (rows), lowest to highest draw."""
    ways = list(dict.fromkeys(cell.way for cell in cells))
    lines = ["labels  " + "".join(f"{way:>22}" for way in ways)]
    for labels in sorted({cell.labels for cell in cells}):
        line = f"{labels:6d}  "
        for way in ways:
            found = [100 * cell.top1 for cell in cells if (cell.labels, cell.way) == (labels, way)]
            line += f"{statistics.mean(found):7.2f} ({min(found):5.2f}-{max(found):5.2f})"
        lines.append(line)
    return "\n".join(lines)


def faults(cells: list[Cell], larger: dict[str, float]) -> list[str]:
    """Return what was asked for and not met."""
    top1 = {(cell.labels, cell.draw, cell.way): cell.top1 for cell in cells}
    found = []
    for labels in sorted({cell.labels for cell in cells}):
        draws = sorted({cell.draw for cell in cells if cell.labels == labels})
        means = {way: statistics.mean(top1[labels, draw, way] for draw in draws) for way in (*FIXED, "auto")}
        best = max(means, key=lambda way: means[way] if way != "auto" else -1)
        if means["auto"] < means[best] - MARGIN:
            found.append(f"{labels} labels: auto {100 * means['auto']:.2f} %, {best} {100 * means[best]:.2f} %")
        for draw in draws:
            if top1[labels, draw, "auto"] <= top1[labels, draw, "scratch"]:
                found.append(f"{labels} labels, draw {draw}: auto is not better than from scratch")
    if larger["48"] <= larger["32"]:
        found.append(f"48 pixels {100 * larger['48']:.2f} %, 32 pixels {100 * larger['32']:.2f} %")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--work", metavar="FOLDER", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--quick", action="store_true", help="a few minutes, for trying it out")
    arguments = parser.parse_args()
    sizes, work = QUICK if arguments.quick else Sizes(), arguments.work.absolute()
    runs = work / ("quick" if arguments.quick else "full")
    runs.mkdir(parents=True, exist_ok=True)
    found = write_pictures(work)
    old = sorted({label for _, label in found} - set(NEW))
    eight = list_of(found, work, f"eight-{sizes.per_class}", old, sizes.per_class, sizes.tests, 0)
    source = runs / "eight"
    began = time.monotonic()
    first = pw.train(eight, source, train__epochs=sizes.epochs, **SMALL)
    print(f"eight classes: {100 * first.evaluations['test'].top1:.2f} %, {time.monotonic() - began:.0f} s", flush=True)
    larger = larger_pictures(source, eight, runs, sizes)
    cells = []
    for labels in sizes.labels:
        for draw in range(sizes.draws):
            data = list_of(found, work, f"two-{labels}-{draw}", list(NEW), labels // 2, sizes.tests, draw + 1)
            cells += cells_of(source, data, labels, draw, runs)
    wrong = faults(cells, larger)
    print(f"\nmean top-1 (lowest-highest draw), %\n{table(cells)}")
    print(f"eight classes: {100 * larger['32']:.2f} % at 32 pixels, {100 * larger['48']:.2f} % at 48")
    print("\n".join(f"not met: {line}" for line in wrong) or "all met")
    if arguments.json:
        result = {"eight": first.evaluations["test"].top1, "larger": larger, "cells": list(map(asdict, cells))}
        arguments.json.write_text(json.dumps(result | {"not_met": wrong}, indent=1) + "\n")
    return 3 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
