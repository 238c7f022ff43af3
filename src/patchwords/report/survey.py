"""Look at a model through every exhibit, and write what was seen into a folder: figures, numbers, one page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .. import figures, files
from ..checkpoint import predict_probabilities, ranked, tensors_hash
from ..errors import ConfigError, PatchwordsError, WriteError
from ..inspection.results import Result, Row, write_csv, write_npz
from ..overrides import to_dict
from .exhibits import Exhibit, choose_exhibits
from .finding import Drawing, Finding
from .subject import Report, Subject

INDEX, PAGE, PICTURES = "index.json", "report.html", "pictures.csv"
PHONE_IN = 3.65
"""inches of a figure on a telephone of 390 pixels"""
WRITER = "patchwords inspect"
"""who wrote a folder, as its index says; only such a folder is replaced"""


@dataclass(frozen=True)
class Image:
    """A figure that was drawn."""

    drawing: Drawing
    png: bytes
    svg: bytes
    narrow: bytes
    """the same for telephones, SVG"""


@dataclass(frozen=True)
class Outcome:
    """What became of one exhibit."""

    exhibit: Exhibit
    finding: Finding | None
    why: str
    """why it does not apply; "" when it does"""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Survey:
    """A model looked at through some exhibits."""

    subject: Subject
    other: Subject | None
    pictures: str
    """which pictures, in words"""
    notes: tuple[str, ...]
    faults: tuple[PatchwordsError, ...]
    """of pictures that could not be read"""
    outcomes: tuple[Outcome, ...]
    shown: tuple[Row, ...] = ()
    """a line for each picture that is shown by itself: its name, class, and the model's answer"""

    def __getitem__(self, name: str) -> Result:
        """Return the result of that name, such as distance, lens or curves.

        Raises:
            KeyError: there is none.
        """
        return self.results[name]

    @property
    def results(self) -> dict[str, Result]:
        """name -> numbers of every exhibit that applies."""
        found = [each.finding for each in self.outcomes if each.finding]
        return {name: result for finding in found for name, result in finding.results.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return what was looked at, with which settings, and the key numbers; plain values, for JSON."""
        return {
            "written_by": WRITER,
            "versions": {name: metadata.version(name) for name in ("patchwords", "torch", "numpy")},
            "model": _described(self.subject),
            "other": _described(self.other) if self.other else None,
            "pictures": {
                "what": self.pictures,
                "count": len(self.subject),
                "shown": list(self.shown),
                "seed": self.subject.seed,
                "faults": [fault.as_dict() for fault in self.faults],
            },
            "notes": list(self.notes),
            "exhibits": [told(each) for each in self.outcomes],
        }

    def write(self, out: Path) -> None:
        """Write everything into the folder `out`; one that was written by `inspect` before is replaced whole.

        Raises:
            WriteError: it holds something else, or cannot be written.
        """
        check_folder(out)
        from .page import page

        results = self.results | ({"pictures": _Listed(self)} if len(self.subject) else {})
        write_outcomes(out, self.as_dict(), self.outcomes, results, page(self))


@dataclass(frozen=True)
class _Listed:
    """The pictures, as a result: number, name, class."""

    survey: Survey

    def rows(self) -> list[dict[str, Any]]:
        """Return a line for each picture."""
        subject = self.survey.subject
        labels = [-1] * len(subject) if subject.labels is None else subject.labels.tolist()
        return [
            {"picture": number, "path": path, "class": subject.classes[label] if label >= 0 else ""}
            for number, (path, label) in enumerate(zip(subject.paths, labels, strict=True), start=1)
        ]


def write_outcomes(
    out: Path, index: dict[str, Any], outcomes: Iterable[Outcome], results: dict[str, Result], page: str
) -> None:
    """Write the folder `out`: figures, tables, arrays, index.json and the page.

    Raises:
        WriteError: it holds something else, or cannot be written.
    """
    check_folder(out)
    contents = {INDEX: _json(index)}
    for outcome in outcomes:
        for image in outcome.images:
            contents[f"{image.drawing.name}.png"] = image.png
            contents[f"{image.drawing.name}.svg"] = image.svg
    for name, result in results.items():
        contents |= _files_of(name, result)
    contents[PAGE] = page.encode()
    with files.faults_named(out, "write"):
        out.parent.mkdir(parents=True, exist_ok=True)
    files.write_folder(out, contents, manifest=False)


def check_folder(out: Path) -> None:
    """Raise WriteError when `out` is there and was not written by `inspect`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        ours = files.read_json(out / INDEX)["written_by"] == WRITER
    except (PatchwordsError, KeyError, TypeError):
        ours = False
    if not ours:
        raise WriteError("holds something that inspect did not write", where=str(out), fix="Give another --out")


def survey_model(
    subject: Subject,
    other: Subject | None,
    only: Iterable[str],
    pictures: str,
    *,
    notes: Sequence[str] = (),
    faults: Sequence[PatchwordsError] = (),
    draw: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Survey:
    """Look at `subject` (beside `other`) through the exhibits of `only`, or all.

    Args:
        progress: called with (done, in all, what goes on), counted in pictures sent through the model.

    Raises:
        ConfigError: there is no such exhibit.
    """
    chosen = choose_exhibits(only)
    costs = [_cost(exhibit, subject, other) for exhibit in chosen]
    total, found = sum(costs) + 1, []  # the last one is what is still to be drawn
    pen = ThreadPoolExecutor(1, thread_name_prefix="draw")  # draws while the next exhibit is measured
    try:
        for number, exhibit in enumerate(chosen):
            step = _step(progress, sum(costs[:number]), costs[number], total, exhibit.title)
            step(0, 1)
            outcome = look(exhibit, subject, other, step)
            drawings = outcome.finding.drawings if outcome.finding and draw else ()
            found.append((outcome, [pen.submit(drawn, each) for each in drawings]))
            step(1, 1)
        outcomes = [replace(one, images=tuple(each.result() for each in images)) for one, images in found]
    finally:
        pen.shutdown(cancel_futures=True)
    _step(progress, total - 1, 1, total, "figures")(1, 1)
    return Survey(subject, other, pictures, tuple(notes), tuple(faults), tuple(outcomes), tuple(_answers(subject)))


def _answers(subject: Subject) -> list[Row]:
    """Return what the model answers to the pictures that are shown."""
    rows: list[Row] = []
    for number, path in enumerate(subject.paths[: subject.shown]):
        label = -1 if subject.labels is None else int(subject.labels[number])
        rows.append(
            {"picture": number + 1, "file": short_path(path), "class": subject.classes[label] if label >= 0 else ""}
        )
    if rows and subject.classes and getattr(subject.model.config, "pool", "") != "none":
        for row, probabilities in zip(
            rows, predict_probabilities(subject.loaded, subject.pixels[: len(rows)]), strict=True
        ):
            answer, probability = ranked(probabilities, subject.classes, 1)[0]
            row |= {"answer": answer, "probability": probability}
    return rows


def short_path(path: str) -> str:
    """Return the last parts of the path of a picture: enough to know it again."""
    return "/".join(Path(path).parts[-3:])


def look(exhibit: Exhibit, subject: Subject, other: Subject | None, progress: Report) -> Outcome:
    """Return what one exhibit shows, or why it does not apply."""
    if "pictures" in exhibit.needs and not len(subject):
        return Outcome(exhibit, None, "it needs pictures, and none were given")
    if "a head" in exhibit.needs and not subject.classes:
        return Outcome(exhibit, None, "the model has no head, so it has no classes to answer with")
    try:
        finding = exhibit.see(subject, other, progress)
    except (ConfigError, np.linalg.LinAlgError) as fault:
        return Outcome(exhibit, None, fault.line() if isinstance(fault, ConfigError) else f"no numbers: {fault}")
    return Outcome(exhibit, finding, "")


def drawn(drawing: Drawing) -> Image:
    """Return a figure, drawn for a page and for a telephone."""
    figure = figures.new_figure(width_in=drawing.width_in)
    drawing.draw(figure)
    small = figures.new_figure(width_in=PHONE_IN)
    drawing.draw(small)
    return Image(
        drawing,
        figures.png(figure, 150),
        figures.svg(figure, drawing.caption),
        figures.svg(small, drawing.caption),
    )


def _cost(exhibit: Exhibit, subject: Subject, other: Subject | None) -> int:
    if "pictures" in exhibit.needs and not len(subject):
        return 1
    return max(1, round(exhibit.passes(subject) * (2 if other else 1)))


def _step(progress: Callable[[int, int, str], None] | None, before: int, cost: int, total: int, what: str) -> Report:
    """Return the progress of one exhibit as a part of the whole."""
    if progress is None:
        return lambda done, count: None
    return lambda done, count: progress(before + cost * done // max(count, 1), total, what)


def _files_of(name: str, result: Result) -> dict[str, bytes]:
    """Return NAME.csv and NAME.npz of a result; the list of pictures is a table only."""
    with tempfile.TemporaryDirectory() as folder:
        table, arrays = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.npz"
        write_csv(table, result)
        found = {table.name: table.read_bytes()}
        if not isinstance(result, _Listed):
            write_npz(arrays, result)
            found[arrays.name] = arrays.read_bytes()
    return found


def _described(subject: Subject) -> dict[str, Any]:
    config = subject.model.config
    return {
        "name": subject.name,
        "sha256": tensors_hash(subject.model.state_dict()),
        "config": to_dict(config)
        if is_dataclass(config)
        else {name: str(value) for name, value in vars(config).items()},
        "classes": len(subject.classes),
    }


def told(outcome: Outcome) -> dict[str, Any]:
    """Return what an exhibit says and its key numbers; plain values, for JSON."""
    values: dict[str, Any] = {"name": outcome.exhibit.name, "title": outcome.exhibit.title, "why_not": outcome.why}
    if finding := outcome.finding:
        values |= {
            "says": list(finding.says),
            "notes": list(finding.notes),
            "numbers": [
                {"name": each.name, "value": _plain(each.value), "unit": each.unit, "means": each.means}
                for each in finding.numbers
            ],
            "tables": sorted(finding.results),
            "figures": [each.name for each in finding.drawings],
        }
    return values


def _plain(value: float) -> float | int | None:
    """Return a number that JSON has; what is none becomes null."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _json(value: Any) -> bytes:
    import json

    return (json.dumps(value, indent=1) + "\n").encode()
