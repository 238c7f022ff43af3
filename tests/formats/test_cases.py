"""Files that lie in no folder here: other prefixes, sizes and switches, through the public functions."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

import patchwords as pw
from patchwords.errors import CheckError, CheckpointError, ConfigError
from patchwords.formats.timm_architectures import architecture

from .test_timm import equal, made

SQUARE = {"image_size": (32, 32), "patch_size": (8, 8)}
GATED = {"activation": "swiglu"}


def saved(path, weights):
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def prefixed(weights, prefix):
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "module._orig_mod.", "net.", "encoder.", "backbone.", "vit."])
@pytest.mark.parametrize("to", ["timm", "transformers", "torchvision"])
def test_any_prefix_of_all_names(to, prefix, tmp_path):
    loaded = made(**SQUARE)
    out = pw.convert(loaded, tmp_path / "written", to).out
    weights = pw.formats.tensors.open_tensors(out / "model.safetensors")
    named = prefixed({name: weights.read(name) for name in weights}, prefix)
    back = pw.load(saved(tmp_path / "x.safetensors", named), num_heads=3)
    assert back.report.format == to
    assert equal(back.model, loaded.model)


@pytest.mark.parametrize("to", ["google", "big_vision", "torchvision"])
def test_a_written_file_is_checked_though_it_does_not_say_its_grid(to, tmp_path):
    wide = made(image_size=(32, 48), position_prefix=to != "big_vision", activation="gelu_tanh")
    if to == "torchvision":
        wide = made(**SQUARE)
    assert pw.convert(wide, tmp_path / "out", to, checked=True).difference == 0


@pytest.mark.parametrize("to", ["google", "timm", "transformers", "torchvision", "patchwords"])
@pytest.mark.parametrize("epsilon", [1e-6, 2e-6])
def test_what_is_written_wrong_does_not_pass_the_check(to, epsilon, tmp_path, monkeypatch):
    write = sys.modules["patchwords.formats.write"]  # the name in the package is the function's
    put, save = write.put, write.checkpoint.save_model

    def put_wrong(out, arrays, *more):
        name = next(name for name in arrays if name.endswith(("fc1.weight", "mlp.0.weight", "dense.weight", "kernel")))
        put(out, dict(arrays) | {name: arrays[name] * 1.5}, *more)

    def save_wrong(out, config, weights, *more):
        save(out, config, {name: tensor * 1.5 for name, tensor in weights.items()}, *more)

    monkeypatch.setattr(write, "put", put_wrong)
    monkeypatch.setattr(write.checkpoint, "save_model", save_wrong)
    loaded = made(**SQUARE, activation="gelu_tanh" if to == "google" else "gelu", norm_eps=epsilon)
    with pytest.raises(CheckError, match="answers differently"):
        pw.convert(loaded, tmp_path / "out", to, checked=True, allow=("norm_eps",))


def test_more_channels_than_a_picture_has(tmp_path):
    loaded = made(**SQUARE, in_channels=4)
    for to in ("timm", "transformers"):
        out = pw.convert(loaded, tmp_path / to, to, checked=True).out
        assert equal(pw.load(out).model, loaded.model)
    with pytest.raises(ConfigError, match="no word for pictures of 4 channels"):
        pw.convert(loaded, tmp_path / "ours", "patchwords")


def test_a_wished_size_is_not_taken_for_the_files_own(tmp_path):
    """21 rows: a class token, 4 registers and 4x4 patches; or nothing before 3x7 patches."""
    loaded = made(**SQUARE, num_registers=4)
    weights = dict(loaded.model.state_dict())
    table = weights["pos_embed"]
    weights["pos_embed"] = torch.cat([table[:, :1], torch.zeros(1, 4, 48), table[:, 1:]], dim=1)
    path = saved(tmp_path / "x.safetensors", weights)
    assert equal(pw.load(path, num_heads=3).model, loaded.model)
    with pytest.raises(CheckpointError, match="--grid"):
        pw.load(path, num_heads=3, image_size=(24, 56))
    resized = pw.load(path, num_heads=3, image_size=(24, 56), grid=(4, 4))
    assert resized.model.config.image_size == (24, 56)
    images = torch.randn(1, 3, 24, 56)
    with torch.no_grad():
        assert (resized.model(images) - loaded.model(images)).abs().max() <= 1e-5


@pytest.mark.parametrize("image_size", [(32, 72), (72, 32)])
def test_as_many_patches_in_another_shape_are_not_taken_for_the_same(image_size, tmp_path):
    path = saved(tmp_path / "x.safetensors", made(image_size=(48, 48)).model.state_dict())
    with pytest.raises(CheckpointError, match="has 36 positions: of a square, or of the picture"):
        pw.load(path, num_heads=3, image_size=image_size)
    assert pw.load(path, num_heads=3, image_size=image_size, grid=(6, 6)).model.config.image_size == image_size


def test_a_picture_that_patches_do_not_fill_is_remarked_on(tmp_path):
    out = pw.convert(made(**SQUARE), tmp_path / "out", "timm").out
    config = json.loads((out / "config.json").read_text())
    config["model_args"]["img_size"] = [39, 33]
    (out / "config.json").write_text(json.dumps(config))
    loaded = pw.load(out)
    assert loaded.model.config.image_size == (32, 32)
    assert "leave out the rest of 39x33" in loaded.report.assumed["image_size"]


def test_eva02_is_not_taken_for_a_model_without_its_rotations(tmp_path):
    eva = made(**SQUARE, **GATED, qkv_bias="qv")
    path = saved(tmp_path / "x.safetensors", eva.model.state_dict())
    with pytest.raises(CheckpointError, match="could be EVA-02"):
        pw.load(path, num_heads=3)
    assert equal(pw.load(path, num_heads=3, position="learned").model, eva.model)


def test_beit_without_positions(tmp_path):
    beit = made(**SQUARE, position="none", qkv_bias="qv", layer_scale=0.1)
    back = pw.load(pw.convert(beit, tmp_path / "out", "transformers", checked=True).out)
    assert back.model.config.position == "none"
    assert equal(back.model, beit.model)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_medium_patch16_gap_240", {"qkv_bias": False}),
        ("vit_so150m2_patch16_reg1_gap_256", {"qkv_bias": False, "num_registers": 1}),
        ("vit_base_patch16_224_miil.in21k", {"qkv_bias": False}),
        ("vit_intern300m_patch14_448", {"final_norm": False}),
        ("test_vit2.r160_in1k", {"num_registers": 1}),
        ("vit_small_patch14_reg4_dinov2", {"num_registers": 4, "rope": False}),
        ("vit_small_patch16_dinov3", {"num_registers": 4, "rope": True, "qkv_bias": False}),
        ("vit_base_patch16_rpn_224", {"refused": "norms behind attention and MLP"}),
    ],
)
def test_what_the_name_of_an_architecture_says(name, said):
    found = architecture(name)
    assert {each: getattr(found, each) for each in said} == said


def test_what_every_model_has_is_named_when_it_is_missing(tmp_path):
    weights = dict(made(**SQUARE).model.state_dict())
    del weights["blocks.0.mlp.fc2.weight"]
    with pytest.raises(CheckpointError, match=r"lacks blocks\.0\.mlp\.fc2\.weight"):
        pw.load(saved(tmp_path / "x.safetensors", weights), num_heads=3)
