"""Attention read layer by layer is the attention of the model, for every architecture."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.inspection.attention import attention_maps, attention_weights, token_names
from patchwords.inspection.trace import attention_trace
from patchwords.models import build

from ..models.families import FAMILIES, alive, pictures

GOLDEN = Path(__file__).parents[1] / "golden" / "transformers"
TINY = {"image_size": (16, 24), "patch_size": (4, 8), "dim": 16, "depth": 3, "num_heads": 4, "mlp_dim": 24}
TINY |= {"num_classes": 5}


def recorded(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    record: dict[str, Tensor] = {}
    with torch.no_grad():
        model(images, record)
    return record


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trace_is_what_a_whole_forward_records(name: str) -> None:
    config = FAMILIES[name]
    model, images = alive(config), pictures(config)
    record, seen = recorded(model, images), {}
    for layer in attention_trace(model, images, pool=True, batch_size=2):
        seen.setdefault(layer.layer, []).append(layer.weights)
        assert (layer.grid, layer.cell_px) == (config.grid, config.cell_size)
    expected = [f"block{number:02d}/attn/weights" for number in range(config.depth)]
    expected += ["pool/weights"] if config.pool == "map" else []
    assert list(seen) == list(range(1, len(expected) + 1))
    for layer, key in enumerate(expected, 1):
        weights = torch.cat(seen[layer])
        assert weights.shape == record[key].shape
        torch.testing.assert_close(weights, record[key], rtol=0, atol=1e-6)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-5)


def state(files: dict[str, np.ndarray], names: dict[str, str], depth: int) -> dict[str, Tensor]:
    """Return a file of transformers under our names: replaced as `names` says, q, k and v joined."""
    ours = {}
    for key, array in files.items():
        for old, new in names.items():
            key = key.replace(old, new)
        ours[key] = torch.from_numpy(array)
    for block in range(depth):
        q, k, v = (f"blocks.{block}.attn.{part}_proj" for part in "qkv")
        joined = f"blocks.{block}.attn."
        ours[f"{joined}qkv.weight"] = torch.cat([ours.pop(f"{part}.weight") for part in (q, k, v)])
        if f"{k}.bias" in ours:
            ours[f"{joined}qkv.bias"] = torch.cat([ours.pop(f"{part}.bias") for part in (q, k, v)])
        else:
            ours |= {f"{joined}q_bias": ours.pop(f"{q}.bias"), f"{joined}v_bias": ours.pop(f"{v}.bias")}
    return ours


DINOV3 = {"layer.": "blocks.", "embeddings.register_tokens": "reg_token"}
DINOV3 |= {"embeddings.patch_embeddings": "patch_embed.proj", "embeddings.": "", "attention.o_proj": "attn.proj"}
DINOV3 |= {"attention.": "attn.", "up_proj": "fc1", "down_proj": "fc2"}
DINOV3 |= {"layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma"}
SIGLIP = {
    "encoder.layers.": "blocks.",
    "embeddings.patch_embedding": "patch_embed.proj",
    "self_attn.out_proj": "attn.proj",
}
SIGLIP |= {"embeddings.position_embedding.weight": "pos_embed", "self_attn": "attn", "layer_norm": "norm"}
SIZES = {"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "mlp_dim": 96, "num_classes": 0}


@pytest.mark.parametrize(
    ("name", "names", "config"),
    [
        (
            "dinov3_rope",
            DINOV3,
            ViTConfig(
                **SIZES,
                depth=3,
                num_heads=3,
                position="rope",
                num_registers=4,
                layer_scale=1.0,
                norm_eps=1e-5,
                qkv_bias="qv",
            ),
        ),
        (
            "siglip_map",
            SIGLIP,
            ViTConfig(**SIZES, depth=2, num_heads=4, pool="map", class_token=False, activation="gelu_tanh"),
        ),
    ],
)
def test_weights_are_those_of_transformers(name: str, names: dict[str, str], config: ViTConfig) -> None:
    model = build(config).eval()
    weights = state(load_file(GOLDEN / name / "model.safetensors"), names, config.depth)
    weights["pos_embed"] = weights["pos_embed"][None] if "pos_embed" in weights else None
    missing = model.load_state_dict({k: v for k, v in weights.items() if v is not None}, strict=False).missing_keys
    assert all(key.startswith(("attn_pool", "norm.")) for key in missing)
    seen = np.load(GOLDEN / name / "io.npz")
    ours = attention_weights(model, torch.from_numpy(seen["images"])).weights
    assert np.abs(ours - seen["attentions"].swapaxes(0, 1)).max() <= 1e-5


def test_only_one_layer_of_some_pictures_is_held() -> None:
    model = alive(ViTConfig(**TINY))
    trace = attention_trace(model, pictures(model.config, 4), batch_size=2)
    earlier = weakref.ref(next(trace).weights)
    for layer in trace:
        assert earlier() is None and len(layer.weights) == 2
        earlier = weakref.ref(layer.weights)
        del layer


def test_a_trace_leaves_model_and_gradients_as_they_were() -> None:
    model = alive(ViTConfig(**TINY, dropout=0.5, patch_dropout=0.5, drop_path=0.5)).train()
    model.head.eval()
    images = pictures(model.config)
    first, second = (attention_weights(model, images).weights for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training and model.blocks[0].training and not model.head.training
    for _ in attention_trace(model, images):
        assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    next(attention_trace(model, images))  # and then no more
    assert model.training


def test_batches_of_pictures_and_other_sizes_and_types_do() -> None:
    model = alive(ViTConfig(**TINY, position="rope"))
    images = torch.cat([pictures(model.config), pictures(model.config)], dim=2)
    whole = attention_weights(model, images.double())
    parts = attention_weights(model, iter([images[:1], images[1:]]))
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-6)
    assert whole.grid == (8, 3) and whole.weights.shape == (3, 3, 4, 25, 25)
    half = attention_weights(model, images, precision="bfloat16")
    assert half.weights.dtype == np.float32
    assert 0 < np.abs(half.weights - whole.weights).max() < 0.02


def test_progress_counts_layers_of_pictures() -> None:
    model = alive(ViTConfig(**TINY))
    told: list[tuple[int, int]] = []
    list(attention_trace(model, pictures(model.config), batch_size=2, progress=lambda *done: told.append(done)))
    assert told == [(2, 9), (4, 9), (6, 9), (7, 9), (8, 9), (9, 9)]


def test_maps_of_every_query_are_rows_of_the_weights() -> None:
    model = alive(ViTConfig(**TINY, distillation_token=True, num_registers=2))
    images = pictures(model.config)
    record = recorded(model, images)
    names = ("class", "distillation", "register 1", "register 2")
    assert token_names(model.config) == names
    queries = {"answer": 0, "class": 0, "distillation": 1, "register 2": 3, (2, 1): 4 + 2 * 3 + 1}
    for query, token in queries.items():
        found = attention_maps(model, images, query)
        for layer in range(3):
            weights = record[f"block{layer:02d}/attn/weights"].numpy()[:, :, token]
            for row, column in np.ndindex(4, 3):
                np.testing.assert_allclose(
                    found.maps[layer, :, :, row, column], weights[..., 4 + row * 3 + column], atol=1e-6
                )
            np.testing.assert_allclose(found.prefix_share[layer], weights[..., :4], atol=1e-6)
        total = found.maps.sum((-1, -2)) + found.prefix_share.sum(-1)
        np.testing.assert_allclose(total, np.ones_like(total), atol=1e-5)
        assert found.pool_maps is None and found.tokens == names
    assert attention_maps(model, images, (2, 1)).query == "patch (3, 2)"
    assert attention_maps(model, images).query == "class"


def test_a_model_that_averages_is_asked_for_the_mean_over_its_patches() -> None:
    model = alive(ViTConfig(**TINY, pool="mean", num_registers=1))
    images = pictures(model.config)
    found = attention_maps(model, images)
    weights = recorded(model, images)["block01/attn/weights"].numpy()
    assert found.query == "mean of patches" and model.num_prefix_tokens == 2
    np.testing.assert_allclose(found.maps[1].reshape(3, 4, 12), weights[:, :, 2:, 2:].mean(2), atol=1e-6)
    np.testing.assert_allclose(found.mean_maps[1], found.maps[1].mean(1), atol=1e-6)


def test_attention_pooling_has_maps_of_its_own() -> None:
    model = alive(ViTConfig(**TINY, pool="map", class_token=False))
    images = pictures(model.config)
    found = attention_maps(model, images)
    pooled = recorded(model, images)["pool/weights"].numpy()
    np.testing.assert_allclose(found.pool_maps.reshape(3, 4, 12), pooled[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(attention_weights(model, images).pool_weights, pooled[:, :, 0], atol=1e-6)
    rows = found.rows()
    assert len(rows) == (3 + 1) * 3 * 4 * 12 and rows[-1]["layer"] == 4
    assert rows[-1]["attention_share"] == found.pool_maps[-1, -1, -1, -1]


def test_tables_say_who_looks_where() -> None:
    model = alive(ViTConfig(**TINY))
    images = pictures(model.config, 2)
    maps, weights = attention_maps(model, images, (0, 2)), attention_weights(model, images)
    line = maps.rows()[-1]
    assert line == {"layer": 3, "picture": 2, "head": 4, "row": 4, "column": 3, "attention_share": maps.maps.flat[-1]}
    line = next(row for row in weights.rows() if (row["layer"], row["head"], row["query"]) == (2, 3, "(1, 3)"))
    share = weights.weights[1, 0, 2, 1 + 2]
    names = ["class", *(f"({row}, {column})" for row in range(1, 5) for column in range(1, 4))]
    assert line["most"] == names[share.argmax()] and line["most_share"] == share.max()
    assert line["entropy_nats"] == pytest.approx(-(share * np.log(share)).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("query", "said"),
    [("clas", "Did you mean class"), ("register 1", "Allowed: answer, class, mean"), ((4, 0), "Rows are 0 to 3")],
)
def test_a_query_that_is_not_there_is_named(query: str | tuple[int, int], said: str) -> None:
    model = alive(ViTConfig(**TINY))
    with pytest.raises(ConfigError, match=said):
        attention_maps(model, pictures(model.config), query)


def test_what_cannot_be_traced_is_told() -> None:
    model = alive(ViTConfig(**TINY))
    with pytest.raises(ConfigError, match="cannot be cut"):
        attention_maps(model, torch.zeros(1, 3, 15, 24))
    with pytest.raises(ConfigError, match="precision"):
        attention_weights(model, pictures(model.config), precision="int8")
    with pytest.raises(ConfigError, match="Sequential has no attention"):
        attention_maps(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 16, 24))
    with pytest.raises(ConfigError, match="without blocks"):
        attention_maps(build(ViTConfig(**TINY | {"depth": 0})), torch.zeros(1, 3, 16, 24))
    with pytest.raises(ConfigError, match="no picture"):
        attention_maps(model, torch.zeros(0, 3, 16, 24))
    with pytest.raises(ConfigError, match="all of one size"):
        attention_maps(model, [torch.zeros(1, 3, 16, 24), torch.zeros(1, 3, 24, 24)])
    with pytest.raises(ConfigError, match=r"shape \(3, 16, 24\)"):
        attention_maps(model, torch.zeros(3, 16, 24))
