"""Positions: each kind against a loop, and on grids other than the model's own."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import patchwords as pw
from patchwords.architecture import POSITION_RESIZES, POSITIONS, ViTConfig
from patchwords.errors import ConfigError
from patchwords.models import build, create_model, position

from ..formats import goldens
from .families import alive, pictures

BASE = ViTConfig(image_size=(8, 12), patch_size=(4, 4), dim=16, depth=2, num_heads=2, mlp_dim=24, num_classes=5)
GRID = (3, 4)


def with_position(kind, **changes):
    return dataclasses.replace(BASE, position=kind, **changes)


def test_sincos_against_a_loop():
    table = position.sincos(GRID, 16, torch.zeros(1, dtype=torch.float64))
    for y in range(3):
        for x in range(4):
            frequencies = [10_000 ** -(k / 3) for k in range(4)]
            wanted = [f(c * w) for c in (x, y) for f in (math.sin, math.cos) for w in frequencies]
            np.testing.assert_allclose(table[y, x], wanted, atol=1e-14)


def test_rotation_against_complex_numbers():
    config = with_position("rope", num_heads=1, num_registers=2)
    heads = torch.randn(2, 1, 3 + 12, 16, dtype=torch.float64)
    turned = position.rotate(heads, position.rotation(GRID, config, heads))
    assert torch.equal(turned[:, :, :3], heads[:, :, :3])
    for y in range(3):
        for x in range(4):
            at = 3 + y * 4 + x
            centres = [(y + 0.5) / 3 * 2 - 1, (x + 0.5) / 4 * 2 - 1]
            angles = [2 * math.pi * c / 100 ** (k / 4) for c in centres for k in range(4)]
            before = torch.complex(heads[:, 0, at, :8], heads[:, 0, at, 8:])
            after = before * torch.polar(torch.ones(8, dtype=torch.float64), torch.tensor(angles, dtype=torch.float64))
            torch.testing.assert_close(turned[:, 0, at], torch.cat([after.real, after.imag], -1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_relative_index_against_a_loop(prefix):
    index, rows = position.relative_index(GRID, prefix), position.relative_rows(GRID, prefix)
    assert index.shape == (prefix + 12, prefix + 12)
    names = {}
    for query in range(prefix + 12):
        for key in range(prefix + 12):
            if query >= prefix and key >= prefix:
                (y, x), (v, u) = divmod(query - prefix, 4), divmod(key - prefix, 4)
                kind = (y - v, x - u)
            else:
                kind = ("prefix" if query < prefix else "patch", "prefix" if key < prefix else "patch")
            names.setdefault(kind, set()).add(index[query, key].item())
    assert all(len(numbers) == 1 for numbers in names.values())
    assert sorted(n for numbers in names.values() for n in numbers) == list(range(rows))
    assert names[-2, -3] == {0} and names[-2, 3] == {6} and names[2, 3] == {34}
    if prefix:  # BEiT's order
        kinds = [("prefix", "patch"), ("patch", "prefix"), ("prefix", "prefix")]
        assert [names[kind] for kind in kinds] == [{rows - 3}, {rows - 2}, {rows - 1}]


@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_tell_patches_apart_and_none_does_not(kind):
    """Patches in another order: a set without positions (their pooled answer is the same), words with."""
    model = alive(with_position(kind, pool="mean", class_token=False), torch.float64)
    images = pictures(BASE, dtype=torch.float64)
    mirrored = torch.cat([images[..., 8:], images[..., 4:8], images[..., :4]], dim=-1)
    with torch.no_grad():
        change = (model(mirrored) - model(images)).norm() / model(images).norm()
    assert change < 1e-13 if kind == "none" else change > 1e-3


@pytest.mark.parametrize("grid", [(2, 3), (4, 3), (5, 2), (1, 1)])
def test_resampling(grid):
    table = torch.randn(2, 3, 8, dtype=torch.float64)
    stretched = position.resample(table, grid)
    assert stretched.shape == (*grid, 8)
    if grid == (2, 3):
        assert stretched is table
    constant = position.resample(torch.ones(2, 3, 1), grid)
    torch.testing.assert_close(constant, torch.ones(*grid, 1))
    assert position.resample(table.bfloat16(), grid).dtype == torch.bfloat16
    transposed = position.resample(table.transpose(0, 1), grid[::-1]).transpose(0, 1)  # rows are not columns
    torch.testing.assert_close(stretched, transposed, rtol=0, atol=1e-12)


def cubic(distance):
    """Keys' kernel with a = -0.75, torch's choice without antialiasing."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


PLACES = {  # of output i of n among m inputs, and the kernel: the table at the head of position.py
    "google": (lambda i, m, n: i * (m - 1) / (n - 1) if n > 1 else 0.0, lambda d: max(0.0, 1 - abs(d))),
    "transformers": (lambda i, m, n: (i + 0.5) * m / n - 0.5, cubic),
    "torchvision": (lambda i, m, n: i * (m - 1) / (n - 1) if n > 1 else 0.0, cubic),
    "dinov2": (lambda i, m, n: (i + 0.5) * m / (n + 0.1) - 0.5, cubic),
}


def weights_of(rule, m, n):
    """Return (n, m): how much of each input goes into each output, by a loop."""
    place, kernel = PLACES[rule]
    weights = np.zeros((n, m))
    for i in range(n):
        at = place(i, m, n)
        for near in range(math.floor(at) - 1, math.floor(at) + 3):
            weights[i, min(max(near, 0), m - 1)] += kernel(at - near)
    return weights


GRIDS = [((7, 7), (12, 12)), ((7, 5), (4, 9)), ((3, 8), (8, 3)), ((4, 4), (1, 6)), ((1, 3), (5, 7)), ((6, 2), (6, 5))]


@pytest.mark.parametrize("rule", PLACES)
@pytest.mark.parametrize(("own", "wanted"), GRIDS)
def test_each_rule_against_a_loop(rule, own, wanted):
    table = torch.randn(*own, 3, dtype=torch.float64)
    down, across = (weights_of(rule, m, n) for m, n in zip(own, wanted, strict=True))
    expected = np.einsum("im,jn,mnd->ijd", down, across, table.numpy())
    np.testing.assert_allclose(position.resample(table, wanted, rule), expected, rtol=0, atol=1e-12)
    single = position.resample(table.float(), wanted, rule)
    np.testing.assert_allclose(single, expected, rtol=0, atol=3e-5)


def test_google_is_scipys_zoom_with_its_rounding():
    ndimage = pytest.importorskip("scipy.ndimage")
    generator = np.random.default_rng(0)
    zeroed = 0
    for m in range(1, 20):
        for n in range(1, 60, 1 + m % 3):
            k, wide = generator.integers(1, 12, 2)
            table = generator.standard_normal((m, k, 2))
            expected = ndimage.zoom(table, (n / m, wide / k, 1), order=1)
            zeroed += not expected[-1].any()
            ours = position.resample(torch.from_numpy(table), (n, int(wide)), "google")
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)
    assert zeroed > 3  # scipy places the last row outside there


def test_the_rules_of_torch_by_direct_calls():
    table = torch.randn(4, 6, 5)
    picture = table.permute(2, 0, 1)[None]
    calls = {
        "timm": {"size": (7, 3), "mode": "bicubic", "antialias": True},
        "transformers": {"size": (7, 3), "mode": "bicubic", "align_corners": False},
        "torchvision": {"size": (7, 3), "mode": "bicubic", "align_corners": True},
        "dinov2": {"scale_factor": ((7 + 0.1) / 4, (3 + 0.1) / 6), "mode": "bicubic", "antialias": False},
    }
    for rule, call in calls.items():
        expected = F.interpolate(picture, **call)[0].permute(1, 2, 0)
        assert torch.equal(position.resample(table, (7, 3), rule), expected)


@pytest.mark.parametrize("name", ["google/vit_token", "google/vit_gap"])
def test_the_papers_code_at_another_size(name):
    seen, path = goldens.seen(name), goldens.path(name)
    model, other = pw.load(path).model, pw.load(path, position_resize="timm").model
    images = torch.from_numpy(seen["resized_images"])
    grid = images.shape[2] // 8, images.shape[3] // 8
    with torch.no_grad():
        rows = position.position_rows(model.pos_embed, model.config, grid, images.new_zeros(1))
        goldens.close(rows, seen["resized_pos_embedding"])
        goldens.close(model(images), seen["resized_logits"])
        assert (other(images) - model(images)).abs().max() > 1e-3  # another library's rule is not near


@pytest.mark.parametrize("kind", ["learned", "learned_2d"])
def test_a_model_resizes_by_its_own_rule(kind):
    answers, images = [], torch.randn(2, 3, 16, 8)
    for rule in POSITION_RESIZES:
        model = alive(with_position(kind, position_resize=rule))
        table = model.pos_embed if kind == "learned" else model.pos_embed.rows[:, None]
        with torch.no_grad():
            rows = position.position_rows(model.pos_embed, model.config, (4, 2), images.new_zeros(1))
            answers.append(model(images))
        if kind == "learned":
            patches = position.resample(table[0, 1:].unflatten(0, (2, 3)), (4, 2), rule).flatten(0, 1)
            assert torch.equal(rows[0, 1:], patches) and torch.equal(rows[0, :1], table[0, :1])
        else:
            assert torch.equal(rows[0, 1::2, :8], position.resample(table, (4, 1), rule)[:, 0])
    for i, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-5 for other in answers[:i])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="torchvision"):
        with_position("learned", position_resize="torchvison")


@pytest.mark.parametrize("head", ["plain", "distilled"])
def test_a_head_without_bias(head):
    model = alive(with_position("learned", head_bias=False, distillation_token=head == "distilled"))
    assert not [name for name in model.state_dict() if name.startswith("head") and "bias" in name]
    with torch.no_grad():
        features = model.forward_features(pictures(BASE))
        expected = features[:, 0] @ model.head.weight.T
        if head == "distilled":
            expected = (expected + features[:, 1] @ model.head_dist.weight.T) / 2
        torch.testing.assert_close(model(pictures(BASE)), expected)
    model.reset_classifier(7)
    assert model.head.bias is None and not model.head.weight.any()


@pytest.mark.parametrize("rows", [2, 5])
def test_resampling_to_one_column_or_one_row(rows):
    column = torch.randn(3, 1, 8, dtype=torch.float64)
    wanted = position.resample(column.expand(-1, 6, -1), (rows, 6))[:, :1]
    torch.testing.assert_close(position.resample(column, (rows, 1)), wanted, rtol=0, atol=1e-12)
    flat = position.resample(column.transpose(0, 1), (1, rows)).transpose(0, 1)
    torch.testing.assert_close(flat, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["sincos_2d", "rope", "none"])
def test_computed_positions_at_another_size_are_those_of_a_model_of_that_size(kind):
    model = alive(with_position(kind))
    other = build(with_position(kind, image_size=(16, 8))).eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 16, 8)
    with torch.no_grad():
        assert torch.equal(model(images), other(images))


@pytest.mark.parametrize("kind", ["learned", "learned_2d", "relative"])
def test_learned_positions_at_another_size_are_the_resampled_ones(kind):
    model = alive(with_position(kind))
    other = build(with_position(kind, image_size=(16, 8))).eval()
    weights = model.state_dict()
    if kind == "learned":
        patches = position.resample(weights["pos_embed"][0, 1:].unflatten(0, (2, 3)), (4, 2))
        weights["pos_embed"] = torch.cat([weights["pos_embed"][0, :1], patches.flatten(0, 1)])[None]
    if kind == "learned_2d":
        weights["pos_embed.rows"] = position.resample(weights["pos_embed.rows"][:, None], (4, 1))[:, 0]
        weights["pos_embed.columns"] = position.resample(weights["pos_embed.columns"][:, None], (2, 1))[:, 0]
    for name in [name for name in weights if "relative" in name]:
        patches = position.resample(weights[name][:15].unflatten(0, (3, 5)), (7, 3)).flatten(0, 1)
        weights[name] = torch.cat([patches, weights[name][15:]])
    other.load_state_dict(weights)
    images = torch.randn(2, 3, 16, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other(images), rtol=0, atol=2e-7)


def test_learned_2d_is_a_row_beside_a_column():
    model = alive(with_position("learned_2d"))
    table = model.pos_embed((2, 3))
    for y in range(2):
        for x in range(3):
            assert torch.equal(table[y, x], torch.cat([model.pos_embed.rows[y], model.pos_embed.columns[x]]))


@pytest.mark.parametrize("kind", POSITIONS)
def test_left_out_patches_leave_the_others_where_they_are(kind):
    """With patch dropout, what is kept attends as it does alone among the kept ones, at its own place."""
    config = with_position(kind, patch_dropout=0.5, num_registers=1)
    model, images = alive(config, torch.float64), pictures(config, dtype=torch.float64)
    torch.manual_seed(5)
    z, where = model.train().embed(images)
    torch.manual_seed(5)
    kept = model._draw_patches(torch.zeros(3, 8, 1))
    assert z.shape[1] == kept.shape[1] == 2 + 3
    assert torch.equal(kept[:, :2], torch.tensor([[0, 1]] * 3)) and (kept.diff(dim=1) > 0).all()
    whole, everywhere = model.eval().embed(images)
    with torch.no_grad():
        for i in range(3):
            assert torch.equal(z[i], whole[i, kept[i]])
        record = {}
        model.blocks[0](whole, everywhere, record)
        model.blocks[0](z, where, kept_record := {})
        for i in range(3):
            scores = record["block00/attn/weights"][i][:, kept[i]][:, :, kept[i]]
            wanted = scores / scores.sum(-1, keepdim=True)
            torch.testing.assert_close(kept_record["block00/attn/weights"][i], wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", POSITIONS)
def test_a_window_keeps_the_scale_of_positions(kind):
    """In training with windows on, a cut-out has the tokens and places that its patches have in the whole picture."""
    model = create_model("vit_tiny_patch4_32", dim=48, depth=1, num_heads=4, mlp_dim=96, position=kind).train()
    model.set_windows()
    images = torch.randn(2, 3, 32, 32)
    inside = torch.arange(64).view(8, 8)[1:7, 1:7].flatten() + 1
    tokens, places = model.embed(images[..., 4:28, 4:28])
    whole, whole_places = model.embed(images)
    torch.testing.assert_close(tokens[:, 1:], whole[:, inside])
    if places.rotation is not None:
        assert torch.equal(places.rotation[..., 1:, :], whole_places.rotation[..., inside, :])
    if places.index is not None:
        assert torch.equal(places.index[0, 1:, 1:], whole_places.index[0][inside][:, inside])
    resized, _ = model.eval().embed(images[..., 4:28, 4:28])
    same = kind in ("relative", "rope", "none")
    assert torch.equal(tokens, resized) is same


def test_a_relative_slope_points_each_head_at_a_neighbour():
    config = ViTConfig(image_size=(20, 20), patch_size=(4, 4), position="relative", relative_slope=2.0, dim=48)
    config = dataclasses.replace(config, num_heads=4, class_token=False, pool="mean")
    index = position.relative_index((5, 5), 0)
    seen = set()
    for layer in range(2):
        weights = position.relative_table(config, layer)[index].permute(2, 0, 1).softmax(dim=-1)
        for head in range(4):
            row, column = divmod(int(weights[head, 12].argmax()), 5)  # 12: the patch in the middle, (2, 2)
            assert weights[head, 12].max() > 0.5
            seen.add((row - 2, column - 2))
    assert seen == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)} - {(0, 0)}
