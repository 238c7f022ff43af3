"""Crops: the resize does not ask how pixels lie; scaled decoding is close to the full one, and never too small."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchwords import decode as decoder
from patchwords.errors import DataError
from patchwords.preprocess import Preprocess

PHOTOS = Path(os.environ.get("PATCHWORDS_DATA") or Path(__file__).parents[3] / "shared" / "data") / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs photos/ in PATCHWORDS_DATA")


def photos() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PHOTOS.iterdir())]


@needs_photos
def test_the_difference_to_a_full_decode_is_small():
    """224 is too large for most of these photographs to be scaled, so 96 is asked for too."""
    for side, least in ((224, 0), (96, 150)):
        preprocess, changed, far = Preprocess(image_size=(side, side)), 0, []
        for data in photos():
            box = lambda rows, columns: (rows // 9, columns // 9, rows * 4 // 5, columns * 4 // 5)  # noqa: E731
            exact = preprocess.crop_pixels(data, box).numpy().astype(int)
            scaled = preprocess.crop_pixels(data, box, scaled=True).numpy().astype(int)
            far.append(np.abs(exact - scaled).mean())
            changed += far[-1] > 0
        assert changed >= least
        assert np.mean(far) < 3 and max(far) < 12, (np.mean(far), max(far))


@needs_photos
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_simplejpeg_and_pillow_give_the_same_pixels(scale, monkeypatch):
    pytest.importorskip("simplejpeg")
    for data in photos()[:40]:
        fast = decoder.decode(data, scale=scale)
        with monkeypatch.context() as without:
            without.setattr(decoder, "simplejpeg", None)
            assert np.array_equal(fast, decoder.decode(data, scale=scale))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(64, 48), (65, 47), (33, 90)])
def test_upright_size_and_rounding(orientation, size):
    image, file = Image.effect_noise(size, 50).convert("RGB"), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, "JPEG", exif=exif)
    rows, columns = decoder.decode(file.getvalue()).shape[:2]
    assert decoder.stated_size(file.getvalue()) == (rows, columns, True)
    for scale in (2, 4, 8):
        assert decoder.decode(file.getvalue(), scale=scale).shape[:2] == (-(-rows // scale), -(-columns // scale))
    shortened = decoder.decode(file.getvalue(), rows=20).shape[:2]
    assert shortened == (32 if orientation == 1 and decoder.simplejpeg else rows, columns)


SUBSAMPLINGS = ("444", "422", "420", "440", "411", "Gray")


def jpeg(rows: int, columns: int, subsampling: str) -> bytes:
    simplejpeg = pytest.importorskip("simplejpeg")
    rng = np.random.default_rng(rows)
    pixels = rng.integers(0, 256, (rows, columns, 1 if subsampling == "Gray" else 3), dtype=np.uint8)
    colours = "GRAY" if subsampling == "Gray" else "RGB"
    return simplejpeg.encode_jpeg(pixels, 90, colours, subsampling)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_the_first_rows_are_those_of_the_whole_picture(subsampling, scale):
    shorter = 0
    for rows, columns in ((97, 40), (200, 3), (256, 33)):
        data = jpeg(rows, columns, subsampling)
        whole = decoder.decode(data, scale=scale)
        for needed in range(1, rows + 1):
            part, least = decoder.decode(data, scale=scale, rows=needed), -(-needed // scale)
            assert part.shape[1] == whole.shape[1] and len(part) >= least
            assert np.array_equal(part[:least], whole[:least]), (rows, needed)
            shorter += len(part) < len(whole)
    assert shorter > 300


@needs_photos
def test_a_crop_is_the_same_whichever_rows_are_decoded(monkeypatch):
    pytest.importorskip("simplejpeg")
    preprocess, decoded = Preprocess(image_size=(64, 64)), []
    for data in photos()[:40]:
        box = lambda rows, columns: (rows // 5, columns // 9, rows // 2, columns * 4 // 5)  # noqa: E731
        for scaled in (False, True):
            found = preprocess.crop_pixels(data, box, scaled=scaled)
            with monkeypatch.context() as whole:
                whole.setattr(decoder, "first_rows", lambda data, header, rows, scale: (data, header.rows))
                assert torch.equal(found, preprocess.crop_pixels(data, box, scaled=scaled))
        rows = decoder.stated_size(data)[0]
        decoded.append(len(decoder.decode(data, rows=rows * 7 // 10)) / rows)
    assert np.mean(decoded) < 0.75


def test_no_row_of_a_file_that_was_cut_short_is_invented():
    data = jpeg(256, 64, "420")
    for kept in (0.3, 0.6, 0.9):
        with pytest.raises(DataError, match="cut short"):
            decoder.decode(data[: int(kept * len(data))], rows=200)


def test_a_part_is_never_enlarged_by_scaling(monkeypatch):
    file = io.BytesIO()
    Image.effect_noise((400, 300), 50).convert("RGB").save(file, "JPEG")
    used = []
    plain = decoder.decode
    monkeypatch.setattr(
        "patchwords.preprocess.decode",
        lambda *a, scale=1, **options: used.append(scale) or plain(*a, scale=scale, **options),
    )
    preprocess = Preprocess(image_size=(50, 50))
    for side in (49, 99, 100, 199, 200, 300):
        preprocess.crop_pixels(file.getvalue(), lambda *size, s=side: (0, 0, s, s), scaled=True)
    assert used == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_resize_does_not_depend_on_how_pixels_lie(channels, interpolation):
    """Pixel after pixel, as decoders give them, or plane after plane: the bits of runs and of shards are the same."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows, columns, tall, wide = rng.integers(1, 300, 4).tolist()
        preprocess = Preprocess(image_size=(tall, wide), channels=channels, interpolation=interpolation)
        planes = torch.from_numpy(rng.integers(0, 256, (channels, rows, columns), dtype=np.uint8))
        wanted = torch.nn.functional.interpolate(planes[None], (tall, wide), mode=interpolation, antialias=True)[0]
        for picture in (planes, planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
            assert torch.equal(preprocess._resized(picture, (tall, wide)), wanted)
