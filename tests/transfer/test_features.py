"""Frozen features: what the model records, the same in any batch; kept by content, and never trusted when damaged."""

import dataclasses
import hashlib
import os

import pytest
import torch

from patchwords.checkpoint import LoadedModel
from patchwords.errors import ConfigError, NonFiniteError
from patchwords.models import build, model_config
from patchwords.preprocess import Preprocess
from patchwords.transfer.cache import FeatureCache
from patchwords.transfer.features import build_extractor, features_of, load_features

SMALL = {
    "dim": 32, "depth": 2, "num_heads": 2, "mlp_dim": 64,
    "num_classes": 5, "image_size": (16, 16), "patch_size": (4, 4),
}  # fmt: skip


def loaded_model(**changes) -> LoadedModel:
    torch.manual_seed(0)
    model = build(dataclasses.replace(model_config("vit_tiny_patch16_224"), **SMALL | changes)).eval()
    classes = tuple(map(str, range(changes.get("num_classes", 5))))
    return LoadedModel(model, classes, Preprocess(image_size=(16, 16)), {})


def pictures(count: int = 20) -> tuple[torch.Tensor, list[str]]:
    pixels = torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return pixels, [hashlib.sha256(each.numpy().tobytes()).hexdigest() for each in pixels]


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "deep" / "features")


def compute(cache, loaded=None, count=20, size=8, precision="auto"):
    pixels, hashes = pictures(count)
    return load_features(
        build_extractor(loaded or loaded_model(), precision), hashes, lambda: pixels.split(size), cache
    )


@pytest.mark.parametrize("changes", [
    {}, {"num_classes": 0}, {"pool": "mean"}, {"pool": "mean", "fc_norm": True, "final_norm": False},
    {"pool": "cls+mean"}, {"pool": "map", "class_token": False}, {"pre_logits": 16},
    {"distillation_token": True}, {"num_registers": 3},
], ids=str)  # fmt: skip
def test_features_are_what_the_model_records(changes):
    loaded = loaded_model(**changes)
    images = loaded.preprocess.normalize(pictures()[0])
    record = {}
    with torch.inference_mode():
        answer = loaded.model(images, record)
        found = features_of(loaded.model, images)
    assert found.shape == (20, loaded.model.num_features)
    torch.testing.assert_close(found, record["features"], atol=1e-5, rtol=1e-5)
    if changes.get("num_classes") == 0:
        torch.testing.assert_close(found, answer, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.from_numpy(compute(None, loaded).values), found, atol=1e-5, rtol=1e-5)


def test_batches_do_not_change_features():
    whole = compute(None, size=20).values
    for size in (1, 7):
        assert abs(compute(None, size=size).values - whole).max() < 1e-5


def test_bfloat16_is_near_and_is_another_entry(cache):
    full, half = compute(cache, precision="fp32"), compute(cache, precision="bf16")
    assert not half.cached and half.values.dtype == full.values.dtype
    assert 1e-5 < abs(half.values - full.values).max() < 0.1
    with pytest.raises(ConfigError, match="Did you mean bf16"):
        compute(cache, precision="bf61")


def test_computed_once(cache):
    first, second = compute(cache), compute(cache)
    assert (first.cached, second.cached) == (False, True)
    assert (first.values == second.values).all()
    assert len(list(cache.folder.iterdir())) == 1
    assert not compute(None).cached


def test_every_cause_is_part_of_the_key():
    def key(loaded, hashes, precision="fp32") -> str:
        return build_extractor(loaded, precision).key(hashes)

    hashes = pictures()[1]
    base = key(loaded_model(), hashes)
    assert base == key(loaded_model(), hashes)
    keys = {
        base,
        key(loaded_model(), hashes, "bf16"),
        key(loaded_model(), hashes[::-1]),
        key(loaded_model(), hashes[1:]),
    }
    changed = loaded_model()
    with torch.no_grad():
        changed.model.blocks[1].mlp.fc1.weight[3, 5] += 1e-6
    keys.add(key(changed, hashes))
    for change in ({"image_size": (32, 32)}, {"mean": (0.5, 0.5, 0.4)}, {"std": (0.5, 0.4, 0.5)}, {"resize": "squash"},
                   {"crop_fraction": 0.9}, {"interpolation": "bilinear"}):  # fmt: skip
        loaded = loaded_model()
        keys.add(key(dataclasses.replace(loaded, preprocess=dataclasses.replace(loaded.preprocess, **change)), hashes))
    keys.add(key(loaded_model(norm_eps=1e-5), hashes))  # the same weights in another architecture
    assert len(keys) == 12


def test_any_flipped_bit_is_noticed(cache, capsys):
    whole = compute(cache, count=2).values
    path = next(cache.folder.iterdir())
    data = path.read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert cache.load(path.stem) is None, place
    for damaged in (data[:-1], data[:50], b"", data + b"x"):
        path.write_bytes(damaged)
        assert cache.load(path.stem) is None
    assert "is damaged; its features are computed again" in capsys.readouterr().err
    again = compute(cache, count=2)
    assert not again.cached and (again.values == whole).all() and path.read_bytes() == data
    path.rename(path.with_stem("0" * 64))  # whole, but of other pictures
    assert cache.load("0" * 64) is None


def test_the_oldest_go_when_there_is_too_much(cache):
    features = torch.zeros(100, 10)
    small = FeatureCache(cache.folder, limit=10_000)
    for number, key in enumerate("abc"):
        small.save(key, features)
        if number < 2:
            os.utime(small.path(key), (number, number))
    assert [small.load(key) is None for key in "abc"] == [True, False, False]
    os.utime(small.path("c"), (1, 1))  # b was just used
    small.save("d", features)
    assert [small.load(key) is None for key in "bcd"] == [False, True, False]
    (cache.folder / ".tmp-killed.safetensors").write_bytes(bytes(9_000))  # left by a killed writer
    os.utime(cache.folder / ".tmp-killed.safetensors", (1, 1))
    small.save("e", features)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 10_000
    small.save("f", torch.zeros(100_000))  # more than the folder may hold
    assert small.load("f") is None and small.load("e") is not None


def test_a_folder_that_cannot_be_used_is_told_once(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "features")
    for count in (20, 10):
        assert compute(cache, count=count).values.shape == (count, 32)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("warning: ") and told[0].endswith("; features are not kept")
    folder = FeatureCache(tmp_path / "there")
    folder.path("key").mkdir(parents=True)  # cannot be read, nor written
    assert folder.load("key") is None
    folder.save("key", torch.zeros(1, 1))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_where_features_are_kept(monkeypatch, tmp_path):
    for name in ("PATCHWORDS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FeatureCache().folder == tmp_path / ".cache/patchwords/features"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert FeatureCache().folder == tmp_path / "xdg/patchwords/features"
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "own"))
    assert FeatureCache().folder == tmp_path / "own/features"


def test_what_is_not_finite_is_refused_and_not_kept(cache):
    loaded = loaded_model()
    with torch.no_grad():
        loaded.model.norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteError, match="20 of 20 pictures are not finite"):
        compute(cache, loaded)
    assert not cache.folder.exists()


def test_a_model_without_one_vector_a_picture_is_refused():
    with pytest.raises(ConfigError, match=r"model\.pool: has no one vector"):
        build_extractor(loaded_model(pool="none"))
