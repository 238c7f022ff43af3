"""The built-in set: 1,797 handwritten digits, 8x8 grey, 10 classes; no download.

"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine Learning
Repository, doi 10.24432/C50P49, licence CC BY 4.0; the 1,797 pictures of its test part, as scikit-learn
carries them. digits.npz beside this file holds them unchanged (scripts/make_digits.py).

A value v of 0..16 becomes the grey level (255 v + 8) // 16, which is 255 v / 16 rounded half up; ink is bright.
Each picture is handed out as the bytes of a PNG file, so that it goes the way of every other picture.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from importlib.resources import files

import numpy as np

from .sources import Entry, Source


class DigitSource(Source):
    """PNG files made on request."""

    def _read(self, handle: np.ndarray, where: str) -> bytes:
        return png_bytes(handle)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return a grey PNG of (rows, columns) uint8 pixels, not compressed: the same bytes on every machine."""
    rows, columns = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    block = struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF)  # one stored block, RFC 1951, 3.2.4
    data = b"\x78\x01" + block + raw + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def open_digits() -> Source:
    """Return the digits; paths are CLASS/NUMBER.png with scikit-learn's number, no split is given."""
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        values, labels = arrays["values"], arrays["labels"]
    pixels = ((values.astype(np.uint16) * 255 + 8) // 16).astype(np.uint8)
    entries = [Entry(f"{label}/{number:04d}.png", str(label), "") for number, label in enumerate(labels.tolist())]
    return DigitSource("digits", "digits", zip(entries, pixels, strict=True), (), Counter())
