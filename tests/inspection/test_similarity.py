"""CKA against the definition of HSIC, written out as sums over pictures."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from patchwords.errors import ConfigError
from patchwords.inspection.similarity import linear_cka, measure_similarity
from tests.inspection.tiny import assert_as_found, disturb, pictures, tiny_cnn, tiny_vit


def hsic_of_quadruples(x, y):
    """The U-statistic (Song et al. 2012, theorem 2): the mean over all distinct i, j, q, r."""
    k, other = x @ x.T, y @ y.T
    n = len(k)
    terms = [
        k[i, j] * other[i, j] + k[i, j] * other[q, r] - 2 * k[i, j] * other[i, q]
        for i, j, q, r in permutations(range(n), 4)
    ]
    return np.mean(terms)


def biased_hsic(x, y):
    """The definition of 1905.00414, eq. 3: trace(K H L H) / (n - 1)^2."""
    n = len(x)
    centre = np.eye(n) - 1 / n
    return np.trace(x @ x.T @ centre @ y @ y.T @ centre) / (n - 1) ** 2


def definition(hsic, x, y):
    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def drawn(seed=0, n=7, p=3, q=5):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, p)) + 3
    return x, x @ random.normal(size=(p, q)) + random.normal(size=(n, q))


@pytest.mark.parametrize("seed", range(3))
def test_both_estimates_are_their_definitions(seed):
    x, y = drawn(seed)
    assert linear_cka(x, y) == pytest.approx(definition(hsic_of_quadruples, x, y), abs=1e-6)
    assert linear_cka(x, y, unbiased=False) == pytest.approx(definition(biased_hsic, x, y), abs=1e-6)


@pytest.mark.parametrize("unbiased", [True, False])
def test_rotation_scale_and_shift_change_nothing_other_maps_do(unbiased):
    x, y = drawn(n=40, p=6)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    same = linear_cka(x, y, unbiased=unbiased)
    assert linear_cka(7 * x @ turn + 5, y, unbiased=unbiased) == pytest.approx(same, abs=1e-9)
    assert linear_cka(x * [30, 1, 1, 1, 1, 1], y, unbiased=unbiased) != pytest.approx(same, abs=1e-2)
    assert linear_cka(x, x @ turn, unbiased=unbiased) == pytest.approx(1)


def test_unrelated_features_are_zero_only_without_bias():
    random = np.random.default_rng(0)
    pairs = [(random.normal(size=(16, 200)), random.normal(size=(16, 200))) for _ in range(40)]
    assert abs(np.mean([linear_cka(x, y) for x, y in pairs])) < 0.02
    assert np.mean([linear_cka(x, y, unbiased=False) for x, y in pairs]) > 0.8


def test_features_that_are_the_same_for_all_have_no_similarity():
    x, y = drawn()
    assert np.isnan(linear_cka(np.full((7, 3), 0.1, np.float32), y))
    nearly = 1 + 1e-8 * np.random.default_rng(0).normal(size=(7, 2))  # as far apart as float32 rounds
    assert np.isnan(linear_cka(x, nearly)) and np.isnan(linear_cka(nearly, nearly))


def features(model, images, name, tokens):
    record = {}
    with torch.no_grad():
        model.eval()(images, record)
    if tokens == "all":
        return record[name].flatten(1).double().numpy()
    if tokens == "cls":
        return record[name][:, 0].double().numpy()
    return record[name][:, model.num_prefix_tokens :].mean(dim=1).double().numpy()


@pytest.mark.parametrize("tokens", ["mean", "cls", "all"])
def test_layers_of_one_model_are_the_definition_over_minibatches(tokens):
    model = tiny_vit()
    images = pictures(model, 12)
    found = measure_similarity(model, images, tokens=tokens, batch_size=6)
    assert found.layers == found.other_layers == ("embed", "block00/+mlp", "block01/+mlp", "encoded")
    assert (found.tokens, found.pictures, found.batch_size) == (tokens, 12, 6)
    for i, first in enumerate(found.layers):
        for j, second in enumerate(found.layers):
            if tokens == "cls" and "embed" in (first, second):
                assert np.isnan(found.cka[i, j])  # the class token is the same for all pictures at first
                continue
            parts = [
                (features(model, batch, first, tokens), features(model, batch, second, tokens))
                for batch in images.split(6)
            ]
            sums = [np.mean([hsic_of_quadruples(*pair(x, y)) for x, y in parts]) for pair in PAIRS]
            assert found.cka[i, j] == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), abs=1e-6)


PAIRS = (lambda x, y: (x, y), lambda x, y: (x, x), lambda x, y: (y, y))


def test_two_models_of_different_width_and_kind():
    model, other = tiny_vit(image_size=(12, 16), dim=16), tiny_cnn()
    images = pictures(other, 8)
    found = measure_similarity(model, images, other, tokens="cls")
    assert found.cka.shape == (4, 4) and (found.tokens, found.other_tokens) == ("cls", "mean")
    x, y = features(model, images, "encoded", "cls"), features(other, images, "encoded", "mean")
    assert found.cka[3, 3] == pytest.approx(linear_cka(x, y), abs=1e-5)
    assert len(found.rows()) == 16 and len(found.nearest) == 4 and np.isnan(found.off_diagonal)


def test_batches_given_one_by_one_short_ones_left_out_and_the_model_left_alone():
    model, other = tiny_vit(dropout=0.4), tiny_vit(1)
    images = pictures(model, 13)
    before = disturb(model)
    steps = []
    whole = measure_similarity(model, images, other, batch_size=5, progress=lambda *done: steps.append(done))
    assert_as_found(model, before)
    assert steps[-1] == (13, 13) and whole.batch_size == 5
    few = measure_similarity(model, iter(images[:11].split(4)), other, other_images=iter(images[:11].split(4)))
    assert few.pictures == 8
    again = measure_similarity(model, images[:8], other, batch_size=4)
    np.testing.assert_array_equal(few.cka, again.cka)


def test_a_model_is_like_itself():
    model = tiny_vit()
    images = pictures(model, 8)
    alone, twice = measure_similarity(model, images), measure_similarity(model, images, model, other_images=images)
    np.testing.assert_allclose(alone.cka, twice.cka, atol=1e-6)
    np.testing.assert_allclose(np.diag(alone.cka), 1, atol=1e-6)
    assert 0 < alone.off_diagonal < 1 and alone.nearest == alone.layers


def test_what_cannot_be_compared_is_said():
    model = tiny_vit(pool="mean", class_token=False)
    images = pictures(model, 4)
    with pytest.raises(ConfigError, match="4 or more"):
        measure_similarity(model, images[:3])
    with pytest.raises(ConfigError, match="no class token"):
        measure_similarity(model, images, tokens="cls")
    with pytest.raises(ConfigError, match="same pictures"):
        measure_similarity(model, iter([images]), tiny_vit(), other_images=iter([images[:3]]))
    with pytest.raises(ConfigError, match="encoded"):
        measure_similarity(model, images, layers=["encodd"])
