"""The built-in digits are scikit-learn's, value for value, and go the way of every picture."""

from __future__ import annotations

import numpy as np
import pytest

from patchwords.config import DataConfig
from patchwords.data.manifest import make_manifest, make_manifest_with_pixels
from patchwords.data.sources import open_source
from patchwords.decode import decode
from patchwords.preprocess import Preprocess

CONFIG = DataConfig(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), test_fraction=0.2, workers=0)


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    wanted = datasets.load_digits()
    manifest, pixels = make_manifest_with_pixels(open_source("digits"), CONFIG, Preprocess.from_data(CONFIG))
    order = [int(picture.path[2:6]) for picture in manifest.pictures]
    np.testing.assert_array_equal(manifest.labels, wanted.target[order])
    np.testing.assert_array_equal(pixels[:, 0].numpy(), np.floor(wanted.images[order] * 255 / 16 + 0.5))


def test_digits_without_scikit_learn():
    source = open_source("digits")
    picture = decode(source.read(source.index["0/0000.png"]), 1)[..., 0]
    assert picture[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert len(source) == 1797 and {entry.label for entry in source.entries} == set("0123456789")
    assert open_source("digits").read(5) == source.read(5)


def test_a_fifth_is_for_test_and_the_manifest_is_always_the_same():
    manifest = make_manifest(open_source("digits"), CONFIG)
    counts = {split: sum(classes.values()) for split, classes in manifest.counts.items()}
    assert counts == {"train": 1293, "val": 145, "test": 359}
    assert all(35 <= count <= 37 for count in manifest.counts["test"].values())
    assert manifest.classes == tuple("0123456789") and not manifest.rejected
    assert manifest.hash == "dda3565c139965116bfe0138bfb589085b58549124d63800ddacce55ea584416"
