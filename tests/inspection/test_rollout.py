"""Rollout is the product of the layers, row by row a mixture of tokens; test_attribution asks what it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.attention import attention_weights
from patchwords.inspection.rollout import attention_rollout, mixture

from ..models.families import FAMILIES, alive, pictures
from .given import one_layer, random_attention

TINY = {"image_size": (16, 24), "patch_size": (4, 8), "dim": 16, "depth": 3, "num_heads": 4, "mlp_dim": 24}
TINY |= {"num_classes": 5}


def by_loops(weights: np.ndarray, fusion: str, discard: float, residual: float, protect: bool) -> np.ndarray:
    """Return the rollout (T, T) of weights (layers, heads, T, T): plain loops, nothing shared with the code."""
    tokens, product = weights.shape[-1], None
    for layer in weights.astype(np.float64):
        matrix = np.zeros((tokens, tokens))
        for q in range(tokens):
            for k in range(tokens):
                heads = [head[q, k] for head in layer]
                matrix[q, k] = {"mean": sum(heads) / len(heads), "max": max(heads), "min": min(heads)}[fusion]
        smallest = sorted((matrix[q, k], q, k) for q in range(tokens) for k in range(tokens))
        for _, q, k in smallest[: int(tokens * tokens * discard)]:
            if (q, k) != (0, 0) or not protect:
                matrix[q, k] = 0
        for q in range(tokens):
            for k in range(tokens):
                matrix[q, k] = (1 - residual) * matrix[q, k] + residual * (q == k)
            matrix[q] /= sum(matrix[q])
        product = matrix if product is None else matrix @ product
    return product


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize(("discard", "residual", "start"), [(0.0, 0.5, 1), (0.9, 0.5, 1), (0.3, 0.2, 2)])
@pytest.mark.parametrize("options", [{"num_registers": 2}, {"class_token": False, "pool": "mean"}])
def test_rollout_is_the_product_of_the_layers(
    fusion: str, discard: float, residual: float, start: int, options: dict
) -> None:
    model = alive(ViTConfig(**TINY, **options))
    images, prefix = pictures(model.config), model.num_prefix_tokens
    settings = {"fusion": fusion, "discard_share": discard, "residual_share": residual, "start": start}
    found = attention_rollout(model, images, matrix=True, **settings)
    weights = attention_weights(model, images).weights
    for picture in range(3):
        expected = by_loops(weights[start - 1 :, picture], fusion, discard, residual, prefix > 0)
        np.testing.assert_allclose(found.matrix[picture], expected, atol=1e-6)
        read = expected[0] if prefix else expected.mean(0)
        np.testing.assert_allclose(found.maps[-1, picture], read[prefix:].reshape(4, 3), atol=1e-6)
        np.testing.assert_allclose(found.prefix_share[-1, picture], read[:prefix], atol=1e-6)
        first = by_loops(weights[start - 1 : start, picture], fusion, discard, residual, prefix > 0)
        np.testing.assert_allclose(
            found.maps[0, picture].ravel(), (first[0] if prefix else first.mean(0))[prefix:], atol=1e-6
        )
    assert found.layers == tuple(range(start, 4))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("fusion", "discard"), [("mean", 0.0), ("max", 0.95), ("min", 1.0)])
def test_rows_sum_to_one_for_every_architecture(name: str, fusion: str, discard: float) -> None:
    config = FAMILIES[name]
    model = alive(config)
    found = attention_rollout(
        model, pictures(config), fusion=fusion, discard_share=discard, residual_share=0.1, matrix=True
    )
    np.testing.assert_allclose(found.matrix.sum(-1), np.ones(found.matrix.shape[:2]), atol=1e-5)
    total = found.maps.sum((-1, -2)) + found.prefix_share.sum(-1)
    np.testing.assert_allclose(total, np.ones_like(total), atol=1e-5)
    assert found.maps.min() >= 0 and found.maps.shape[2:] == config.grid


def test_attention_pooling_is_rolled_out_through_its_weights() -> None:
    model = alive(ViTConfig(**TINY, pool="map", num_registers=1))
    images = pictures(model.config)
    found = attention_rollout(model, images, matrix=True)
    pooled = attention_weights(model, images).pool_weights.mean(axis=1)
    expected = np.einsum("bq,bqk->bk", pooled, found.matrix[:, 2:])
    np.testing.assert_allclose(found.maps[-1].reshape(3, -1), expected[:, 2:], atol=1e-6)
    assert found.query == "attention pooling"
    assert attention_rollout(model, images, "class").query == "class"


def test_known_attention() -> None:
    uniform = one_layer(torch.full((1, 2, 5, 5), 0.2), (2, 2), prefix=1)
    expected = 0.5 * torch.eye(5) + 0.1
    torch.testing.assert_close(mixture(uniform)[0], expected)
    identity = one_layer(torch.eye(5).expand(1, 2, 5, 5), (2, 2), prefix=1)
    torch.testing.assert_close(mixture(identity)[0], torch.eye(5))
    nothing_left = mixture(one_layer(random_attention(1, 2, 4, 4), (2, 2)), discard_share=1.0, residual_share=0.0)
    torch.testing.assert_close(nothing_left[0], torch.eye(4, dtype=torch.float64))


def test_a_table_and_a_batch_at_a_time() -> None:
    model = alive(ViTConfig(**TINY))
    images = pictures(model.config, 5)
    found = attention_rollout(model, images, start=2)
    parts = attention_rollout(model, images.split(2), start=2)
    np.testing.assert_allclose(parts.maps, found.maps, atol=1e-6)
    row = found.rows()[-1]
    assert row == {"layer": 3, "picture": 5, "row": 4, "column": 3, "rollout_share": found.maps[-1, -1, -1, -1]}
    assert found.matrix is None and len(found.rows()) == 2 * 5 * 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fusion": "median"}, "Allowed: max, mean, min"),
        ({"start": 4}, "Layers are 1 to 3"),
        ({"discard_share": 1.5}, "outside 0.0 to 1.0"),
        ({"query": "register 1"}, "no token"),
    ],
)
def test_what_cannot_be_rolled_out_is_told(options: dict, said: str) -> None:
    model = alive(ViTConfig(**TINY))
    with pytest.raises(ConfigError, match=said):
        attention_rollout(model, pictures(model.config), **options)
