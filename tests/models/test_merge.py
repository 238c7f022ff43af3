"""Token merging (2210.09461): the matching is that of loops, the merging loses nothing, and the model stays a model."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from patchwords import checkpoint, load
from patchwords.architecture import CNNConfig, ViTConfig
from patchwords.cost import cost_of
from patchwords.errors import ConfigError
from patchwords.formats import convert
from patchwords.inspection.trace import attention_trace
from patchwords.models import build_empty
from patchwords.models.merge import match, merge, spread
from patchwords.models.position import Places
from patchwords.preprocess import Preprocess

from .families import FAMILIES, OTHERS, alive, pictures

MERGED = {
    name: dataclasses.replace(config, image_size=tuple(2 * side for side in config.image_size), merge=3)
    for name, config in FAMILIES.items()
    if config.attention == "global"
}
"""every architecture of the zoo with 4x6 patches, of which blocks merge 3 and 3"""
every = pytest.mark.parametrize("config", MERGED.values(), ids=MERGED.keys())
BASE = ViTConfig(image_size=(16, 24), patch_size=(4, 4), dim=16, depth=3, num_heads=2, mlp_dim=24, num_classes=5)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matched_by_loops(keys, prefix, count):
    """Return (A token, B token) of the `count` best edges of one picture, best first (2210.09461, sec. 3)."""
    patches = range(prefix, len(keys))
    a, b = ([token for token in patches if token % 2 == side] for side in (0, 1))
    edges = []
    for one in a:
        cosines = {other: float(torch.cosine_similarity(keys[one], keys[other], dim=0)) for other in b}
        best = max(cosines, key=cosines.get)
        edges.append((cosines[best], one, best))
    return [(one, best) for _, one, best in sorted(edges, reverse=True)[:count]]


@pytest.mark.parametrize(("prefix", "patches", "count"), [(0, 8, 3), (1, 9, 4), (1, 8, 4), (2, 7, 1), (5, 24, 12)])
def test_matching_and_merging_are_those_of_loops(prefix, patches, count):
    total = prefix + patches
    keys, z, sizes = normal(3, total, 6), normal(3, total, 4, seed=1), torch.ones(3, total, dtype=torch.float64)
    sizes[:, prefix:] += torch.arange(patches) % 3
    source = torch.arange(prefix, total).expand(3, -1)
    merged, places = merge(z, Places((1, patches), sizes=sizes, source=source), match(keys, prefix, count), prefix)
    for picture in range(3):
        edges = matched_by_loops(keys[picture], prefix, count)
        gone = [one for one, _ in edges]
        rest = [token for token in range(prefix, total) if token not in gone]
        left = [*range(prefix), *(t for t in rest if t % 2 == 0), *(t for t in rest if t % 2)]
        for place, token in enumerate(left):
            group = [token, *(one for one, into in edges if into == token)]
            size = sum(float(sizes[picture, each]) for each in group)
            mean = sum(z[picture, each] * sizes[picture, each] for each in group) / size
            torch.testing.assert_close(merged[picture, place], mean)
            assert places.sizes[picture, place] == size
            assert all(places.source[picture, each - prefix] == place for each in group if each >= prefix)
        assert len(left) == merged.shape[1] == total - count


def test_the_mean_over_patches_does_not_change():
    z, places, kept = normal(2, 25, 4), Places((4, 6)), normal(2, 25, 4)
    for step, count in enumerate((12, 6, 3)):
        kept, places = merge(kept, places, match(normal(2, kept.shape[1], 6, seed=step), 1, count), 1)
    assert kept.shape[1] == 4 and torch.equal(places.sizes.sum(dim=1), torch.full((2,), 25.0, dtype=torch.float64))
    whole = spread(kept, places, 1)
    torch.testing.assert_close(whole[:, 1:].mean(dim=1), z[:, 1:].mean(dim=1))
    for picture in range(2):
        counted = torch.bincount(places.source[picture], minlength=4)
        assert torch.equal(counted[1:].double(), places.sizes[picture, 1:])


@pytest.mark.parametrize("pool", ["cls", "mean", "map", "cls+mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merging_equal_tokens_changes_nothing_to_rounding(pool, dtype):
    """Two patches with the same content stay equal for ever; counted as two, one does the work of both."""
    config = dataclasses.replace(BASE, position="none", pool=pool)
    tile = pictures(dataclasses.replace(BASE, image_size=(16, 4)), 2, dtype)
    columns = [torch.roll(tile, 4 * (number // 2), dims=2) for number in range(6)]
    images = torch.cat(columns, dim=3)  # patches are 4 contents, each 6 times
    plain, merging = alive(config, dtype), alive(dataclasses.replace(config, merge=3), dtype)
    with torch.no_grad():
        wanted, answer = plain(images), merging(images)
        assert merging.config.merges(24) == (3, 3, 3)
        assert (answer - wanted).abs().max() <= (1e-13 if dtype == torch.float64 else 2e-6)
        for block in merging.blocks:  # without the log sizes it does change: this test can fail
            block.attn._bias = lambda *_: None
        assert (merging(images) - wanted).abs().max() > 1e-4


@every
def test_recorded_equals_fused_and_shapes_are_told(config):
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-13)):
        model, images, record = alive(config, dtype), pictures(config, dtype=dtype), {}
        with torch.no_grad():
            fused, recorded = model(images), model(images, record)
            tokens = model.forward_features(images)
            assert torch.equal(model.forward_head(tokens), fused)
        assert (fused - recorded).abs().max() <= tolerance * fused.abs().max().clamp(min=1)
    prefix = model.num_prefix_tokens
    assert tokens.shape == record["encoded"].shape == (3, prefix + 24, config.dim)
    assert [record[f"block{i:02d}/attn/weights"].shape[-1] - prefix for i in range(2)] == [24, 21]
    assert [record[f"block{i:02d}/+mlp"].shape[1] - prefix for i in range(2)] == [21, 18]
    source = record["block01/source"]
    assert source.shape == (3, 24) and source.min() == prefix and source.max() == prefix + 17
    assert all(len(set(row.tolist())) == 18 for row in source)


@every
def test_other_pictures_of_the_batch_do_not_matter(config):
    model, images = alive(config, torch.float64), pictures(config, dtype=torch.float64)
    with torch.no_grad():
        together, alone = model(images), [model(image[None]) for image in images]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


@every
def test_every_parameter_gets_a_gradient(config):
    model, images = alive(config, torch.float64).train(), pictures(config, dtype=torch.float64)
    logits = model(images)
    (torch.stack(logits) if isinstance(logits, tuple) else logits).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(block.mlp.fc1.weight.grad.abs().max() > 0 for block in model.blocks)


@every
def test_operations_are_those_that_torch_counts(config):
    for training in (False, True):
        model = build_empty(config).train(training)
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            answer = model(torch.empty(1, config.in_channels, *config.image_size))
            if training:
                sum(each.sum() for each in (answer if isinstance(answer, tuple) else (answer,))).backward()
        cost = cost_of(config)
        assert counter.get_total_flops() == (cost.step_flops if training else cost.flops)


def test_merging_saves_operations():
    counts = [cost_of(dataclasses.replace(BASE, merge=count)).flops for count in (0, 2, 4, 8)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4


def test_gradients_are_those_of_differences():
    model = alive(dataclasses.replace(BASE, merge=4, pool="mean", depth=2), torch.float64)
    images = pictures(BASE, 1, torch.float64).requires_grad_()
    model(images).square().sum().backward()
    step = torch.zeros_like(images)
    step.view(-1)[100] = 1e-6
    with torch.no_grad():
        ends = [model(images + sign * step).square().sum() for sign in (1, -1)]
    torch.testing.assert_close(images.grad.view(-1)[100], (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-9)


def test_noise_and_checkpointing_work_while_merging():
    noisy = dataclasses.replace(BASE, merge=3, patch_dropout=0.3, dropout=0.1, attention_dropout=0.1, drop_path=0.1)
    for config in (noisy, dataclasses.replace(noisy, position="rope"), dataclasses.replace(noisy, position="relative")):
        model, images, seen = alive(config).train(), pictures(config), []
        for enabled in (False, True):
            model.set_checkpointing(enabled)
            model.zero_grad()
            torch.manual_seed(0)
            logits = model(images)
            logits.square().sum().backward()
            seen.append([logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
        assert len(seen[0]) == len(seen[1]) and all(torch.equal(*pair) for pair in zip(*seen, strict=True))


@pytest.mark.parametrize("name", ["vit_digits", "everything", "vit_base_patch16_dinov3_qkvb"])
def test_export_for_any_number_of_pictures(name):
    config = MERGED[name]
    model, images = alive(config), pictures(config, 4)
    with torch.no_grad():
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(model, (images,), dynamic_shapes={"images": {0: batch}}, strict=False)
        images = pictures(config, 3)
        torch.testing.assert_close(program.module()(images), model(images), rtol=0, atol=2e-6)


def test_schedules_are_those_of_the_authors():
    of = {
        name: dataclasses.replace(BASE, depth=12, merge=8, merge_schedule=name) for name in ("constant", "decreasing")
    }
    assert of["constant"].merges(196) == (8,) * 12
    assert of["decreasing"].merges(196) == tuple(int(16 - 16 / 11 * layer) for layer in range(12))
    assert dataclasses.replace(BASE, merge=100).merges(24) == (12, 6, 3)  # half of what is left, as in their code
    assert dataclasses.replace(BASE, merge=5, merge_schedule="decreasing", depth=1).merges(24) == (10,)
    model = alive(dataclasses.replace(BASE, merge=100))
    assert model(pictures(BASE)).isfinite().all()


def test_what_cannot_be_is_refused():
    for setting, value in (("merge", -1), ("merge_schedule", "falling")):
        with pytest.raises(ConfigError, match=f"model.{setting}"):
            dataclasses.replace(BASE, **{setting: value})
    for attention in ("local", "axial"):
        with pytest.raises(ConfigError, match=f"attention={attention}"):
            dataclasses.replace(BASE, merge=1, attention=attention)
    model = alive(dataclasses.replace(BASE, merge=2))
    with pytest.raises(ConfigError, match="lie on no grid"):
        next(attention_trace(model, pictures(BASE)))


def test_any_checkpoint_is_loaded_with_merging_and_written_without(tmp_path):
    preprocess = Preprocess(image_size=BASE.image_size)
    model, images = alive(BASE), pictures(BASE)
    checkpoint.save_model(tmp_path / "vit", BASE, model.state_dict(), tuple("abcde"), preprocess, {})
    loaded = load(tmp_path / "vit", merge=4, merge_schedule="decreasing")
    assert (loaded.model.config.merge, loaded.model.config.merge_schedule) == (4, "decreasing")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "vit", merge=0).model(images), model(images))
        assert not torch.equal(loaded.model(images), model(images))
    with pytest.raises(ConfigError, match="merge=4 .--merge 0 leaves it out"):
        convert(loaded, tmp_path / "timm", "timm")
    convert(loaded, tmp_path / "again", "patchwords")
    assert load(tmp_path / "again").model.config == loaded.model.config
    convert(load(tmp_path / "again", merge=0), tmp_path / "timm", "timm")
    assert load(tmp_path / "timm", merge=2).model.config.merge == 2
    config = OTHERS["cnn"]
    assert isinstance(config, CNNConfig)
    state = alive(config).state_dict()
    checkpoint.save_model(tmp_path / "cnn", config, state, tuple("abcde"), Preprocess(image_size=(8, 12)), {})
    with pytest.raises(ConfigError, match="has no tokens to merge"):
        load(tmp_path / "cnn", merge=2)
