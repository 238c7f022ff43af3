"""Words in figures: names of any origin as plain text, layers in plain words, numbers, lines that fit."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

POINTS_PER_INCH = 72
_BRANCHES = {"attn": "attention branch", "+attn": "after attention", "mlp": "MLP branch", "+mlp": ""}
_BRANCHES |= {"conv": "convolutions", "+conv": "before its ReLU", "mix": "mixing branch", "+mix": "after mixing"}
_SHORT = {"attn": " attn", "+attn": " +attn", "mlp": " MLP", "+mlp": ""}
_SHORT |= {"conv": " conv", "+conv": " +conv", "mix": " mix", "+mix": " +mix"}
_OTHERS = {"embed": "embedding", "encoded": "last norm"}


def plain(text: object, most: int = 28) -> str:
    """Return `text` on one line of at most `most` columns, without control characters; cut in the middle.

    What could end a line, turn the direction of writing or break an SVG is left out; everything else is shown as it
    is: `$`, `<`, `&`, emoji.
    """
    kept = "".join(" " if c.isspace() else c for c in str(text) if _drawable(c))
    line = " ".join(kept.split())
    if _columns(line) <= most:
        return line
    head, tail = (most - 1) - (most - 1) // 3, (most - 1) // 3
    return _cut(line, head) + "…" + _cut(line[::-1], tail)[::-1]


def _drawable(character: str) -> bool:
    if character.isspace():
        return True
    category, code = unicodedata.category(character), ord(character)
    turns = code in (0x200E, 0x200F, 0x061C) or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return category not in ("Cc", "Cs", "Cn") and not turns


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, most: int) -> str:
    while _columns(text) > most:
        text = text[:-1]
    return text


def layer_name(name: str) -> str:
    """Return the name of a record in words: `block00/+attn` is "block 1, after attention"."""
    found = re.fullmatch(r"block(\d+)/(\+?(?:attn|conv|mix|mlp))", name)
    if found is None:
        return _OTHERS.get(name, plain(name))
    return f"block {int(found[1]) + 1}, {_BRANCHES[found[2]]}".rstrip(", ")


def short_layer(name: str) -> str:
    """Return the same for the tick of an axis: `block00/+attn` is "1 +attn"."""
    found = re.fullmatch(r"block(\d+)/(\+?(?:attn|conv|mix|mlp))", name)
    return _OTHERS.get(name, plain(name, 12)) if found is None else f"{int(found[1]) + 1}{_SHORT[found[2]]}"


def tile_layer(name: str) -> str:
    """Return the same for a small map: `block00/+attn` is "block 1 +attn"."""
    return f"block {short_layer(name)}" if name.startswith("block") else short_layer(name)


def number(value: float, digits: int = 3) -> str:
    """Return `value` to `digits` figures, without powers of ten where they can be avoided."""
    if value != value:
        return "not a number"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-5 <= abs(value) < 1e7:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.7f}".rstrip("0")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """Return a share of 0..1 in per cent."""
    return f"{number(100 * share)} %" if share == share else number(share)


def listed(words: Sequence[object]) -> str:
    """Return "a, b and c"."""
    words = [str(word) for word in words]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@functools.lru_cache(maxsize=4096)
def width_in(text: str, size_pt: float) -> float:
    """Return how wide `text` is in inches, its longest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=["DejaVu Sans"], size=size_pt)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n") if line]
    return max(widths, default=0.0) / POINTS_PER_INCH


def fitted(text: object, most_in: float, size_pt: float = 8.5) -> str:
    """Return `text` as `plain` does, cut to at most `most_in` inches."""
    few, most = 3, 60
    while few < most:
        middle = (few + most + 1) // 2
        few, most = (middle, most) if width_in(plain(text, middle), size_pt) <= most_in else (few, middle - 1)
    return plain(text, few)


def height_in(text: str, size_pt: float) -> float:
    """Return how high `text` is in inches, with the room between lines."""
    return (text.count("\n") + 1) * size_pt * 1.25 / POINTS_PER_INCH


def wrapped(text: str, size_pt: float, most_in: float) -> str:
    """Return `text` with line ends where it would be wider than `most_in`."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_in(f"{lines[-1]} {word}", size_pt) <= most_in:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
