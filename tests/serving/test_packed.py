"""Arrays, JSON and PNG on their way to the page: nothing lost, nothing a browser could take for HTML."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from patchwords.serving.packed import Answer, npz, pack
from patchwords.serving.plain import json_bytes
from patchwords.serving.png import png

HOSTILE = {
    "</script><img src=x onerror=alert(1)>": "\u2028\u202e&lt;'\"\ud800\x00\n",
    "n": [float("nan"), -np.inf, 1.5],
}


def test_every_array_starts_where_a_typed_array_can() -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "a": generator.normal(size=(3, 5)).astype(np.float16),
        "b": generator.normal(size=7).astype(np.float32)[::2],
        "none": np.zeros((0, 4), np.float32),
        "big endian": np.arange(3, dtype=">f4"),
        "one": np.float32(2.5).reshape(()),
    }
    content = b"".join(pack(Answer({"x": 1}, arrays)))
    length = int.from_bytes(content[:4], "little")
    head, at = json.loads(content[4 : 4 + length]), 4 + length
    assert head["meta"] == {"x": 1} and at % 8 == 0
    for told, (name, array) in zip(head["arrays"], arrays.items(), strict=True):
        assert at % 8 == 0 and told["name"] == name and told["shape"] == list(array.shape)
        kind = np.dtype(told["dtype"]).newbyteorder("<")
        found = np.frombuffer(content, kind, array.size, at).reshape(told["shape"])
        assert np.array_equal(found, array)
        at += -(-array.size * kind.itemsize // 8) * 8
    assert at == len(content)


def test_json_is_ascii_without_markup_and_comes_back() -> None:
    text = json_bytes(HOSTILE)
    assert text.isascii() and not any(sign in text for sign in (b"<", b">", b"&", b"\n", b"NaN", b"Infinity"))
    name = next(iter(HOSTILE))
    assert json.loads(text) == {name: HOSTILE[name], "n": [None, None, 1.5]}


def test_meta_of_a_download_is_read_without_pickles() -> None:
    saved = np.load(io.BytesIO(npz(Answer(HOSTILE, {"a": np.ones(3, np.float16)}))), allow_pickle=False)
    assert json.loads(str(saved["meta"]))["n"] == [None, None, 1.5] and saved["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 4, 9), (3, 1, 1), (1, 300, 2)])
def test_a_png_is_lossless(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    image.load()
    seen = np.asarray(image)
    assert np.array_equal(seen if seen.ndim == 3 else seen[..., None], pixels.transpose(1, 2, 0))
