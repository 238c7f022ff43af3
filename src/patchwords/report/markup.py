"""Pieces of HTML: text that is always escaped, tables of numbers, and the frame of a page with a strict policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources

from ..errors import printable
from ..inspection.results import Row
from .finding import Sheet


def text(value: object) -> str:
    """Return `value` as text of a page: escaped, control characters made visible."""
    return escape(printable(str(value)), quote=True)


def paragraph(value: object, kind: str = "") -> str:
    """Return a paragraph of text."""
    return f"<p{_kind(kind)}>{text(value)}</p>"


def listing(values: Iterable[object], kind: str = "") -> str:
    """Return a list of texts; "" for none."""
    items = "".join(f"<li>{text(value)}</li>" for value in values)
    return f"<ul{_kind(kind)}>{items}</ul>" if items else ""


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def number(value: float | int, unit: str = "") -> str:
    """Return a number as it reads best, with all of its digits in the `value` of a <data> element."""
    shown = str(value) if isinstance(value, int) else rounded(value)
    exact = str(value) if isinstance(value, int) else f"{value:.9g}"
    return f'<data value="{exact}">{shown}</data>' + (f" {text(unit)}" if unit else "")


def rounded(value: float) -> str:
    """Return `value` with at most three decimals, or three figures where it is small."""
    if value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    shown = f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.2f}"
    if size < 1:
        shown = f"{value:.3f}" if size >= 0.01 or not size else f"{value:.2g}"
    return shown.replace("-", "−")


def cell(value: str | float | int) -> str:
    """Return one cell of a table."""
    return f"<td>{text(value)}</td>" if isinstance(value, str) else f'<td class="number">{number(value)}</td>'


def table(caption: str, heads: dict[str, str], rows: Iterable[Row], kind: str = "", filter_by: str = "") -> str:
    """Return a table; `kind` "sortable" has heads to sort by, `filter_by` a column to choose rows by."""
    rows = list(rows)
    sortable = "sortable" in kind
    over = "".join(
        f'<th scope="col"{_kind("number" if _is_number(rows, name) else "")}>'
        f"{_button(head) if sortable else text(head)}</th>"
        for name, head in heads.items()
    )
    body = "".join(f"<tr>{''.join(cell(row.get(name, '')) for name in heads)}</tr>" for row in rows)
    by = f' data-filter="{list(heads).index(filter_by)}"' if filter_by in heads else ""
    label = text(caption.strip())
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table{_kind(kind)}{by}><caption>{label}</caption>"
        f"<thead><tr>{over}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_number(rows: list[Row], name: str) -> bool:
    return bool(rows) and not isinstance(rows[0].get(name, ""), str)


def _button(head: str) -> str:
    return f'<button type="button">{text(head.strip())}</button>'


def sheet(found: Sheet) -> str:
    """Return a table that can be sorted, folded away where it is long."""
    made = table(found.caption, found.heads, found.rows, "sortable", found.filter)
    return made if found.open else f"<details><summary>{text(found.caption)}</summary>{made}</details>"


def picture(data: bytes, words: str, kind: str = "") -> str:
    """Return a PNG as an image of the page."""
    return f'<img{_kind(kind)} alt="{text(words)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def frame(title: str, body: str) -> str:
    """Return a whole page around `body`: style and script inside, and nothing else allowed, by their sha256."""
    style, script = (_static(name) for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _static(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
