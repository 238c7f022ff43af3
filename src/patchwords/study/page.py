"""report.html of a study: the verdict first, then the tables and figures that it rests on, then how it was done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..figures import study as drawings
from ..files import write_atomic, write_json
from ..inspection.results import write_csv
from ..report.finding import Drawing, Number, Sheet
from ..report.markup import frame, listing, paragraph, sheet, text
from ..report.page import figure_block, key_numbers
from ..report.survey import Image, drawn
from .results import Results
from .statistics import Summary, summarise
from .tables import Table, tables_of
from .verdict import Verdict, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, NUMBERS, FIGURES = "report.html", "summary.json", "figures"
MATCHES = {
    "samples": "every model saw the same number of training samples",
    "epochs": "every model saw each of its training pictures equally often",
    "flops": "every model spent the same training FLOPs",
    "params": "every model has about the same number of parameters and saw the same number of training samples",
    "time": "every model was trained for the same time",
}
"""rule of --match -> what it made equal"""


def write_report(results: Results, out: Path, resamples: int = 2000, seed: int = 0) -> Summary:
    """Write report.html, summary.json, a CSV of every table and the figures into the folder `out`; return the numbers.

    Equal results give equal bytes.

    Raises:
        WriteError, PermissionFault: a file cannot be written. ConfigError: matplotlib is not installed.
    """
    summary = summarise(results, resamples, seed)
    made, images = tables_of(summary), [drawn(drawing) for drawing in _drawings(summary)]
    said = verdict(summary)
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURES).mkdir(exist_ok=True)
    for image in images:
        write_atomic(out / FIGURES / f"{image.drawing.name}.png", image.png)
        write_atomic(out / FIGURES / f"{image.drawing.name}.svg", image.svg)
    for table in made:
        write_csv(out / f"{table.name}.csv", table)  # type: ignore[arg-type]
    write_json(out / NUMBERS, as_dict(summary, said, made))
    write_atomic(out / PAGE, page(summary, said, made, images))
    return summary


def as_dict(summary: Summary, said: Verdict, made: Iterable[Table]) -> dict[str, Any]:
    """Return everything that the page says, plain values, for JSON; 9 digits, null for none."""
    told = {table.name: [{key: _plain(value) for key, value in row.items()} for row in table.exact] for table in made}
    return {
        "question": summary.question,
        "test_pictures": summary.pictures,
        "resamples": summary.bootstrap.resamples,
        "seed": summary.bootstrap.seed,
        "verdict": said.lines(),
        **told,
    }


def _plain(value: object) -> object:
    if not isinstance(value, float):
        return value
    return float(f"{value:.9g}") if math.isfinite(value) else None


def page(summary: Summary, said: Verdict, made: Sequence[Table], images: Sequence[Image]) -> str:
    """Return the page."""
    title, room = f"{_contenders(summary)} on {_name(summary)}", [8_000_000]
    blocks = {image.drawing.name: figure_block(image, room) for image in images}
    sheets = {table.name: sheet(_sheet(table)) for table in made}
    parts = [
        f'<header><h1>{text(title)}</h1><button type="button" id="theme" hidden>dark or light</button></header><main>',
        _summary(summary, said),
        _section("Right answers", "scores", blocks.get("learning", ""), sheets.get("scores", "")),
        _section("Which differences are more than chance", "pairs", "", sheets.get("pairs", "")),
        _section("Who overtakes whom", "crossings", "", sheets.get("crossings", "")),
        _section("Compute", "compute", blocks.get("compute", ""), sheets.get("equal_flops", "")),
        _section("Bias and variance", "split", blocks.get("split", ""), sheets.get("split", "")),
        _section("A shift by one pixel", "shift", blocks.get("shift", ""), ""),
        _done(summary),
        "</main>",
    ]
    return frame(title, "\n".join(parts))


def _contenders(summary: Summary) -> str:
    names = list(dict.fromkeys(entry.model for entry in summary.entries))
    return ", ".join(names) if len(names) < 8 else f"{len(names)} models"


def _name(summary: Summary) -> str:
    return Path(str(summary.question.get("data", ""))).name or "pictures"


def _summary(summary: Summary, said: Verdict) -> str:
    seeds = sorted({score.seeds for score in summary.scores})
    numbers = (
        Number("models", len(summary.entries), "", "each with its arm and augmentation"),
        Number("sizes", len(summary.sizes), "", "numbers of training pictures"),
        Number("seeds", seeds[-1] if seeds else 0, "", "at most, of each model and size"),
        Number("trainings", sum(score.seeds for score in summary.scores), "", "that the learning curves rest on"),
        Number("test pictures", summary.pictures, "", "the same for all"),
    )
    told = [*said.order, *said.crossings, *said.causes] or ["Nothing is done yet."]
    says = "".join(paragraph(each[:1].upper() + each[1:] if each[:5].istitle() else each) for each in told)
    caveats = f'<div class="warning"><p>What stands in the way of more:</p>{listing(said.caveats)}</div>'
    return (
        f'<section id="verdict"><div class="says"><h3>Verdict</h3>{says}</div>'
        f"{caveats if said.caveats else ''}{key_numbers(numbers)}</section>"
    )


def _section(title: str, name: str, figure: str, table: str) -> str:
    if not figure and not table:
        return ""
    return f'<section id="{name}"><h2>{text(title)}</h2>{paragraph(_ABOUT[name], "shows")}{figure}{table}</section>'


_ABOUT = {
    "scores": "The share of right answers on the test pictures, by model and size, the number of training pictures.",
    "pairs": "Every two models at every size, over the seeds that both have and over the same test pictures. A "
    "difference counts as significant when its corrected p-value is at most 0.05.",
    "crossings": "Where the learning curves of two models meet, on straight lines between the means over log n. A "
    "crossing is called seen only where each model is significantly ahead at some size on its side; unsure: the means "
    "cross; none: they do not. ∞: above the range that was measured; −∞: below it.",
    "compute": "What the accuracy cost. In the table every model is measured when it had spent what the cheapest one "
    "of the size spent in all; where that is before its end, its learning rate was still high.",
    "split": "Wrong answers that models of one kind share (bias²) and those that depend on which pictures a model was "
    "trained on (variance), from the answers of models trained on different pictures.",
    "shift": "How often the answer stays the same when the picture moves by one pixel.",
}


def _sheet(table: Table) -> Sheet:
    return Sheet(table.caption, table.shown, table.heads, table.filter, open=table.open)


def _done(summary: Summary) -> str:
    """Return how the study was done and how its numbers were worked out."""
    match = str(summary.question.get("match", ""))
    matching = [f"Matching: {MATCHES[match]}."] if match in MATCHES else []
    asked = [{"setting": name, "value": _told(value)} for name, value in summary.question.items()]
    settings = sheet(Sheet("What was asked", asked, {"setting": "setting", "value": "value"}, open=False))
    return (
        f'<section id="done"><h2>How it was done</h2>{listing([*matching, *_METHOD])}'
        f"{paragraph(f'{summary.bootstrap.resamples:,} resamples, seed {summary.bootstrap.seed}.', 'notes')}"
        f'{settings}<p class="source">Numbers: results.csv, results.json and results.npz (every answer), '
        f"summary.json and a .csv of every table.</p></section>"
    )


_METHOD = (
    "Learning rates were chosen on validation pictures, for each model by itself; the test pictures were asked once, "
    "at the end.",
    "Intervals of accuracies: bootstrap over seeds and test pictures, the seeds' part as wide as Student's t demands.",
    "Tests: paired over seeds and pictures. Variance of a difference = from seed to seed (Student's t) + from picture "
    "to picture (normal), as for readers and cases in radiology (Hillis et al., Stat. Med. 24, 2005). Few seeds tell "
    "little of one spread: it is taken to be how far all models spread at a size times how far a model spreads "
    "compared with the others at all sizes, or the pair's own where that is larger. Corrected by Holm for all tests.",
    "Crossings: interval by the same bootstrap, each pair with its own spread from seed to seed. Resamples without a "
    "crossing count as below or above the range that was measured.",
    "Bias² and variance: Kohavi and Wolpert (ICML 1996), without bias for any number of models; intervals by the "
    "jackknife over models and the normal over pictures. Majority: Domingos (ICML 2000). Models of the learning curves "
    "(their pictures: subset) share training pictures, the more the larger the size, which makes the variance smaller.",
    "All seeds draw their training pictures from one pool, at the largest size perhaps all of it: intervals are for "
    "new seeds and new test pictures, not for a new pool.",
    "FLOPs and parameters are computed, FLOPs of forward and backward passes of the one training that counts, without "
    "the trials of learning rates.",
)


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_told(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(each)}" for name, each in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _drawings(summary: Summary) -> list[Drawing]:
    """Return the figures for which there are numbers."""

    def drawing(name: str, caption: str, draw: Callable[[Summary, Figure], None]) -> Drawing:
        return Drawing(name, caption, lambda figure: draw(summary, figure))

    found = []
    if summary.scores:
        found.append(drawing("learning", "Right answers by training pictures.", drawings.draw_learning))
        found.append(drawing("compute", "Right answers by training compute.", drawings.draw_compute))
    if summary.decompositions:
        found.append(drawing("split", "Wrong answers, split into bias² and variance.", drawings.draw_split))
    if any(not math.isnan(score.shift) for score in summary.scores):
        found.append(drawing("shift", "Answers that a shift by one pixel does not change.", drawings.draw_shift))
    return found
