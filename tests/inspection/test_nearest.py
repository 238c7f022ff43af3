"""Neighbours by a loop; components by the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.components import colour_tokens, measure_components
from patchwords.inspection.nearest import find_nearest, measure_features
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit


def drawn(count, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("chunk", [3, 7, 1000])
def test_neighbours_by_a_loop(chunk):
    queries, features = drawn(4), drawn(20, seed=1)
    features[5] = features[11]  # equal: the first comes first
    found = find_nearest(queries, features, 6, chunk=chunk)
    for number, query in enumerate(queries):
        cosines = [float(query @ other / np.linalg.norm(query) / np.linalg.norm(other)) for other in features]
        order = sorted(range(20), key=lambda i: (-round(cosines[i], 6), i))[:6]
        assert found.indices[number].tolist() == order
        np.testing.assert_allclose(found.similarity[number], [cosines[i] for i in order], atol=1e-6)
    assert found.rows()[7] == {
        "query": 2,
        "neighbour": 2,
        "index": found.indices[1, 1],
        "similarity": pytest.approx(found.similarity[1, 1]),
    }


def test_a_picture_of_the_set_is_not_its_own_neighbour():
    features = drawn(12)
    own = np.array([3, -1, 7])
    found = find_nearest(features[[3, 4, 7]], features, 11, leave_out=own, chunk=5)
    assert 3 not in found.indices[0] and found.indices[1, 0] == 4 and 7 not in found.indices[2]
    assert find_nearest(features[:1] * 100, features, 1).similarity[0, 0] == pytest.approx(1)


def test_zero_features_are_like_nothing_and_wrong_sizes_are_said():
    assert find_nearest(np.zeros((1, 6), np.float32), drawn(3), 2).similarity.tolist() == [[0, 0]]
    for queries, features, k in ((drawn(2, 5), drawn(3), 1), (drawn(2), drawn(3), 4), (drawn(2), drawn(3), 0)):
        with pytest.raises(ConfigError):
            find_nearest(queries, features, k)
    with pytest.raises(ConfigError):
        find_nearest(drawn(3), drawn(3), 3, leave_out=np.arange(3))


@pytest.mark.parametrize("build", [tiny_vit, tiny_cnn])
def test_features_are_what_the_head_reads(build):
    model = build()
    images = pictures(model, 5)
    found = measure_features(model, images, batch_size=2)
    assert found.shape == (5, model.num_features) and found.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_allclose(model.head(torch.from_numpy(found)), model(images), atol=1e-5)
    with pytest.raises(ConfigError, match="pool"):
        measure_features(tiny_vit(pool="none"), pictures(tiny_vit()))


def test_colours_are_the_leading_singular_vectors():
    tokens = np.random.default_rng(0).normal(size=(3, 4, 5, 8)) * [9, 5, 3, 1, 1, 1, 1, 1]
    found = colour_tokens(tokens)
    flat = tokens.reshape(-1, 8) - tokens.reshape(-1, 8).mean(axis=0)
    _, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(found.explained_share, (sizes**2 / (sizes**2).sum())[:3], rtol=1e-5)
    for number in range(3):
        axis = axes[number] * np.sign(axes[number][np.abs(axes[number]).argmax()])
        values = flat @ axis
        low, high = np.percentile(values, [1, 99])
        expected = ((values - low) / (high - low)).clip(0, 1).reshape(3, 4, 5)
        np.testing.assert_allclose(found.colours[..., number], expected, atol=1e-5)
    assert found.foreground is None and len(found.rows()) == 60
    assert colour_tokens(tokens).colours.tobytes() == found.colours.tobytes()


def test_the_figure_is_what_leaves_the_border_and_is_coloured_alone():
    random = np.random.default_rng(0)
    tokens = random.normal(size=(2, 8, 8, 5)) * 0.1
    tokens[0, 2:5, 3:6, 0] += 8
    tokens[1, 3:7, 2:4, 0] += 8
    expected = tokens[..., 0] > 4
    for turned in (tokens, -tokens):
        found = colour_tokens(turned, foreground=0.5)
        np.testing.assert_array_equal(found.foreground, expected)
        assert not found.colours[~expected].any() and found.colours[expected].std() > 0.1
    with pytest.raises(ConfigError):
        colour_tokens(tokens, foreground=2.0)


def test_components_of_a_model():
    model = tiny_vit(num_registers=1, dropout=0.2)
    images = pictures(model, 4)
    before = disturb(model)
    found = measure_components(model, images, layer="block00/+mlp", batch_size=3)
    assert_as_found(model, before)
    record = {}
    with torch.no_grad():
        model.eval()(images, record)
    same = colour_tokens(record["block00/+mlp"][:, 2:].unflatten(1, (3, 4)).numpy())
    np.testing.assert_allclose(found.colours, same.colours, atol=1e-4)
    cnn = tiny_cnn()
    assert measure_components(cnn, pictures(cnn), layer="embed").colours.shape == (3, 12, 16, 3)
    with pytest.raises(ConfigError, match="block01/attn"):
        measure_components(model, images, layer="block01/atn")
