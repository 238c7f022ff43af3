"""Headers of JPEG files: what they say of the picture, and the file of its first rows alone."""

from __future__ import annotations

from typing import NamedTuple

_END = b"\xff\xd9"
_BLOCK, _MARGIN = 16, 2
"""rows that are decoded together where colours have half the rows; rows below from which a colour is interpolated"""


class Header(NamedTuple):
    """What the header of an 8-bit JPEG says."""

    rows: int
    columns: int
    components: int
    """1 for grey, 3 for colours"""
    one_scan: bool
    """whether the first scan has all of the picture, from the first row to the last"""
    rows_at: int
    """where in the file the two bytes are that say how many rows there are"""
    plain: bool
    """whether there is nothing but JFIF in front of the picture: no EXIF, no colour profile"""


def read_header(data: bytes) -> Header | None:
    """Return the header of an 8-bit JPEG in grey or in three colours; None of any other."""
    at, frame, plain = 2, None, True
    try:
        while data[at] == 0xFF:
            marker = data[at + 1]
            length = data[at + 2] << 8 | data[at + 3]
            if marker in (0xC0, 0xC1, 0xC2) and frame is None and data[at + 4] == 8:
                rows, columns = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
                frame, baseline = (rows, columns, data[at + 9]), marker != 0xC2
                rows_at = at + 5
            elif marker == 0xDA:
                if frame and frame[2] in (1, 3):
                    return Header(*frame, baseline and data[at + 4] == frame[2], rows_at, plain)
                return None
            elif marker == 0xE0:
                plain = plain and data[at + 4 : at + 9] == b"JFIF\0"
            elif 0xE0 < marker < 0xF0:
                plain = False
            elif marker not in (0xC4, 0xDB, 0xDD, 0xFE):
                return None
            at += 2 + length
    except IndexError:
        pass
    return None


def first_rows(data: bytes, header: Header, rows: int, scale: int = 1) -> tuple[bytes, int]:
    """Return a file whose picture is the first `rows` of `data` and some more, and how many; or `data` as it is.

    Only the height that the header states is another one: a decoder stops there, and skips the rest of the file with a
    warning. The rows are those of the whole picture, bit for bit, at 1 / `scale` of its size too.
    A file that does not end as it should may have been cut short, which only decoding all of it tells.
    """
    enough = -(-(rows + _MARGIN * scale) // _BLOCK) * _BLOCK
    if not header.one_scan or enough >= header.rows or data[-2:] != _END:
        return data, header.rows
    return data[: header.rows_at] + enough.to_bytes(2, "big") + data[header.rows_at + 2 :], enough
