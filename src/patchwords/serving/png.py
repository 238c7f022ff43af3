"""Pixels to PNG: exactly what the model sees, for the page to draw on."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_GREY, _RGB = 0, 2
_UP = 2


def png(pixels: np.ndarray) -> bytes:
    """Return the PNG (W3C, third edition) of uint8 (channels, rows, columns), 1 or 3 channels; lossless."""
    channels, rows, columns = pixels.shape
    lines = np.ascontiguousarray(pixels.transpose(1, 2, 0)).reshape(rows, columns * channels)
    filtered = np.full((rows, 1 + columns * channels), _UP, np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = lines[0], lines[1:] - lines[:-1]  # each line less the one above, modulo 256
    header = struct.pack(">IIBBBBB", columns, rows, 8, {1: _GREY, 3: _RGB}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
