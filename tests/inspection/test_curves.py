"""Deletion and insertion curves against patches taken away by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.curves import measure_curves
from patchwords.inspection.explanation import attribute
from tests.inspection import toy
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit


@pytest.mark.parametrize("build", [tiny_vit, tiny_cnn])
def test_curves_by_hand(build):
    model = build()
    images, targets = pictures(model, 3), [0, 1, 2]
    found = attribute(model, images, targets, methods=["occlusion", "gradient"])
    curves = measure_curves(model, images, found, steps=4)
    down, across = found[0].patch_px
    rows, columns = images.shape[2] // down, images.shape[3] // across
    for method, attribution in enumerate(found):
        for picture, target in enumerate(targets):
            values = attribution.patches[picture].ravel()
            order = sorted(range(rows * columns), key=lambda i: -values[i])
            for step, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
                deleted, inserted = images[picture].clone(), torch.zeros_like(images[picture])
                for patch in order[: round(share * len(order))]:
                    place = np.s_[
                        :,
                        patch // columns * down : (patch // columns + 1) * down,
                        patch % columns * across : (patch % columns + 1) * across,
                    ]
                    inserted[place] = images[picture][place]
                    deleted[place] = 0
                with torch.no_grad():
                    said = model(torch.stack([deleted, inserted])).softmax(dim=1)[:, target]
                got = curves.deletion[method, picture, step], curves.insertion[method, picture, step]
                np.testing.assert_allclose(got, said, atol=1e-6)
    np.testing.assert_allclose(curves.changed_share, [0, 0.25, 0.5, 0.75, 1])
    heights = curves.deletion[0, 0].astype(np.float64)
    area = 0.25 * (heights[0] / 2 + heights[1:4].sum() + heights[4] / 2)
    assert curves.deletion_area[0, 0] == pytest.approx(area, rel=1e-5)
    assert curves.methods == ("occlusion", "gradient", "random") and len(curves.rows()) == 3 * 3 * 5


def test_a_map_that_explains_and_maps_that_do_not(answering_by_class_token):
    model, known = answering_by_class_token, toy.draw(40, 9)
    good = attribute(model, known.images, known.labels, methods=["occlusion"])[0]
    noise = replace(good, method="noise", maps=np.random.default_rng(0).normal(size=good.maps.shape))
    wrong = replace(good, method="wrong", maps=-good.maps)
    curves = measure_curves(model, known.images, [good, noise, wrong])
    assert curves.explains == (True, False, False, False)
    assert curves.deletion_gain[0].mean() > 0.2 and curves.insertion_gain[0].mean() > 0.2
    assert curves.deletion_gain[2].mean() < -0.2 and abs(curves.deletion_gain[1].mean()) < 0.1


def test_random_orders_differ_and_are_repeatable():
    model = tiny_vit(dropout=0.5)
    images = pictures(model, 2)
    found = attribute(model, images, methods=["gradient"])
    before = disturb(model)
    first = measure_curves(model, images, found, random_orders=2)
    again = measure_curves(model, images, found, random_orders=2, batch_size=3)
    other = measure_curves(model, images, found, random_orders=2, seed=1)
    assert_as_found(model, before)
    np.testing.assert_allclose(first.deletion, again.deletion, atol=1e-6)
    np.testing.assert_allclose(first.deletion[0], other.deletion[0], atol=1e-6)
    assert not np.allclose(first.deletion[1], other.deletion[1], atol=1e-4)
    np.testing.assert_array_equal(first.insertion[-1], first.deletion[-1][:, ::-1])


def test_attributions_of_something_else_are_refused():
    model = tiny_vit()
    images = pictures(model, 3)
    found = attribute(model, images, [0, 1, 2], methods=["gradient"])
    with pytest.raises(ConfigError, match="other pictures"):
        measure_curves(model, images[:2], found)
    with pytest.raises(ConfigError, match="other pictures"):
        measure_curves(model, images, [*found, *attribute(model, images, [0, 1, 3], methods=["gradient"])])
    with pytest.raises(ConfigError, match="no attribution"):
        measure_curves(model, images, [])
