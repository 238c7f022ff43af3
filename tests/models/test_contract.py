"""The contract of every architecture (models/contract.py), at a small size; what attention adds to it for ViTs."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchwords import checkpoint
from patchwords.errors import ConfigError
from patchwords.models import build
from patchwords.models.contract import Classifier
from patchwords.preprocess import Preprocess

from .families import EVERY, FAMILIES, OTHERS, alive, pictures

every = pytest.mark.parametrize("config", EVERY.values(), ids=EVERY.keys())
every_vit = pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES.keys())
every_other = pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS.keys())

UNSEEN = ("k_norm.bias", "mlp_tokens.fc2.bias")
"""the same for all keys: the softmax does not see it; for all channels: no LayerNorm does"""


def both(logits: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Return one tensor of what training answers: a pair with a distillation token."""
    return torch.stack(logits) if isinstance(logits, tuple) else logits


@every_vit
def test_shapes_and_names(config):
    model, images, record = alive(config), pictures(config), {}
    assert isinstance(model, Classifier)
    assert model.config == config and model.grid == (2, 3)
    with torch.no_grad():
        logits, tokens = model(images, record), model.forward_features(images)
        assert torch.equal(model.forward_head(tokens), model(images))
    count = model.num_prefix_tokens + 6
    assert tokens.shape == (3, count, config.dim)
    width = config.num_classes or model.num_features
    assert logits.shape == ((3, count, width) if config.pool == "none" else (3, width))
    blocks = [f"block{i:02d}/{name}" for i in range(2) for name in ("attn/weights", "attn", "+attn", "mlp", "+mlp")]
    pool = ["pool/weights"] if config.pool == "map" else []
    assert sorted(record) == sorted(["embed", *blocks, "encoded", *pool, "features", "logits"])
    assert all(value.isfinite().all() for value in record.values())
    weights = record["block01/attn/weights"]
    assert weights.shape == (3, config.num_heads, count, count)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, config.num_heads, count))
    assert record["features"].shape[-1] == model.num_features
    assert torch.equal(record["logits"], logits)


@every_other
def test_shapes_and_names_of_other_kinds(config):
    model, images, record = alive(config), pictures(config), {}
    assert isinstance(model, Classifier)
    assert model.config == config and model.grid == config.grid and model.num_prefix_tokens == 0
    with torch.no_grad():
        logits, tokens = model(images, record), model.forward_features(images)
        assert torch.equal(model.forward_head(tokens), model(images))
    cells = config.grid[0] * config.grid[1]
    assert tokens.shape[:2] == (3, cells) and cells == (1 if config.kind == "mlp" else 6)
    assert logits.shape == (3, 5)
    assert record["features"].shape == (3, model.num_features)
    assert torch.equal(record["encoded"], tokens) and torch.equal(record["logits"], logits)
    layers = ["embed", *(f"block{i:02d}/+mlp" for i in range(len(model.blocks))), "encoded"]
    assert [name for name in record if name in layers] == layers
    assert not [name for name in record if "attn" in name]
    assert all(value.isfinite().all() for value in record.values())
    assert all(record[name].ndim == 3 and record[name].shape[1] % cells == 0 for name in layers)


@every_other
def test_gradients_reach_every_layer_of_the_record(config):
    model, record = alive(config), {}
    images = pictures(config).requires_grad_()
    logits = model(images, record)
    inner = {name: value for name, value in record.items() if name != "logits"}
    gradients = torch.autograd.grad(logits.square().sum(), list(inner.values()))
    for (name, value), gradient in zip(inner.items(), gradients, strict=True):
        assert gradient.shape == value.shape and gradient.abs().max() > 0, name


@every_vit
def test_the_record_adds_up(config):
    model, record = alive(config), {}
    model(pictures(config), record)
    before = record["embed"]
    for i in range(config.depth):
        block = f"block{i:02d}/"
        assert torch.equal(record[block + "+attn"], before + record[block + "attn"])
        assert torch.equal(record[block + "+mlp"], record[block + "+attn"] + record[block + "mlp"])
        before = record[block + "+mlp"]
    assert torch.equal(record["encoded"], model.norm(before))


@every
def test_recorded_equals_fused(config):
    model, images = alive(config), pictures(config)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-14)):
        model, images = model.to(dtype), images.to(dtype)
        with torch.no_grad():
            fused, recorded = model(images), model(images, {})
        assert (fused - recorded).abs().max() <= tolerance * fused.abs().max().clamp(min=1)


@every
def test_every_parameter_gets_a_gradient(config):
    model, images = alive(config, torch.float64).train(), pictures(config, dtype=torch.float64)
    logits = both(model(images))
    (logits * torch.randn_like(logits)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith(UNSEEN):
            assert parameter.grad.abs().max() > 1e-12, name


@every
def test_other_pictures_of_the_batch_do_not_matter(config):
    model, images = alive(config), pictures(config)
    with torch.no_grad():
        together, alone = model(images)[1:2], model(images[1:2])
    assert (together - alone).abs().max() <= 1e-6 * together.abs().max().clamp(min=1)


@every
def test_a_new_head_loses_ln_k_and_moves_nothing_else(config):
    model, images = alive(config), pictures(config)
    with torch.no_grad():
        model(images, record := {})
        features = record["features"]
    model.reset_classifier(7)
    assert model.config.num_classes == 7 and getattr(model.config, "pre_logits", 0) == 0
    with torch.no_grad():
        model(images, record := {})
    assert torch.equal(record["features"], features)
    logits = record["logits"].reshape(-1, 7)
    assert torch.equal(logits, torch.zeros_like(logits))
    loss = F.cross_entropy(logits.double(), torch.arange(len(logits)) % 7)
    assert abs(loss.item() - math.log(7)) < 1e-15
    assert build(model.config).state_dict().keys() == model.state_dict().keys()
    model.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(model(images, {}), features)


@every
def test_saved_and_loaded_is_the_same(config, tmp_path):
    model, images = alive(config), pictures(config)
    other = alive(config, seed=1)
    with torch.no_grad():
        assert not torch.equal(model(images), other(images))
        torch.save(model.state_dict(), tmp_path / "weights")
        other.load_state_dict(torch.load(tmp_path / "weights", weights_only=True), strict=True)
        assert torch.equal(model(images), other(images))


@every
def test_bfloat16_parameters(config):
    model, images = alive(config), pictures(config)
    with torch.no_grad():
        exact = model(images)
        model, images = model.bfloat16(), images.bfloat16()
        rounded = model(images)
        assert rounded.dtype == torch.bfloat16
        assert ((rounded.float() - exact).norm() / exact.norm()) < 0.05
    logits = both(model.train()(images))
    logits.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@every
def test_bfloat16_autocast(config):
    model, images = alive(config), pictures(config)
    with torch.no_grad():
        exact = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(images)
    rounded.float().sum().backward()
    assert ((rounded.float() - exact).norm() / exact.norm()) < 0.05


@every
def test_pictures_of_another_size(config):
    model = alive(config)
    rows, columns = (2 * side for side in config.image_size)
    images = torch.randn(2, config.in_channels, rows, columns // 2)
    if not config.any_size:
        with pytest.raises(ConfigError, match="only"):
            model(images)
        return
    with torch.no_grad():
        tokens = model.forward_features(images)
        assert tokens.shape[:2] == (2, model.num_prefix_tokens + 4 * 3)
        assert (model(images) - model(images, {})).abs().max() <= 5e-6
    assert model(images).isfinite().all()


@every
def test_two_builds_with_one_seed_are_equal(config):
    first, second = (torch.manual_seed(3) and build(config).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@every_vit
def test_layers_and_weight_decay_name_every_parameter(config):
    model = build(config)
    names = [name for name, _ in model.named_parameters()]
    assert {model.layer_of(name) for name in names} <= set(range(config.depth + 2))
    assert model.layer_of("blocks.1.mlp.fc1.weight") == 2
    assert model.layer_of("patch_embed.proj.weight") == 0
    assert model.layer_of("head.weight") == model.layer_of("norm.weight") == 3
    plain = ("weight", "bias", "gamma", "q_bias", "v_bias")
    assert model.no_weight_decay() == {name for name in names if name.split(".")[-1] not in plain}


@every_other
def test_layers_of_other_kinds_name_every_parameter(config):
    model = build(config)
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert len(model.blocks) == config.depth
    assert {layer for name, layer in layers.items() if name.startswith("blocks.")} == set(range(1, config.depth + 1))
    assert {name.split(".")[0] for name, layer in layers.items() if layer > config.depth} <= {"norm", "head"}
    assert {name.split(".")[0] for name, layer in layers.items() if layer == 0} <= {"patch_embed", "stem"}
    assert layers["head.weight"] == config.depth + 1 and model.no_weight_decay() == set()


@every_other
def test_written_and_read_is_the_same(config, tmp_path):
    model, images = alive(config), pictures(config)
    classes, preprocess = tuple("abcde"), Preprocess(image_size=config.image_size, channels=config.in_channels)
    checkpoint.save_model(tmp_path / "model", config, model.state_dict(), classes, preprocess, {})
    loaded = checkpoint.load_model(tmp_path / "model")
    assert loaded.model.config == config and loaded.classes == classes
    with torch.no_grad():
        assert torch.equal(loaded.model(images), model(images))


@every_other
def test_checkpointing_changes_nothing_but_memory(config):
    model, images, seen = alive(config).train(), pictures(config), []
    for enabled in (False, True):
        model.set_checkpointing(enabled)
        model.zero_grad()
        logits = model(images)
        logits.square().sum().backward()
        seen.append([logits, *(parameter.grad.clone() for parameter in model.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*seen, strict=True))
