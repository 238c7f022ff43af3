"""Weights for other sizes, patches, channels and classes: against models that see the same picture otherwise."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchwords.architecture import POSITION_RESIZES, ViTConfig
from patchwords.checkpoint import LoadedModel, load_model, save_model
from patchwords.errors import ConfigError
from patchwords.formats.adapt import adapt, adapt_model, mixed_channels, resized_patches
from patchwords.models import build
from patchwords.preprocess import Preprocess

from ..models.families import FAMILIES, alive

BASE = ViTConfig(image_size=(16, 24), patch_size=(8, 8), dim=16, depth=2, num_heads=2, mlp_dim=24, num_classes=5)
RGB = ("red", "green", "blue")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def changed(config, **changes):
    """Return a living model of `config`, the model of its adapted weights, and the hows."""
    model, wanted = alive(config, torch.float64), dataclasses.replace(config, **changes)
    weights, hows = adapt(config, model.state_dict(), wanted)
    other = build(wanted).double().eval()
    other.load_state_dict(weights)
    return model, other, hows


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def as_loaded(config, classes=("a", "b", "c", "d", "e"), **preprocess):
    model = alive(config)
    pictures = Preprocess(image_size=config.image_size, channels=config.in_channels, **preprocess)
    return LoadedModel(model, tuple(classes), pictures, {"data": "none"})


@pytest.mark.parametrize("rule", POSITION_RESIZES)
@pytest.mark.parametrize("kind", ["learned", "learned_2d", "relative", "sincos_2d", "rope", "none"])
def test_a_model_for_another_size_answers_as_the_old_one_does_there(kind, rule):
    config = dataclasses.replace(BASE, position=kind, num_registers=1, position_resize=rule)
    model, other, hows = changed(config, image_size=(40, 16))
    images = random(2, 3, 40, 16)
    with torch.no_grad():
        torch.testing.assert_close(other(images), model(images), rtol=0, atol=1e-12)
        assert other.grid == (5, 2)
    tables = {name for name in model.state_dict() if "pos_embed" in name or "relative" in name}
    assert set(hows) == tables
    rule = "bicubic" if kind == "relative" else rule
    assert set(hows.values()) <= {f"positions resampled from 2x3 to 5x2 patches, {rule} rule"}


def test_the_wanted_rule_is_taken_and_prefix_tokens_keep_their_positions():
    model, other, _ = changed(
        dataclasses.replace(BASE, distillation_token=True), image_size=(32, 32), position_resize="google"
    )
    old, new = model.state_dict()["pos_embed"], other.state_dict()["pos_embed"]
    assert new.shape == (1, 2 + 16, 16) and torch.equal(new[:, :2], old[:, :2])
    corners = new[0, 2:].unflatten(0, (4, 4))[[0, 0, 3, 3], [0, 3, 0, 3]]
    torch.testing.assert_close(corners, old[0, 2:].unflatten(0, (2, 3))[[0, 0, 1, 1], [0, 2, 0, 2]])


@pytest.mark.parametrize("name", [name for name, config in FAMILIES.items() if config.stem == "patch"])
def test_every_architecture_can_be_made_larger(name):
    """Twice the patch and twice the picture, resized: the tokens are the same, and so is the answer."""
    config = FAMILIES[name]
    sides = [2 * side for side in config.image_size]
    model, other, hows = changed(config, patch_size=tuple(2 * p for p in config.patch_size), image_size=tuple(sides))
    small = random(2, config.in_channels, *config.image_size)
    with torch.no_grad():
        for got, want in zip(other(enlarged(small, config.patch_size, 2)), model(small), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    assert list(hows) == ["patch_embed.proj.weight"]


def enlarged(images, patch, factor):
    """Resize each patch of `images` by itself, as the derivation has it."""
    rows, columns = (side // p for side, p in zip(images.shape[2:], patch, strict=True))
    cut = images.unflatten(2, (rows, patch[0])).unflatten(4, (columns, patch[1])).permute(0, 2, 4, 1, 3, 5)
    grown = F.interpolate(cut.flatten(0, 2), scale_factor=factor, mode="bilinear", align_corners=False)
    back = grown.unflatten(0, (images.shape[0], rows, columns)).permute(0, 3, 1, 4, 2, 5)
    return back.flatten(4, 5).flatten(2, 3)


def whole_matrix(own, new):
    """Return B (P'P', PP) of bilinear, antialiased interpolation, a column for each pixel."""
    pixels = torch.eye(own[0] * own[1], dtype=torch.float64).view(-1, 1, *own)
    return F.interpolate(pixels, new, mode="bilinear", antialias=True).flatten(1).T


SIZES = [((4, 4), (8, 8)), ((4, 4), (5, 7)), ((8, 8), (4, 4)), ((6, 4), (4, 9)), ((16, 16), (10, 10)), ((2, 2), (2, 2))]


@pytest.mark.parametrize(("own", "new"), SIZES)
def test_patches_are_resized_by_the_pseudo_inverse_of_the_whole_matrix(own, new):
    weight = random(7, 2, *own)
    resized, matrix = resized_patches(weight, new), whole_matrix(own, new)
    expected = np.linalg.lstsq(matrix.T.numpy(), weight.flatten(2).flatten(0, 1).T.numpy(), rcond=None)[0]
    np.testing.assert_allclose(resized.flatten(2).flatten(0, 1).T, expected, rtol=0, atol=1e-10)
    patch = random(1, own[0] * own[1])
    before, after = weight.flatten(2) @ patch[0], resized.flatten(2) @ (matrix @ patch[0])
    if new[0] >= own[0] and new[1] >= own[1]:
        torch.testing.assert_close(after, before, rtol=0, atol=1e-11)
    else:  # no other filters are nearer on the average over patches
        loss = (matrix.T @ resized[0, 0].flatten() - weight[0, 0].flatten()).norm()
        for seed in range(20):
            torch.manual_seed(seed)
            other = resized[0, 0].flatten() + 0.01 * torch.randn(new[0] * new[1], dtype=torch.float64)
            assert (matrix.T @ other - weight[0, 0].flatten()).norm() > loss


def test_every_larger_patch_gives_the_same_tokens_exactly():
    worst = 0.0
    for own in range(1, 17):
        for new in range(own, 25):
            weight, patch = random(3, 1, own, own), random(own * own)
            after = resized_patches(weight, (new, new)).flatten(1) @ (whole_matrix((own, own), (new, new)) @ patch)
            worst = max(worst, float((after - weight.flatten(1) @ patch).abs().max()))
    assert worst < 1e-11
    half = resized_patches(random(3, 1, 4, 4).half(), (6, 6))
    assert half.dtype == torch.float16 and half.shape == (3, 1, 6, 6)


def test_another_patch_alone_changes_the_grid():
    _, other, hows = changed(BASE, patch_size=(4, 4))
    assert set(hows) == {"patch_embed.proj.weight", "pos_embed"} and other.grid == (4, 6)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_a_grey_picture_is_the_same_as_grey_and_as_rgb(stem):
    config, grey = dataclasses.replace(BASE, stem=stem), random(2, 1, 16, 24)
    rgb = grey.expand(-1, 3, -1, -1)
    model, one, hows = changed(config, in_channels=1)
    (how,) = hows.values()
    assert how == "grey: the sum of the filters of red, green, blue"
    back, three, hows = changed(dataclasses.replace(config, in_channels=1), in_channels=3)
    assert list(hows.values()) == ["red, green, blue: 1/3 of the filter of grey each"]
    with torch.no_grad():
        torch.testing.assert_close(one(grey), model(rgb), rtol=0, atol=1e-12)
        torch.testing.assert_close(three(rgb), back(grey), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("wanted", "parts", "how"),
    [
        (("blue", "green", "red"), np.eye(3)[::-1], "filters of blue, green, red kept"),
        (("Red", "nir"), [[1, 0, 0], [0, 1, 1]], "filters of red kept; nir: the sum of the filters of green, blue"),
        (
            ("nir", "red", "green"),
            [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
            "filters of red, green kept; nir: the filter of blue",
        ),
        (("red", "blue"), [[1, 0, 0], [0, 0, 1]], "filters of red, blue kept; green dropped"),
        (("gray",), [[1, 1, 1]], "grey: the sum of the filters of red, green, blue"),
        (
            ("red", "green", "blue", "nir"),
            np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [1, 1, 1]]) / 4,
            "filters of red, green, blue kept; nir: mean filter; all times 3/4",
        ),
        (
            ("a", "b", "c", "d", "e"),
            np.full((5, 3), 1 / 5),
            "a, b, c, d, e: 1/5 of the sum of the filters of red, green, blue each",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_channels_by_name(wanted, parts, how):
    config = dataclasses.replace(BASE, in_channels=len(wanted))
    weights = alive(BASE, torch.float64).state_dict()
    made, hows = adapt(BASE, weights, config, wanted)
    old, new = weights["patch_embed.proj.weight"], made["patch_embed.proj.weight"]
    np.testing.assert_allclose(new, np.einsum("nc,dcpq->dnpq", np.asarray(parts, float), old), rtol=0, atol=1e-14)
    assert hows == {"patch_embed.proj.weight": how}
    if "dropped" not in how:  # a picture with equal channels
        torch.testing.assert_close(new.sum(1), old.sum(1), rtol=0, atol=1e-13)
    assert all(made[name] is weights[name] for name in weights if name not in hows)


def test_mixed_channels_keep_their_type():
    made, _ = mixed_channels(random(4, 3, 2, 2).bfloat16(), RGB, ("grey",))
    assert made.dtype == torch.bfloat16 and made.shape == (4, 1, 2, 2)


def test_all_at_once():
    """Channels first, then the patch, then positions: neither undoes the other."""
    model, other, hows = changed(BASE, in_channels=1, patch_size=(16, 16), image_size=(32, 48), num_classes=3)
    assert hows["patch_embed.proj.weight"] == (
        "grey: the sum of the filters of red, green, blue; patches resized from 8x8 to 16x16 pixels by pseudo-inverse"
    )
    assert set(hows) == {"patch_embed.proj.weight", "head.weight", "head.bias"}
    grey = random(2, 1, 16, 24)
    with torch.no_grad():
        features = other.forward_features(enlarged(grey, (8, 8), 2))
        torch.testing.assert_close(features, model.forward_features(grey.expand(-1, 3, -1, -1)), rtol=0, atol=1e-11)
        assert torch.equal(other(random(2, 1, 32, 48)), torch.zeros(2, 3, dtype=torch.float64))


def test_heads():
    config = dataclasses.replace(BASE, pre_logits=7)
    weights = alive(config).state_dict()
    kept, hows = adapt(config, weights, config)
    assert not hows and all(kept[name] is weights[name] for name in weights)
    made, hows = adapt(config, weights, dataclasses.replace(config, num_classes=9))
    assert made["head.weight"].shape == (9, 7) and not made["head.weight"].any() and "pre_logits.fc.weight" in made
    made, hows = adapt(config, weights, dataclasses.replace(config, pre_logits=0, head_bias=False), new_head=True)
    assert made["head.weight"].shape == (5, 16) and "head.bias" not in made
    assert hows["pre_logits.fc.weight"] == hows["head.bias"] == "left out"
    made, hows = adapt(config, weights, dataclasses.replace(config, num_classes=0))
    assert not [name for name in made if name.startswith("head")] and hows["head.weight"] == "left out"
    two = dataclasses.replace(BASE, distillation_token=True, num_classes=0)
    made, _ = adapt(two, alive(two).state_dict(), dataclasses.replace(two, num_classes=4))
    assert made["head_dist.weight"].shape == made["head.weight"].shape == (4, 16)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"dim": 32}, "model.dim"),
        ({"depth": 3}, "model.depth"),
        ({"num_heads": 4}, "model.num_heads"),
        ({"activation": "gelu_tanh"}, "model.activation"),
        ({"norm_eps": 1e-5}, "model.norm_eps"),
        ({"pool": "mean"}, "model.pool"),
        ({"position": "rope"}, "model.position"),
        ({"layer_scale": 0.1}, "model.layer_scale"),
        ({"head_bias": False}, "model.head_bias"),
        ({"num_classes": 7, "pre_logits": 8}, "model.pre_logits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_adapted_is_refused(changes, name):
    with pytest.raises(ConfigError) as fault:
        adapt(BASE, alive(BASE).state_dict(), dataclasses.replace(BASE, **changes))
    assert fault.value.where == name


def test_what_only_training_knows_is_not_refused():
    scaled = dataclasses.replace(BASE, layer_scale=0.1)
    wanted = dataclasses.replace(scaled, dropout=0.1, drop_path=0.2, layer_scale=1e-5)
    assert adapt(scaled, alive(scaled).state_dict(), wanted)[1] == {}


@pytest.mark.parametrize(("stem", "changes"), [("conv", {"patch_size": (4, 4)}), ("resnet", {"in_channels": 1})])
def test_other_stems_refuse_what_has_no_meaning_there(stem, changes):
    if stem == "conv":
        config = dataclasses.replace(BASE, stem=stem)
    else:
        sizes = {"image_size": (16, 16), "patch_size": (1, 1)}
        config = dataclasses.replace(BASE, stem=stem, resnet_depths=(1, 1), resnet_width=0.5, **sizes)
    with pytest.raises(ConfigError, match=stem):
        adapt(config, alive(config).state_dict(), dataclasses.replace(config, **changes))
    grown = dataclasses.replace(config, image_size=(32, 32))
    assert list(adapt(config, alive(config).state_dict(), grown)[1]) == ["pos_embed"]


def test_channel_names_must_fit():
    for names in (("red", "green"), ("red", "red", "blue"), ("grey", "gray", "blue")):
        with pytest.raises(ConfigError, match="channel"):
            adapt(BASE, alive(BASE).state_dict(), BASE, names)


@pytest.mark.parametrize("statistics", [{}, IMAGENET], ids=["plain", "imagenet"])
def test_a_loaded_model_reads_grey_as_it_read_it_as_rgb(statistics):
    loaded = as_loaded(BASE, **statistics)
    grey, hows = adapt_model(loaded, channels=1)
    pixels = torch.randint(0, 256, (3, 1, 16, 24), dtype=torch.uint8)
    with torch.no_grad():
        expected = loaded.model(loaded.preprocess.normalize(pixels.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(grey.model(grey.preprocess.normalize(pixels)), expected, rtol=0, atol=2e-5)
        again, _ = adapt_model(grey, channels=3)
        answer = again.model(again.preprocess.normalize(pixels.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(answer, expected, rtol=0, atol=2e-5)
    assert grey.preprocess.channels == 1 and len(grey.preprocess.mean) == 1
    assert grey.provenance["adapted"] == sorted(set(hows.values()))
    assert set(hows) == {"patch_embed.proj.weight"} | ({"patch_embed.proj.bias"} if statistics else set())


def test_a_loaded_model_for_other_pictures_and_classes(tmp_path):
    loaded = as_loaded(BASE)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    other, hows = adapt_model(
        loaded, image_size=32, patch_size=(4, 8), classes=("cat", "dog"), position_resize="dinov2"
    )
    assert other.preprocess.image_size == (32, 32) and other.classes == ("cat", "dog")
    assert other.model.config.position_resize == "dinov2" and other.model.grid == (8, 4)
    assert hows["head.bias"] == "new head of zeros" and "dinov2" in hows["pos_embed"]
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.model.state_dict().items())
    save_model(tmp_path / "m", other.model.config, other.model.state_dict(), *(other.classes, other.preprocess, {}))
    again = load_model(tmp_path / "m")
    assert again.model.config == other.model.config and again.preprocess == other.preprocess
    same, hows = adapt_model(loaded)
    assert hows == {} and same.classes == loaded.classes and same.provenance == loaded.provenance
    renamed, hows = adapt_model(loaded, classes=("1", "2", "3", "4", "5"))
    assert not renamed.model.head.weight.any() and set(hows) == {"head.weight", "head.bias"}
    bare, _ = adapt_model(loaded, classes=())
    assert bare.model.config.num_classes == 0
    for wrong in ({"image_size": 30}, {"patch_size": 5}, {"channels": 2}, {"position_resize": "nearest"}):
        with pytest.raises(ConfigError):
            adapt_model(loaded, **wrong)
