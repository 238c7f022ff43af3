"""report.html: everything that was seen of a model, on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .finding import Number
from .inline import inline_svg
from .markup import frame, listing, number, paragraph, picture, sheet, table, text

if TYPE_CHECKING:
    from .survey import Image, Outcome, Survey

LARGE_SVG = 2_500_000
"""letters of both sizes of a figure above which it stands in the page as a PNG"""
MOST_FIGURES = 11_000_000
"""bytes of all figures of a page; those above are in the folder only"""


_PICTURE_HEADS = {
    "picture": "picture",
    "file": "file",
    "class": "class",
    "answer": "answer",
    "probability": "probability",
}


def page(survey: Survey) -> str:
    """Return the page of `survey`."""
    title = f"Inside {survey.subject.name}" + (f" and {survey.other.name}" if survey.other else "")
    return laid_out(title, _about(survey), survey.outcomes)


def laid_out(title: str, about: str, outcomes: Sequence[Outcome]) -> str:
    """Return a page of what was found, after `about` (HTML)."""
    room = [MOST_FIGURES]
    shown = [_section(outcome, room) for outcome in outcomes if outcome.finding]
    missing = [outcome for outcome in outcomes if not outcome.finding]
    body = [
        f'<header><h1>{text(title)}</h1><button type="button" id="theme" hidden>dark or light</button></header>',
        "<main>",
        about,
        _contents(outcomes),
        *shown,
    ]
    if missing:
        body.append('<section id="missing"><h2>What does not apply</h2><dl>')
        for outcome in missing:
            name = outcome.exhibit.name
            body.append(f'<dt id="{name}">{text(outcome.exhibit.title)}</dt><dd>{text(_sentence(outcome.why))}</dd>')
        body.append("</dl></section>")
    body.append("</main>")
    return frame(title, "\n".join(body))


def _about(survey: Survey) -> str:
    """Return what was looked at."""
    subject = survey.subject
    lines = [_model(subject)]
    if survey.other:
        lines.append(f"Beside it: {_model(survey.other)}")
    pictures = survey.pictures[:1].upper() + survey.pictures[1:]
    lines.append(f"Pictures: {pictures}." if len(subject) else f"{pictures}.")
    if len(subject) > subject.shown:
        lines.append(f"Single pictures are shown of the first {subject.shown}; sets are measured over all.")
    lines += survey.notes
    faults = [fault.line() for fault in survey.faults]
    names = table("Pictures shown one by one", _PICTURE_HEADS, survey.shown) if survey.shown else ""
    warned = f'<div class="warning"><p>Not read:</p>{listing(faults)}</div>' if faults else ""
    return f'<section id="about">{listing(lines)}{names}{warned}</section>'


def _model(subject) -> str:
    config = subject.model.config
    sizes = [f"pictures of {config.image_size[0]}x{config.image_size[1]} pixels", config.summary]
    if config.kind == "vit":
        sizes += [f"positions: {config.position}", f"answer from: {config.pool}"]
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    return f"{subject.name}: {parameters:,} parameters; {'; '.join(sizes)}; {len(subject.classes)} classes."


def _contents(outcomes: Sequence[Outcome]) -> str:
    links = "".join(
        f'<li><a href="#{each.exhibit.name}">{text(each.exhibit.title)}</a>'
        f"{'' if each.finding else ' (does not apply)'}</li>"
        for each in outcomes
    )
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{links}</ol></nav>'


def _section(outcome: Outcome, room: list[int]) -> str:
    exhibit, finding = outcome.exhibit, outcome.finding
    files = ", ".join(f"{name}.csv and .npz" for name in finding.results)
    parts = [
        f'<section id="{exhibit.name}"><h2>{text(exhibit.title)}</h2>',
        paragraph(exhibit.shows, "shows"),
        '<div class="says"><h3>This model</h3>' + "".join(paragraph(each) for each in finding.says) + "</div>",
        key_numbers(finding.numbers),
        *(figure_block(image, room) for image in outcome.images if not image.drawing.folded),
        _folded([image for image in outcome.images if image.drawing.folded], room),
        f'<p class="healthy"><strong>A healthy one:</strong> {text(exhibit.healthy)}</p>',
        *(sheet(each) for each in finding.sheets),
        listing(finding.notes, "notes"),
        f'<p class="source">Figure of the paper: {text(exhibit.paper)}. Numbers: {text(files)}.</p></section>',
    ]
    return "\n".join(parts)


def _folded(images: list[Image], room: list[int]) -> str:
    figures = "".join(figure_block(image, room) for image in images)
    return f"<details><summary>{len(images)} more</summary>{figures}</details>" if images else ""


def key_numbers(numbers: tuple[Number, ...]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(each.name)}{_small(each.means)}</th>'
        f'<td class="number">{number(each.value, each.unit)}</td></tr>'
        for each in numbers
    )
    return f'<table class="key"><caption>Key numbers</caption><tbody>{rows}</tbody></table>' if rows else ""


def _small(words: str) -> str:
    return f"<small>{text(words)}</small>" if words else ""


def figure_block(image: Image, room: list[int]) -> str:
    """Return one figure, wide and narrow; as PNG where its SVG is large, by name only where the page is full."""
    caption = text(image.drawing.caption)
    made = _drawn(image)
    if len(made) > room[0]:
        made = paragraph(f"The page is full: see {image.drawing.name}.png in the folder.", "notes")
    room[0] -= len(made)
    return f'<figure id="figure-{text(image.drawing.name)}">{made}<figcaption>{caption}</figcaption></figure>'


def _drawn(image: Image) -> str:
    name = image.drawing.name
    wide, narrow = inline_svg(image.svg, name), inline_svg(image.narrow, f"{name}-n")
    if len(wide) + len(narrow) > LARGE_SVG:
        return picture(image.png, image.drawing.caption)
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _sentence(why: str) -> str:
    return f"{why[:1].upper()}{why[1:]}{'' if why.endswith('.') else '.'}"
