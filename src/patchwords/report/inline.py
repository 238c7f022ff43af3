"""An SVG made fit to stand in a page with a strict policy: no style attributes, no ids that meet those of another."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_PNG = "data:image/png;base64,"
LARGE, QUALITY = 24_000, 86
"""letters of an address above which a picture is made smaller, and how good WebP keeps it"""
_FONT = re.compile(r"(?:(italic|oblique) )?(?:(bold|\d+) )?([\d.]+(?:px|pt)?)(?:/\S+)? (.+)")


def inline_svg(svg: bytes, name: str) -> str:
    """Return `svg` for the inside of an HTML page; `name` goes before all of its ids.

    A page whose policy allows no inline style ignores style attributes, so that they become attributes of their own
    (`style="fill: none"` is `fill="none"`).
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    wanted = set(re.findall(rb'(?:href="|url\()#([^")]+)', svg))
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.get("id", "").encode() not in wanted:  # nothing leads there, and some come twice
            element.attrib.pop("id", None)
        for key, value in _attributes(element, name).items():
            element.set(key, value)
        if element.tag == "image":
            element.set("href", _smaller(element.get("href", "")))
    width, height = (float(part) for part in root.get("viewBox", "0 0 1 1").split()[2:])
    root.set("width", f"{width * 4 / 3:.0f}")  # points to CSS pixels
    root.set("height", f"{height * 4 / 3:.0f}")
    root.attrib.pop("version", None)
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(element: ElementTree.Element, name: str) -> dict[str, str]:
    """Take off what must not stay and return what stands for it."""
    found: dict[str, str] = {}
    for part in element.attrib.pop("style", "").split(";"):
        key, colon, value = (each.strip() for each in part.partition(":"))
        if colon:
            found |= _font(value) if key == "font" else {key: value}
    for key in list(element.attrib):
        value = element.attrib[key]
        if key == f"{{{_XLINK}}}href":
            del element.attrib[key]
            found["href"] = f"#{name}-{value[1:]}" if value.startswith("#") else value
        elif key == "id":
            found["id"] = f"{name}-{value}"
        elif key.startswith("{"):
            del element.attrib[key]
        elif value.startswith("url(#"):
            found[key] = f"url(#{name}-{value[5:]}"
    return {
        key: f"url(#{name}-{value[5:]}" if value.startswith("url(#") and name not in value else value
        for key, value in found.items()
    }


def _smaller(address: str) -> str:
    """Return a large PNG at a data: address as WebP, of photographs a sixth of the bytes; what is small stays exact."""
    if not address.startswith(_PNG) or len(address) < LARGE:
        return address
    from PIL import Image, features

    if not features.check("webp"):
        return address
    stream = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(address[len(_PNG) :]))).save(stream, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _font(value: str) -> dict[str, str]:
    match = _FONT.fullmatch(value)
    if match is None:
        return {}
    style, weight, size, family = match.groups()
    found = {"font-size": size, "font-family": family}
    return found | ({"font-style": style} if style else {}) | ({"font-weight": weight} if weight else {})
