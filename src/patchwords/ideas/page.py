"""ideas.html: every idea with its claim, its verdict and the figures behind it, on one page that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report.finding import plural
from ..report.markup import frame, number, paragraph, table, text
from ..report.page import MOST_FIGURES, figure_block
from .idea import Result

if TYPE_CHECKING:
    from .show import Shown

_HEADS = {"number": "number", "name": "idea", "verdict": "verdict", "claim": "claim", "seconds": "seconds"}
TITLE = "The ideas of the Vision Transformer"


def page(shown: Sequence[Shown]) -> str:
    """Return the page."""
    room = [MOST_FIGURES]
    counts = Counter(each.verdict for each in shown)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    told = f"{plural(len(shown), 'idea')}: {told}."
    rows = [
        {"number": each.idea.number, "name": each.idea.name, "verdict": each.verdict, "claim": each.idea.claim}
        | {"seconds": round(each.seconds, 2) if each.result else ""}
        for each in shown
    ]
    body = [
        f'<header><h1>{TITLE}</h1><button type="button" id="theme" hidden>dark or light</button></header>',
        f'<main><section id="about">{paragraph(told)}',
        table("Ideas and what came out", _HEADS, rows, "sortable", "verdict"),
        "</section>",
        *(_section(each, room) for each in shown),
        "</main>",
    ]
    return frame(TITLE, "\n".join(body))


def _section(shown: Shown, room: list[int]) -> str:
    idea = shown.idea
    parts = [
        f'<section id="{idea.name}"><h2>{idea.number} {text(idea.name)}: {shown.verdict}</h2>',
        paragraph(idea.claim, "shows"),
    ]
    if shown.result is None:
        parts.append(f'<div class="warning">{paragraph(f"Not run: {shown.why}")}</div>')
    else:
        parts.append(f'<div class="says"><h3>What came out</h3>{paragraph(shown.result.reason)}</div>')
        parts += [figure_block(image, room) for image in shown.images]
        parts += [checks(shown.result), _figures(shown.result)]
    parts.append(f'<p class="source">{text(idea.experiment)} Source: {text(idea.paper)}.</p></section>')
    return "\n".join(parts)


def checks(result: Result) -> str:
    """Return the table of measured figures and what they have to meet."""
    rows = [
        {"what": each.name, "value": each.value, "relation": each.relation, "threshold": each.threshold}
        | {"met": "yes" if each.met else "no"}
        for each in result.checks
    ]
    heads = {"what": "measured", "value": "figure", "relation": "has to be", "threshold": "this", "met": "met"}
    return table("Checks", heads, rows)


def _figures(result: Result) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="number">'
        f"{text(value) if isinstance(value, str) else number(value)}</td></tr>"
        for name, value in result.figures.items()
    )
    return f'<table class="key"><caption>Other figures</caption><tbody>{rows}</tbody></table>' if rows else ""
