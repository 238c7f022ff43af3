"""Picture bytes to tensors: every format and colour mode has documented pixels, damage and excess have one line."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from patchwords import decode as decoder
from patchwords.config import DataConfig
from patchwords.decode import decode, traits
from patchwords.errors import CheckpointError, DataError
from patchwords.preprocess import Preprocess

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
PHOTOS = Path(os.environ.get("PATCHWORDS_DATA") or Path(__file__).parents[2] / "shared" / "data") / "photos"


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(rows: int, columns: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, channels), dtype=np.uint8)


def smooth(rows: int, columns: int) -> Image.Image:
    return Image.fromarray(noise(6, 6)).resize((columns, rows), Image.Resampling.BICUBIC)


@pytest.fixture(params=["simplejpeg", "pillow"])
def jpeg_reader(request, monkeypatch):
    """Both ways to read a JPEG; the results may not differ."""
    if request.param == "pillow":
        monkeypatch.setattr(decoder, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")


LOSSLESS = {
    "png": ("PNG", {}),
    "png stored": ("PNG", {"compress_level": 0}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "ppm": ("PPM", {}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_their_pixels(name, channels):
    kind, options = LOSSLESS[name]
    pixels = noise(7, 5)
    found = decode(saved(Image.fromarray(pixels), kind, **options), channels)
    wanted = pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"quality": 20, "optimize": True},
        {"comment": b"x"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_reads(jpeg_reader, options, mode, channels):
    data = saved(smooth(37, 51).convert(mode), "JPEG", **options)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L"))
    np.testing.assert_array_equal(decode(data, channels), wanted.reshape(37, 51, channels))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no photographs below PATCHWORDS_DATA")
def test_photographs_are_what_pillow_reads(jpeg_reader):
    for path in sorted(PHOTOS.iterdir())[::5]:
        wanted = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        np.testing.assert_array_equal(decode(path.read_bytes(), 3, path.name), wanted)


# EXIF 2.3, tag 0x0112: which corner of what is seen row 0 and column 0 of the file are.
STORED = np.arange(6, dtype=np.uint8).reshape(3, 2) * 40
SEEN = {
    1: [[0, 1], [2, 3], [4, 5]],
    2: [[1, 0], [3, 2], [5, 4]],
    3: [[5, 4], [3, 2], [1, 0]],
    4: [[4, 5], [2, 3], [0, 1]],
    5: [[0, 2, 4], [1, 3, 5]],
    6: [[4, 2, 0], [5, 3, 1]],
    7: [[5, 3, 1], [4, 2, 0]],
    8: [[1, 3, 5], [0, 2, 4]],
}


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_turns_the_picture_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(
        Image.fromarray(STORED).convert("RGB"), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})
    )
    np.testing.assert_array_equal(decode(data, 3)[..., 1], np.array(SEEN[orientation]) * 40)
    assert ("turned" in traits(data).odd) == (orientation != 1)


@pytest.mark.parametrize("orientation", SEEN)
def test_exif_orientation_of_jpeg(jpeg_reader, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(smooth(24, 40), "JPEG", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode(data, 3), wanted)


def test_damaged_exif_counts_as_upright(jpeg_reader):
    data = saved(smooth(8, 8), "JPEG")
    damaged = data[:2] + b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff" + data[2:]
    np.testing.assert_array_equal(decode(damaged, 3), decode(data, 3))


def tiff_directory(rows: int, columns: int) -> bytes:
    """Return the directory of a big-endian grey 16-bit TIFF whose pixels start at byte 8."""
    tags = {256: columns, 257: rows, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: rows, 279: rows * columns * 2}
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack(">H", len(tags)) + entries + bytes(4)


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        data = saved(Image.fromarray(ramp), kind)
        np.testing.assert_array_equal(decode(data, 1)[..., 0], np.arange(256).reshape(16, 16))
        assert traits(data).odd == ("16-bit",)
    motorola = b"MM\0*\0\0\2\x08" + ramp.astype(">u2").tobytes() + tiff_directory(16, 16)
    np.testing.assert_array_equal(decode(motorola, 1)[..., 0], np.arange(256).reshape(16, 16))
    pgm = b"P5 16 16 65535\n" + ramp.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(pgm, 1)[..., 0], np.arange(256).reshape(16, 16))
    assert traits(pgm).odd == ("16-bit",)


def png(colour_type: int, depth: int, rows: list[bytes], columns: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG written by hand, for what Pillow cannot write."""
    header = struct.pack(">IIBBBBB", columns, len(rows), depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = ((b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b""))
    made = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def test_sixteen_bit_colour_takes_the_high_byte():
    values = np.array([[[0x1234, 0xFF80, 0x0001]]], dtype=">u2")
    data = png(2, 16, [values[0].tobytes()], 1)
    assert decode(data, 3).tolist() == [[[0x12, 0xFF, 0x00]]]
    assert traits(data).odd == ("16-bit",)


def test_other_depths():
    whole = Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.int32))
    assert decode(saved(whole, "TIFF"), 1)[0, :, 0].tolist() == [0, 0, 1, 255]
    floating = Image.fromarray(np.array([[0, 0.5, 1, 0.1]], dtype=np.float32))
    assert decode(saved(floating, "TIFF"), 1)[0, :, 0].tolist() == [0, 128, 255, 26]
    assert decode(saved(Image.fromarray(np.array([[True, False]])), "PNG"), 1)[0, :, 0].tolist() == [255, 0]
    for values in (np.array([[0, 70000]], np.int32), np.array([[-1, 5]], np.int32)):
        with pytest.raises(DataError, match="32-bit values have no defined white"):
            decode(saved(Image.fromarray(values), "TIFF"), 1, "a.tif")
    for values in ([[0.0, 1.5]], [[np.nan, 0.0]], [[-0.1, 0.0]]):
        with pytest.raises(DataError, match="outside 0..1"):
            decode(saved(Image.fromarray(np.array(values, np.float32)), "TIFF"), 1, "a.tif")


def over_white(colour: int, alpha: int) -> int:
    return int(colour * alpha / 255 + (255 - alpha) + 0.5)


def test_alpha_is_laid_over_white():
    rgba = noise(9, 9, 4)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        found = decode(saved(Image.fromarray(rgba), kind, **options), 3)
        wanted = [[[over_white(c, int(p[3])) for c in p[:3].tolist()] for p in row] for row in rgba]
        assert found.tolist() == wanted
    la = noise(9, 9, 2)
    found = decode(saved(Image.fromarray(la, "LA")), 1)
    assert found[..., 0].tolist() == [[over_white(int(p[0]), int(p[1])) for p in row] for row in la]
    clear_red = Image.new("RGBA", (1, 1), (255, 0, 0, 0))
    assert decode(saved(clear_red), 3).tolist() == [[[255, 255, 255]]]


def test_palettes_and_colour_keys():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    image.putdata([0, 1, 2])
    assert decode(saved(image), 3).tolist() == [[[10, 20, 30], [200, 100, 50], [1, 2, 3]]]
    assert traits(saved(image)).odd == ("palette",)
    keyed = saved(image, "PNG", transparency=1)
    assert decode(keyed, 3).tolist() == [[[10, 20, 30], [255, 255, 255], [1, 2, 3]]]
    assert decode(saved(image, "GIF", transparency=1), 3).tolist() == decode(keyed, 3).tolist()
    half = saved(image, "PNG", transparency=bytes([255, 128, 255]))
    assert decode(half, 3)[0, 1].tolist() == [over_white(c, 128) for c in (200, 100, 50)]
    key = png(2, 8, [bytes([9, 8, 7, 1, 2, 3])], 2, (b"tRNS", struct.pack(">HHH", 9, 8, 7)))
    assert decode(key, 3).tolist() == [[[255, 255, 255], [1, 2, 3]]]
    grey_key = png(0, 8, [bytes([9, 8])], 2, (b"tRNS", struct.pack(">H", 9)))
    assert decode(grey_key, 1)[0, :, 0].tolist() == [255, 8]
    bit_key = png(0, 1, [bytes([0b01000000])], 2, (b"tRNS", struct.pack(">H", 0)))
    assert decode(bit_key, 1)[0, :, 0].tolist() == [255, 255]
    assert {"palette", "alpha"} == set(traits(keyed).odd)


def test_cmyk(jpeg_reader):
    cmyk = noise(5, 5, 4)
    found = decode(saved(Image.fromarray(cmyk, "CMYK"), "TIFF"), 3)
    wanted = (255 - cmyk[..., :3].astype(int)) * (255 - cmyk[..., 3:].astype(int)) / 255
    assert np.abs(found - wanted).max() <= 0.5
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))  # Adobe stores it inverted in a JPEG
    data = saved(ink, "JPEG", quality=100)
    assert np.abs(decode(data, 3).astype(int) - [0, 255, 255]).max() <= 3
    assert traits(data).odd == ("cmyk",)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data, 3) == [255, 0, 0]).all()
    assert "animated" in traits(data).odd


def test_colour_profiles_and_texts_change_nothing():
    pixels = noise(4, 4)
    note = PngInfo()
    note.add_text("note", "x" * 1000)
    data = saved(Image.fromarray(pixels), "PNG", icc_profile=b"\0" * 200, pnginfo=note)
    np.testing.assert_array_equal(decode(data, 3), pixels)


# --- damage and excess


def refused(data: bytes, name: str = "some/file.jpg") -> str:
    with pytest.raises(DataError) as caught:
        decode(data, 3, name)
    line = caught.value.line()
    assert line.startswith(f"{name}: ") and "\n" not in line and caught.value.fix and caught.value.exit_code == 65
    return line


def test_sizes_are_looked_at_before_anything_is_decoded():
    rows = zlib.compress(bytes(12501), 9) * 1  # far too little data: it must not matter
    for columns, height in ((10000, 10000), (2**31 - 1, 2**31 - 1), (8193, 8192)):
        header = struct.pack(">IIBBBBB", columns, height, 1, 0, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
        made = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
        line = refused(b"\x89PNG\r\n\x1a\n" + made, "big.png")
        assert f"{columns:,} x {height:,} pixels" in line and "67.1 million" in line
    bomb = png(0, 1, [bytes(9400 // 8)] * 9400, 9400)  # 11 kB that unfold to 88 million pixels
    assert len(bomb) < 20_000 and "88.4 million" in refused(bomb)
    for kind in ("JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"):
        data = bytearray(saved(Image.new("RGB", (16, 16)), kind))
        if kind == "JPEG":
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", 10000, 10000)
        elif kind == "GIF":
            data[6:10] = struct.pack("<HH", 10000, 10000)
        elif kind == "BMP":
            data[18:26] = struct.pack("<ii", 10000, 10000)
        elif kind == "PPM":
            data = data.replace(b"16 16", b"10000 10000")
        elif kind == "WEBP":
            data = bytearray(
                saved(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), kind, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
            )
            assert data[12:16] == b"VP8X"
            data[24:30] = (9999).to_bytes(3, "little") * 2
        else:
            data = saved(Image.new("1", (10000, 10000)), kind, compression="tiff_lzw")
        line = refused(bytes(data))
        assert kind == "WEBP" or "100.0 million" in line


def test_a_file_that_is_too_large_is_refused():
    assert "268,435,457 bytes" in refused(bytes(2**28 + 1))


def test_a_jpeg_of_endless_scans_is_refused(jpeg_reader):
    data = saved(Image.new("L", (4096, 4096)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert "scans" in refused(data[:-2] + scan * 200 + data[-2:])


WRONG = {
    "empty": (b"", "empty (0 bytes)"),
    "web page": (b"\n <!DOCTYPE html><html><body>404</body>", "a web page"),
    "web page with a mark": (b"\xef\xbb\xbf<html>", "a web page"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="x">', "an SVG drawing"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "AVIF or HEIC"),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF or HEIC"),
    "pdf": (b"%PDF-1.7\n", "a PDF file"),
    "psd": (b"8BPS\0\1", "a Photoshop file"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
    "zip": (b"PK\3\4" + bytes(30), "a zip archive"),
    "text": (b"hello, I am not a picture", "not a picture"),
    "zeros": (bytes(1000), "not a picture"),
    "jpeg head only": (b"\xff\xd8\xff", "damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_picture_is_named(name):
    data, words = WRONG[name]
    assert words in refused(data)


def cut_cases() -> dict[str, bytes]:
    image = smooth(9, 11)
    cases = {kind: saved(image, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM")}
    cases["WebP"] = saved(image, "WEBP", lossless=True)
    cases["progressive JPEG"] = saved(image, "JPEG", progressive=True)
    cases["LZW TIFF"] = saved(image, "TIFF", compression="tiff_lzw")
    cases["grey PNG"] = saved(image.convert("L"), "PNG")
    return cases


@pytest.mark.parametrize("name", cut_cases())
def test_a_picture_cut_at_any_byte_is_refused_or_whole(jpeg_reader, name):
    data = cut_cases()[name]
    whole = decode(data, 3)
    kept = 0
    for length in range(len(data)):
        try:
            found = decode(data[:length], 3, "cut")
        except DataError:
            continue
        kept += 1
        np.testing.assert_array_equal(found, whole, err_msg=f"cut to {length} of {len(data)} bytes")
    assert kept <= 24  # only the trailer may be missing


# --- from pixels to the model's input


def tensor(data: bytes, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(decode(data, channels)).permute(2, 0, 1)


def test_a_picture_of_the_wanted_size_is_untouched():
    data = saved(Image.fromarray(noise(20, 30)))
    for resize in ("crop", "squash"):
        made = Preprocess(image_size=(20, 30), resize=resize).pixels(data)
        assert made.dtype == torch.uint8 and made.is_contiguous() and torch.equal(made, tensor(data))


def assert_close_levels(made: torch.Tensor, wanted: np.ndarray) -> None:
    """At most 2 of 255 levels apart, and more than 1 apart in at most 2 % of the values."""
    difference = np.abs(made.permute(1, 2, 0).numpy().astype(int) - wanted)
    assert difference.max() <= 2 and (difference > 1).mean() < 0.02


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(50, 70), (7, 300), (224, 10)])
def test_resizing_is_within_a_level_of_pillow(interpolation, size):
    method = getattr(Image.Resampling, interpolation.upper())
    for picture in (smooth(*size), Image.fromarray(np.where(noise(*size) > 127, 255, 0).astype(np.uint8))):
        made = Preprocess(image_size=(32, 48), resize="squash", interpolation=interpolation).pixels(saved(picture))
        rows_first = picture.resize((48, picture.height), method).resize((48, 32), method)  # whatever this Pillow does
        assert_close_levels(made, np.asarray(rows_first))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (257, 333), (100, 90)])
def test_the_centre_crop_is_that_of_timm_and_torchvision(size):
    """Shorter side to floor(224 / 0.875) = 256, longer side rounded down, then the centre."""
    picture = smooth(*size)
    short = min(size)
    rows, columns = (256 * side // short for side in size)
    resized = np.asarray(picture.resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = (rows - 224) // 2, (columns - 224) // 2
    assert_close_levels(Preprocess().pixels(saved(picture)), resized[top : top + 224, left : left + 224])


def test_a_rectangle_is_covered_then_cut():
    """The whole height is needed: 40 rows become 20 / 0.5 = 40, and the middle 20 x 30 of 40 x 120 is kept."""
    picture = Image.fromarray(noise(40, 120))
    made = Preprocess(image_size=(20, 30), crop_fraction=0.5).pixels(saved(picture))
    assert torch.equal(made, tensor(saved(picture))[:, 10:30, 45:75])


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 1), (1, 20000), (20000, 1), (1, 60000), (3, 4000)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_and_thinnest_pictures_work(resize, size, channels):
    preprocess = Preprocess(resize=resize, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    made = preprocess.pixels(saved(Image.new("L", (size[1], size[0]), 77)))
    assert made.shape == (channels, 224, 224) and (made == 77).all()


def test_a_training_crop_is_cut_before_it_is_resized():
    data = saved(smooth(60, 80))
    preprocess = Preprocess(image_size=(24, 16))
    asked = []

    def box(rows: int, columns: int):
        asked.append((rows, columns))
        return 10, 20, 30, 40

    made = preprocess.crop_pixels(data, box)
    part = saved(Image.open(io.BytesIO(data)).crop((20, 10, 60, 40)))
    assert asked == [(60, 80)]
    assert torch.equal(made, Preprocess(image_size=(24, 16), resize="squash").pixels(part))
    whole = preprocess.crop_pixels(data, lambda rows, columns: (-5, -5, 1000, 1000))
    assert torch.equal(whole, Preprocess(image_size=(24, 16), resize="squash").pixels(data))
    exact = preprocess.crop_pixels(data, lambda rows, columns: (3, 4, 24, 16))
    assert torch.equal(exact, tensor(data)[:, 3:27, 4:20])
    assert preprocess.crop_pixels(data, lambda rows, columns: (59, 79, 0, 0)).shape == (3, 24, 16)


def test_normalize_is_the_formula():
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    batch = torch.from_numpy(noise(2, 3, 4)).view(2, 3, 2, 2)[:, :3].clone()
    before = batch.clone()
    found = preprocess.normalize(batch)
    mean, std = np.array(preprocess.mean).reshape(1, 3, 1, 1), np.array(preprocess.std).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(found.numpy(), (batch.numpy() / 255 - mean) / std, atol=2e-6)
    assert found.dtype == torch.float32 and torch.equal(batch, before)


def test_json_both_ways():
    for made in (
        Preprocess(),
        Preprocess(image_size=(32, 64), crop_fraction=0.9, interpolation="bilinear"),
        Preprocess(image_size=(8, 8), channels=1, mean=(0.3,), std=(0.4,), resize="squash"),
        Preprocess.from_data(DataConfig(image_size=(96, 96), resize="squash")),
    ):
        assert Preprocess.from_json(json.dumps(made.to_json())) == made


def test_files_of_other_libraries_are_read():
    vit = {  # google/vit-base-patch16-224
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "size": 224,
    }
    assert Preprocess.from_json(vit) == Preprocess(resize="squash", interpolation="bilinear", crop_fraction=1.0)
    dino = {  # facebook/dinov2-base
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "size": {"shortest_edge": 256},
    }
    assert Preprocess.from_json(dino).crop_fraction == 0.875
    deit = dino | {"size": {"height": 248, "width": 248}}
    assert Preprocess.from_json(deit)._covering_size(500, 1000) == (248, 496)


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": [0.5]},
        {"image_std": [0.5, 0.5, 0.0]},
        {"resample": 77},
        {"size": {}},
        {"decode_rule": 99},
        {"crop_size": {"height": 0, "width": 3}},
        {"channels": 4},
        {"crop_pct": 3.0},
        {"image_std": None},
        {"do_normalize": False},
        {"rescale_factor": 1.0},
    ],
    ids=str,
)
def test_a_file_that_cannot_be_followed_is_refused(change):
    with pytest.raises(CheckpointError, match="^some.json: ") as caught:
        Preprocess.from_json(Preprocess().to_json() | change, "some.json")
    assert "\n" not in caught.value.line()
