"""Bad pictures, one row each, and thousands of mutated ones: no crash, no hang, listed = used + rejected."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from patchwords import decode as decoder
from patchwords.config import DataConfig
from patchwords.data.manifest import make_manifest
from patchwords.data.sources import open_source
from patchwords.decode import decode, traits
from patchwords.errors import DataError, printable
from patchwords.preprocess import Preprocess

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed: int = 0, size: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), dtype=np.uint8)


def png_header_only(columns: int, rows: int) -> bytes:
    parts = ((b"IHDR", struct.pack(">IIBBBBB", columns, rows, 1, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(10))))
    made = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in (*parts, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


RGB = Image.fromarray(noise())
REJECTED = {
    "zero-byte": (b"", "empty (0 bytes)"),
    "truncated jpeg": (saved(RGB, "JPEG")[:-80], "damaged or cut short"),
    "truncated png": (saved(RGB, "PNG")[:-40], "damaged"),
    "html as jpg": (b"<!doctype html>\n<html><body>Not found", "a web page"),
    "100 megapixels": (png_header_only(10_000, 10_000), "100.0 million), more than the limit of 67.1 million"),
    "decompression bomb": (png_header_only(2**31 - 1, 2**31 - 1), "more than the limit of 67.1 million"),
    "text": (b"cat sat on the mat", "not a picture"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(40), "AVIF or HEIC"),
}
"""row -> (bytes of the file, words of the reason)"""

USED = {
    "wrong extension": saved(RGB, "PNG"),  # a PNG under the name .jpg
    "cmyk": saved(Image.fromarray(noise(1, 12, 4), "CMYK"), "JPEG"),
    "16-bit": saved(Image.fromarray(noise()[..., 0].astype(np.uint16) * 257), "PNG"),
    "alpha": saved(Image.fromarray(noise(2, 12, 4)), "PNG"),
    "palette": saved(RGB.quantize(16), "PNG"),
    "animated": saved(RGB, "GIF", save_all=True, append_images=[Image.fromarray(noise(9))]),
    "1 pixel": saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
    "smaller than a patch": saved(Image.new("RGB", (3, 2)), "PNG"),
}


@pytest.mark.parametrize("row", REJECTED)
def test_a_bad_picture_is_one_line_and_the_rest_goes_on(row, make_tree, small_set):
    data, words = REJECTED[row]
    name = f"cat/{row}.jpg"
    source = open_source(make_tree(small_set | {name: data}))
    manifest = make_manifest(source, DataConfig(workers=0))
    assert len(manifest) == len(small_set)
    (rejected,) = manifest.rejected
    assert rejected.path == name and words in rejected.reason
    with pytest.raises(DataError) as caught:
        Preprocess().pixels(source.read(source.index[name]), source.where(source.index[name]))
    line = caught.value.line()
    assert (
        caught.value.exit_code == 65 and line.startswith(source.where(source.index[name]) + ": ") and "\n" not in line
    )
    assert caught.value.fix and words in line


@pytest.mark.parametrize("row", USED)
def test_an_odd_picture_is_used(row, make_tree, small_set):
    source = open_source(make_tree(small_set | {f"cat/{row}.jpg": USED[row]}))
    manifest = make_manifest(source, DataConfig(workers=0))
    assert len(manifest) == len(small_set) + 1 and not manifest.rejected
    for channels in (1, 3):
        made = Preprocess(channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels).pixels(USED[row])
        assert made.shape == (channels, 224, 224)


@pytest.mark.parametrize(
    "name", ["with space.png", "new\nline.png", os.fsdecode(b"\xfflatin\xe9.png"), "\x1b[2Jclear.png"]
)
def test_names_are_printed_on_one_line(name, make_tree, small_set):
    source = open_source(make_tree(small_set | {f"cat/{name}": b"", f"dog/{name}": small_set["cat/00.png"] + b"\0"}))
    manifest = make_manifest(source, DataConfig(workers=0))
    assert [item.path for item in manifest.rejected] == [f"cat/{name}"] and len(manifest) == 25
    with pytest.raises(DataError) as caught:
        make_manifest(source, DataConfig(workers=0, strict=True))
    line = caught.value.line()
    assert printable(name) in line and line.isprintable() and line.encode()


# --- mutations


def originals() -> list[bytes]:
    """Small pictures of every format, from every encoder and mode that goes its own way in the decoder."""
    rgb, grey = Image.fromarray(noise(0, 10)), Image.fromarray(noise(1, 10)[..., 0])
    rgba, cmyk = Image.fromarray(noise(2, 10, 4)), Image.fromarray(noise(3, 10, 4), "CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [saved(rgb, "JPEG"), saved(rgb, "JPEG", progressive=True), saved(grey, "JPEG"), saved(cmyk, "JPEG")]
    made += [saved(rgb, "JPEG", exif=exif), saved(rgb, "PNG"), saved(rgba, "PNG"), saved(rgb.quantize(8), "PNG")]
    made += [saved(rgb, "WEBP"), saved(rgba, "WEBP", lossless=True, exif=exif), saved(rgb, "GIF"), saved(rgb, "BMP")]
    made += [
        saved(rgb, "GIF", save_all=True, append_images=[cmyk.convert("RGB")]),
        saved(rgb, "PPM"),
        saved(grey, "PPM"),
    ]
    made += [saved(rgb, "TIFF"), saved(rgb, "TIFF", compression="tiff_lzw"), saved(cmyk, "TIFF", compression="jpeg")]
    made += [saved(rgb.convert("1"), "TIFF", compression="group4"), saved(rgb.convert("1"), "PPM")]
    made += [saved(Image.fromarray(noise(4, 10)[..., 0].astype(np.float32) / 255), "TIFF")]
    return made


def mutated(data: bytes, generator: np.random.Generator) -> bytes:
    """Return `data` with a few flipped bits, changed bytes, cuts, insertions, pieces lost or doubled."""
    made = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        if not made:
            break
        at, other = sorted(generator.integers(0, len(made), 2).tolist())
        kind = generator.integers(0, 6)
        if kind == 0:
            made[at] ^= 1 << int(generator.integers(0, 8))
        elif kind == 1:
            made[at] = int(generator.choice([0, 1, 127, 128, 255, generator.integers(0, 256)]))
        elif kind == 2:
            del made[at:]
        elif kind == 3:
            made[at:at] = generator.bytes(int(generator.integers(1, 9)))
        elif kind == 4:
            del made[at : at + 1 + (other - at) % 16]
        else:
            made[at:at] = made[at:other]
    return bytes(made)


def survive(count: int, make_tree) -> None:
    generator = np.random.default_rng(20)
    sources = originals()
    files = {f"{'ab'[n % 2]}/{n:05d}.jpg": mutated(sources[n % len(sources)], generator) for n in range(count)}
    files |= {f"{label}/good{n}.png": saved(Image.fromarray(noise(50 + n)), "PNG") for n, label in enumerate("ab" * 3)}
    source = open_source(make_tree(files))
    slowest = 0.0
    for data in files.values():
        start = time.process_time()
        try:
            pixels = decode(data, 3, "x.jpg")
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert traits(data).rows > 0
        except DataError as error:
            assert error.line().startswith("x.jpg: ") and "\n" not in error.line() and error.fix
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 10  # seconds; a mutated header may well say 60 million pixels
    manifest = make_manifest(source, DataConfig(workers=2, max_rejected=1.0))
    assert len(manifest) + len(manifest.rejected) == count + 6
    used, rejected = {picture.path for picture in manifest.pictures}, {item.path for item in manifest.rejected}
    assert used | rejected == set(files) and not used & rejected
    assert 0.1 * count < len(rejected) < 0.95 * count and all(item.reason for item in manifest.rejected)


def test_hundreds_of_mutated_pictures(make_tree):
    survive(420, make_tree)


@pytest.mark.slow
def test_thousands_of_mutated_pictures(make_tree):
    survive(5000, make_tree)


def test_damaged_pictures_print_nothing(capfd, recwarn):
    data = saved(RGB.convert("1"), "TIFF", compression="group4")
    fax = [data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :] for at in range(8, 24)]
    exif = saved(RGB, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    for case in (*fax, exif, saved(RGB, "TIFF")[:-40], saved(RGB, "TIFF", compression="jpeg")[:-60]):
        with contextlib.suppress(DataError):
            decode(case, 3, "x.tif")
    assert capfd.readouterr() == ("", "")


def test_simplejpeg_changes_neither_what_is_accepted_nor_a_pixel(monkeypatch):
    pytest.importorskip("simplejpeg")
    generator = np.random.default_rng(3)
    jpegs = [data for data in originals() if data[:2] == b"\xff\xd8"]
    cases = [mutated(jpegs[n % len(jpegs)], generator) for n in range(600)]

    def outcome(data: bytes) -> tuple[str, bytes]:
        try:
            pixels = decode(data, 3)
        except DataError as error:
            return error.what, b""
        return str(pixels.shape), pixels.tobytes()

    fast = [outcome(data) for data in cases]
    monkeypatch.setattr(decoder, "simplejpeg", None)
    slow = [outcome(data) for data in cases]
    assert fast == slow
    assert sum(bool(pixels) for _, pixels in fast) > 30
