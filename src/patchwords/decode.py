"""The one decoder: the bytes of a picture to uint8 pixels, or one line that says why not.

The rule (`DECODE_RULE`), the same in training, evaluation, prediction and export:

- Formats: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM/PGM/PBM/PFM, known by content, whatever the name says; and
  .npy with uint8 pixels (rows, columns, 1 or 3), as `pack` writes them.
- Limits: `MAX_BYTES` for the file, `MAX_PIXELS` for the picture, looked at before anything is decoded.
- A picture that is cut short is an error; no pixel is ever invented.
- EXIF orientation 1 to 8 is applied; an EXIF block that cannot be read counts as upright.
- 16 bits per channel: the high byte. Floating point: 0..1 is scaled to 0..255 (round half up), anything
  else is refused, for it has no defined white. 32-bit whole numbers: as 16 bits up to 65535, else refused.
- 1 bit: 0 and 255. Palette: its colours. Animation: the first frame.
- Alpha, a transparent palette entry or a colour key: laid over white, (c a + 255 (255 - a)) / 255 rounded.
- CMYK (with Adobe's inversion undone for JPEG): R = (255 - C)(255 - K) / 255 rounded. ICC profiles are ignored.
- RGB to grey: (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R 601-2); grey to RGB: the value three times.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from .errors import DataError
from .jpeg import first_rows, read_header

try:
    import simplejpeg
except ImportError:  # optional: the same pixels, about twice as fast
    simplejpeg = None

DECODE_RULE = 1
"""changes whenever the same bytes could give other pixels; part of every data manifest"""
MAX_BYTES = 2**28
"""256 MiB: larger files are refused"""
MAX_PIXELS = 2**26
"""67,108,864 (8192 x 8192): larger pictures are refused"""
MAX_SCAN_PIXELS = 2**31
"""of a progressive JPEG: pixels times scans, which bounds the time it can take"""

_OPENERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # not jpeg_factory: a multi-picture file is read as its first picture
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
_SIGNATURES = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("WebP", rb"RIFF.{4}WEBP"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM"),
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("PPM", rb"P[1-6f]\s"),
    ("NPY", rb"\x93NUMPY"),
)
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+), ([13])\), \} *\n", re.S
)
_STRANGERS = (
    ("a web page", rb"\s*<(!doctype\s+html|html|head|body)"),
    ("an SVG drawing", rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg"),
    ("an XML text", rb"\s*<\?xml"),
    ("a Git LFS pointer (`git lfs pull` fetches the picture)", rb"version https://git-lfs"),
    ("an AVIF or HEIC picture", rb".{4}ftyp(avi|hei|hev|mif|msf)"),
    ("a JPEG 2000 picture", rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51"),
    ("a JPEG XL picture", rb"\xff\x0a|\x00\x00\x00\x0cJXL"),
    ("a Photoshop file", rb"8BPS"),
    ("an icon file", rb"\x00\x00[\x01\x02]\x00"),
    ("a PDF file", rb"%PDF"),
    ("a PostScript file", rb"%!PS"),
    ("a zip archive", rb"PK\x03\x04"),
    ("a gzip file", rb"\x1f\x8b"),
)
ENDINGS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png", "apng"),
    "WebP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp", "dib"),
    "TIFF": ("tif", "tiff"),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "NPY": ("npy",),
}
"""format -> endings of file names, the usual one first"""
_FORMATS = ", ".join(_OPENERS)
_SAVE_AGAIN = f"Save it again as one of {_FORMATS}, or remove it"
_FETCH_AGAIN = "Fetch it again, or remove it"
_SMALLER = "Make it smaller, or remove it"

# Pillow and libtiff tell stderr of what the rule above decides (damaged EXIF, damaged strips); the one line that
# names the file must not be mixed with that.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
with contextlib.suppress(OSError, AttributeError):  # a Pillow without libtiff, or with one linked into it
    _libraries = ctypes.CDLL(Image.core.__file__)
    _libraries.TIFFSetErrorHandler(None)
    _libraries.TIFFSetWarningHandler(None)


class _Refused(Exception):
    """A picture that the rule refuses: (what, fix)."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a picture's header says, for a report."""

    format: str
    rows: int
    """before its orientation is applied"""
    columns: int
    odd: tuple[str, ...]
    """what `decode` has a special rule for: cmyk, 16-bit, floating point, alpha, palette, 1-bit, animated, turned"""

    def fits(self, path: str) -> bool:
        """Say whether the ending of a file name is one of the format's."""
        ending = path.rsplit("/", 1)[-1].rpartition(".")[2] if "." in path else ""
        return not ending or ending.lower() in ENDINGS[self.format]


def traits(data: bytes) -> Traits:
    """Return the traits of a picture that `decode` accepts."""
    kind = _format(data)
    if kind == "JPEG" and (header := read_header(data)) and header.plain:
        return Traits(kind, header.rows, header.columns, ())
    if kind == "NPY":
        return Traits(kind, *_stored_pixels(data).shape[:2], ())
    image = _open(kind, data)
    try:
        animated = getattr(image, "is_animated", False)
    except Exception:  # a damaged second frame: the first is what counts
        animated = True
    image = _open(kind, data)  # looking for more frames moves some formats on
    odd = {
        "cmyk": image.mode == "CMYK",
        "16-bit": image.mode.startswith("I") or ";16" in str(image.tile) or (kind == "PPM" and _is_deep(data)),
        "floating point": image.mode == "F",
        "alpha": image.has_transparency_data,
        "palette": image.mode in ("P", "PA"),
        "1-bit": image.mode == "1",
        "animated": animated,
        "turned": _orientation(image) != 1,
    }
    return Traits(kind, image.size[1], image.size[0], tuple(name for name, found in odd.items() if found))


def _is_deep(data: bytes) -> bool:
    """Say whether a PPM or PGM states a largest value above 255."""
    numbers = re.match(rb"P[2356](?:\s+(?:#[^\n]*\n\s*)*\d+){2}\s+(?:#[^\n]*\n\s*)*(\d+)", data)
    return bool(numbers) and int(numbers[1]) > 255


def format_of(data: bytes) -> str:
    """Return the name of the format of a picture that `decode` accepts."""
    return _format(data)


def decode(
    data: bytes, channels: int = 3, name: str = "", *, scale: int = 1, rows: int = 0, writable: bool = True
) -> np.ndarray:
    """Return the pixels of a picture by the rule of this module.

    Args:
        data: the whole file.
        channels: 1 for grey, 3 for RGB.
        name: of the file, for the message.
        scale: 2, 4 or 8 takes a JPEG at that part of its size, rounded up, by a smaller inverse transform; other
            formats are not changed by it.
        rows: how many are needed, from the first, before `scale`; 0: all. Those below them may be left out. For files
            that were decoded whole before: what is damaged may not be seen.
        writable: False where the result may be a view of `data`, which saves a copy.

    Returns:
        (rows, columns, channels) uint8, C-contiguous.

    Raises:
        DataError: not a picture, cut short, damaged, of a format or colour mode that is not read, or over a limit.
    """
    try:
        kind = _format(data)
        if kind == "JPEG":
            pixels = _decode_jpeg(data, scale, rows)
        else:
            pixels = _stored_pixels(data) if kind == "NPY" else _decode_pillow(_open(kind, data))
        return np.require(_with_channels(pixels, channels), requirements="CW" if writable else "C")
    except _Refused as refusal:
        raise DataError(refusal.args[0], where=name, fix=refusal.args[1]) from None
    except MemoryError:
        raise DataError("there is not enough memory to decode it", where=name, fix=_SMALLER) from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        what, fix = _refusal(error)
        raise DataError(what, where=name, fix=fix) from None


def stated_size(data: bytes) -> tuple[int, int, bool] | None:
    """Return (rows, columns, whether `scale` has an effect) of the upright picture, if its header says it at once."""
    if stored := _NPY.match(data):
        return int(stored[1]), int(stored[2]), False
    if data[:3] == b"\xff\xd8\xff":
        if (header := read_header(data)) and header.plain:
            return header.rows, header.columns, True
        with contextlib.suppress(Exception):  # `decode` says what is wrong
            image = _open("JPEG", data)
            return (*(image.size if _orientation(image) >= 5 else image.size[::-1]), True)
    return None


def _stored_pixels(data: bytes) -> np.ndarray:
    """Return the (rows, columns, 1 or 3) uint8 pixels of a .npy file, without a copy."""
    header = _NPY.match(data)
    if not header or header.end() != 10 + int.from_bytes(data[8:10], "little"):
        raise _Refused("the array is not uint8 pixels (rows, columns, 1 or 3)", _SAVE_AGAIN)
    rows, columns, components = map(int, header.groups())
    _check_size(columns, rows)
    if len(data) != header.end() + rows * columns * components:
        raise _Refused("the picture is damaged or cut short", _FETCH_AGAIN)
    return np.frombuffer(data, np.uint8, offset=header.end()).reshape(rows, columns, components)


def _refusal(error: Exception) -> tuple[str, str]:
    """Return (what, fix) for what a decoder raised."""
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        size = re.search(r"\d{4,}", text)
        stated = f"{int(size[0]) / 1e6:,.1f} million" if size else "too many"
        return f"the picture states {stated} pixels, more than the limit of {MAX_PIXELS / 1e6:.1f} million", _SMALLER
    if re.search(r"truncated|unexpected end|not enough|broken data stream|EOF|ended|unpack", text, re.I):
        return "the picture is damaged or cut short", _FETCH_AGAIN
    return f"the picture is damaged ({text[:100] or type(error).__name__})", _FETCH_AGAIN


def _format(data: bytes) -> str:
    """Return the format's name, a key of `_OPENERS`, from the first bytes."""
    if not data:
        raise _Refused("the file is empty (0 bytes)", _FETCH_AGAIN)
    if len(data) > MAX_BYTES:
        raise _Refused(f"the file has {len(data):,} bytes, more than the limit of {MAX_BYTES:,}", _SMALLER)
    head = data[:64]
    for name, signature in _SIGNATURES:
        if re.match(signature, head, re.S):
            return name
    head = data[:1024].removeprefix(b"\xef\xbb\xbf")
    for name, signature in _STRANGERS:
        if re.match(signature, head, re.S | re.I):
            raise _Refused(f"this is {name}, not a picture of a format that is read", _SAVE_AGAIN)
    raise _Refused("this is not a picture of a format that is read", _SAVE_AGAIN)


def _check_size(columns: int, rows: int) -> None:
    if columns < 1 or rows < 1:
        raise _Refused(f"the picture is {columns} x {rows} pixels", _FETCH_AGAIN)
    if columns * rows > MAX_PIXELS:
        size = f"{columns:,} x {rows:,} pixels ({columns * rows / 1e6:,.1f} million)"
        raise _Refused(f"the picture is {size}, more than the limit of {MAX_PIXELS / 1e6:.1f} million", _SMALLER)


def _open(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Return the opened, not yet decoded picture; its size is within the limits."""
    image = _OPENERS[kind](BytesIO(data))
    _check_size(*image.size)
    return image


def _decode_pillow(image: ImageFile.ImageFile) -> np.ndarray:
    """Return (rows, columns, 1 or 3) uint8, upright."""
    image.load()  # before the orientation: Pillow turns TIFF itself, and PNG may carry EXIF at its end
    _check_size(*image.size)
    return _upright(_colours(image), _orientation(image))


def _decode_jpeg(data: bytes, scale: int, needed: int) -> np.ndarray:
    """Return what `_decode_pillow` does, through simplejpeg where that is known to give the same pixels.

    Headers with anything but plain JFIF go through Pillow, so that what is accepted does not depend on
    whether simplejpeg is installed; the same holds for data that libjpeg only warns of.
    """
    header, orientation = read_header(data) if simplejpeg else None, 1
    if header and header.plain:
        image, (rows, columns, components, whole) = None, header[:4]
        _check_size(columns, rows)
    else:
        image = _open("JPEG", data)
        (columns, rows), components, whole = image.size, {"L": 1, "RGB": 3}.get(image.mode, 0), False
        orientation = _orientation(image)
    scans = 1 if whole else data.count(b"\xff\xda")  # what follows a scan that has it all is not decoded
    if scans * rows * columns > MAX_SCAN_PIXELS:
        raise _Refused(f"the picture has {columns} x {rows} pixels in {scans} scans, too many to decode", _SAVE_AGAIN)
    if simplejpeg and components:
        try:
            upright = header and needed and orientation == 1
            file, tall = first_rows(data, header, needed, scale) if upright else (data, rows)
            least = (-(-tall // scale), -(-columns // scale)) if scale > 1 else (0, 0)
            pixels = simplejpeg.decode_jpeg(
                file, "GRAY" if components == 1 else "RGB", min_height=least[0], min_width=least[1], strict=file is data
            )
            return _upright(pixels, orientation)
        except ValueError:  # damaged: Pillow judges
            pass
    image = image or _open("JPEG", data)
    if scale > 1:
        image.draft(None, (max(1, columns // scale), max(1, rows // scale)))
    return _decode_pillow(image)


def _colours(image: Image.Image) -> np.ndarray:
    """Return a loaded picture as (rows, columns, 1 or 3) uint8 by the rule of this module."""
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise _Refused("32-bit values have no defined white", "Save it with 8 or 16 bits per channel")
        return (values >> 8).astype(np.uint8)[..., None]
    if mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # also catches NaN
            raise _Refused("floating-point values outside 0..1 have no defined white", "Save it with 8 or 16 bits")
        return np.floor(values.astype(np.float64) * 255 + 0.5).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        grey = mode in ("1", "L", "LA", "La")
        return _over_white(np.asarray(image.convert("LA" if grey else "RGBA")))
    if mode == "1":
        image = image.convert("L")
    elif mode not in ("L", "RGB"):
        try:
            image = image.convert("RGB")
        except ValueError:
            raise _Refused(f"the colour mode {mode} is not read", "Save it as RGB") from None
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Return (..., c) uint8 from (..., c + 1) with alpha last."""
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return (rows, columns, ...) pixels turned so that EXIF `orientation` becomes 1."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.shape[2] == 3 and channels == 1:
        red, green, blue = (pixels[..., i].astype(np.uint32) for i in range(3))
        pixels = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[..., None]
    elif pixels.shape[2] == 1 and channels == 3:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels
