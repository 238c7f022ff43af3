"""timm's files in every variant: what is read is what was written, and what cannot be one is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from patchwords.architecture import ViTConfig
from patchwords.checkpoint import LoadedModel
from patchwords.errors import CheckpointError, ConfigError, PatchwordsError
from patchwords.formats import dino, timm
from patchwords.formats.read import read_foreign
from patchwords.formats.timm_architectures import architecture
from patchwords.formats.write import write
from patchwords.models import build
from patchwords.preprocess import Preprocess

from . import goldens

TINY = {"image_size": (16, 24), "patch_size": (8, 8), "num_classes": 5, "dim": 48, "depth": 2}
TINY |= {"num_heads": 3, "mlp_dim": 96}
GAP = {"pool": "mean", "class_token": False}
BEIT = {"position": "relative", "qkv_bias": "qv", "pool": "mean", "final_norm": False, "fc_norm": True}
THIRD = {"position": "rope", "num_registers": 4, "norm_eps": 1e-5, "layer_scale": 1e-5}
VARIANTS = {
    "plain": {},
    "other patch": {"patch_size": (8, 4)},
    "one channel": {"in_channels": 1},
    "five channels": {"in_channels": 5},
    "no head": {"num_classes": 0},
    "no biases of q, k, v": {"qkv_bias": "none"},
    "no biases in blocks": {"qkv_bias": "none", "proj_bias": False, "mlp_bias": False},
    "mean": GAP,
    "mean, fc_norm": GAP | {"fc_norm": True, "final_norm": False},
    "all tokens": {"pool": "none"},
    "map": {"pool": "map"},
    "no last norm": {"final_norm": False},
    "pre_norm": {"pre_norm": True, "patch_bias": False, "norm_eps": 1e-5},
    "quick_gelu": {"activation": "quick_gelu"},
    "gelu_tanh": {"activation": "gelu_tanh"},
    "qk_norm, LayerScale": {"qk_norm": True, "layer_scale": 0.1},
    "swiglu": {"activation": "swiglu", "layer_scale": 1e-5},
    "registers": {"num_registers": 4, "position_prefix": False},
    "registers, class token placed": {"num_registers": 4},
    "class token not placed": {"position_prefix": False},
    "no positions": {"position": "none"},
    "distilled": {"distillation_token": True},
    "DINOv3": THIRD | {"qkv_bias": "none", "pool": "mean"},
    "DINOv3, biases": THIRD | {"qkv_bias": "qv"},
    "DINOv3, all biases": THIRD | {"qkv_bias": "qkv"},
    "DINOv3, gated": THIRD | {"qkv_bias": "qv", "activation": "swiglu", "rope_base": 50.0},
    "EVA": {"qkv_bias": "qv"},
    "BEiT": BEIT,
    "BEiT, gated": BEIT | {"activation": "swiglu", "layer_scale": 0.1},
    "hybrid": {
        "stem": "resnet",
        "resnet_rule": "timm",
        "resnet_depths": (3, 4, 9),
        "patch_size": (1, 1),
        "image_size": (32, 48),
    },
}


def made(**changes):
    """Return a model with random values everywhere, with class names and pixels of its own."""
    config = ViTConfig(**(TINY | changes))
    torch.manual_seed(0)
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    classes = tuple(f"class {n}" for n in range(config.num_classes))
    pixels = {"mean": (0.4,) * config.in_channels, "std": (0.2,) * config.in_channels, "interpolation": "bilinear"}
    preprocess = Preprocess(image_size=config.image_size, channels=config.in_channels, crop_fraction=0.9, **pixels)
    return LoadedModel(model, classes, preprocess, {})


def read(path, new=(), unused=(), part="", **facts):
    return read_foreign(path, [dino.FORMAT, timm.FORMAT], facts, new, unused, part)


def bare(path, weights, **facts):
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return read(path, **facts)


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_written_is_read_back(name, tmp_path):
    loaded = made(**VARIANTS[name])
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    back = read(tmp_path / "out")
    assert back.model.config == loaded.model.config
    assert equal(back.model, loaded.model)
    assert back.classes == loaded.classes
    assert back.preprocess == loaded.preprocess
    assert back.report.counts["new"] == back.report.counts["unused"] == 0


@pytest.mark.parametrize("name", VARIANTS)
def test_without_config_the_arrays_say_the_most(name, tmp_path):
    loaded = made(**VARIANTS[name])
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    config = loaded.model.config
    facts = {each: getattr(config, each) for each in ("num_heads", "activation", "norm_eps", "pool", "rope_base")}
    facts |= {"position": config.position, "layer_scale": config.layer_scale, "grid": config.grid}
    back = bare(tmp_path / "bare.safetensors", load_file(tmp_path / "out/model.safetensors"), **facts)
    assert equal(back.model, loaded.model)
    assert back.model.config == dataclasses.replace(config, position_prefix=back.model.config.position_prefix)
    assert back.model.config.num_placed_prefix_tokens == config.num_placed_prefix_tokens


def test_registers_get_rows_of_zeros_when_the_class_token_has_one(tmp_path):
    loaded = made(num_registers=4)
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    table = load_file(tmp_path / "out/model.safetensors")["pos_embed"]
    assert table.shape == (1, 1 + 4 + 6, 48)
    assert not table[:, 1:5].any() and torch.equal(table[:, 0], loaded.model.pos_embed[:, 0])


@pytest.mark.parametrize(
    ("changes", "placed"),
    [({}, 1), ({"position_prefix": False}, 0), ({"distillation_token": True}, 2), (GAP, 0)]
    + [({"num_registers": 4}, 1), ({"num_registers": 4, "position_prefix": False}, 0)],
)
def test_rows_before_the_patches_are_told_from_a_square_grid(changes, placed, tmp_path):
    loaded = made(image_size=(32, 32), **changes)
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    back = bare(tmp_path / "x.safetensors", load_file(tmp_path / "out/model.safetensors"), num_heads=3)
    assert back.model.config.image_size == (32, 32)
    assert back.model.config.num_placed_prefix_tokens == placed
    assert equal(back.model, loaded.model)


def test_rows_of_registers_are_added_to_them(tmp_path):
    loaded = made(num_registers=4)
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    arrays = load_file(tmp_path / "out/model.safetensors")
    rows = torch.randn(1, 4, 48)
    arrays["pos_embed"][:, 1:5] = rows
    save_file(arrays, tmp_path / "out/model.safetensors")
    back = read(tmp_path / "out")
    assert torch.equal(back.model.reg_token, loaded.model.reg_token + rows)
    assert torch.equal(back.model.pos_embed, loaded.model.pos_embed)
    line = next(line for line in back.report.lines if line.name == "reg_token")
    assert (line.status, line.source) == ("adapted", ("reg_token", "pos_embed"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "visual.trunk.", "model.", "module.base_encoder."])
def test_prefixes(prefix, tmp_path):
    loaded = made()
    weights = {prefix + name: tensor for name, tensor in loaded.model.state_dict().items()}
    back = bare(tmp_path / "x.safetensors", weights, num_heads=3, grid=(2, 3))
    assert equal(back.model, loaded.model)
    assert back.report.lines[0].source[0].startswith(prefix)


def test_deit3_and_its_wrapper(tmp_path):
    loaded = made(position_prefix=False, layer_scale=1e-6)
    names = {name: name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2") for name in _names(loaded)}
    weights = {names[name]: tensor for name, tensor in loaded.model.state_dict().items()}
    torch.save({"model": weights, "epoch": 3}, tmp_path / "x.pth")
    back = read(tmp_path / "x.pth", num_heads=3, grid=(2, 3))
    assert equal(back.model, loaded.model)
    assert back.model.config.num_placed_prefix_tokens == 0
    assert back.preprocess.mean == (0.485, 0.456, 0.406)


def _names(loaded):
    return list(loaded.model.state_dict())


def test_the_encoder_of_mae(tmp_path):
    loaded = made(num_classes=0)
    extra = {"mask_token": torch.zeros(1, 1, 32), "decoder_embed.weight": torch.zeros(32, 48)}
    extra |= {"decoder_pos_embed": torch.zeros(1, 7, 32), "decoder_blocks.0.norm1.weight": torch.zeros(32)}
    torch.save({"model": loaded.model.state_dict() | extra}, tmp_path / "x.pth")
    back = read(tmp_path / "x.pth", num_heads=3, grid=(2, 3))
    assert equal(back.model, loaded.model)
    assert back.report.counts["unused"] == 4
    assert all("pre-training" in line.how for line in back.report.lines if line.status == "unused")


def test_beits_own_buffers_and_a_text_tower(tmp_path):
    loaded = made(**BEIT)
    extra = {f"blocks.{i}.attn.relative_position_index": torch.zeros(7, 7, dtype=torch.int64) for i in range(2)}
    back = bare(tmp_path / "x.safetensors", loaded.model.state_dict() | extra, grid=(2, 3))
    assert equal(back.model, loaded.model) and back.model.config.image_size == (16, 24)
    weights = {f"visual.trunk.{name}": tensor for name, tensor in made().model.state_dict().items()}
    weights |= {"text.ln_final.weight": torch.ones(4), "logit_scale": torch.ones(1)}
    back = bare(tmp_path / "y.safetensors", weights, num_heads=3, grid=(2, 3))
    assert {line.how for line in back.report.lines if line.status == "unused"} == {
        "the text tower of a pair (CLIP, SigLIP)",
        "of the comparison with texts (CLIP, SigLIP)",
    }


@pytest.mark.parametrize(
    ("changes", "mean"),
    [({}, 0.5), ({"layer_scale": 0.1}, 0.485), (BEIT | {"layer_scale": 0.1}, 0.5), (VARIANTS["pre_norm"], 0.48145466)],
)
def test_pixels_by_convention(changes, mean, tmp_path):
    back = bare(tmp_path / "x.safetensors", made(**changes).model.state_dict(), num_heads=3, grid=(2, 3))
    assert back.preprocess.mean[0] == mean
    assert "preprocessing" in back.report.assumed


def test_half_precision(tmp_path):
    loaded = made()
    back = bare(
        tmp_path / "x.safetensors",
        {name: tensor.half() for name, tensor in loaded.model.state_dict().items()},
        num_heads=3,
        grid=(2, 3),
    )
    assert {line.how for line in back.report.lines} == {"float16 to float32"}


def test_older_config_and_names_of_classes(tmp_path):
    loaded = made(image_size=(16, 16))
    save_file(loaded.model.state_dict(), tmp_path / "model.safetensors")
    cfg = {"architecture": "vit_tiny_patch16_224", "input_size": [3, 16, 16], "mean": [0.1, 0.2, 0.3]}
    cfg |= {"std": [1, 1, 1], "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear", "num_classes": 5}
    cfg |= {"label_names": ["a", "b", "c", "d", "e"]}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    back = read(tmp_path)
    assert (back.classes, back.preprocess.mean, back.preprocess.resize) == (tuple("abcde"), (0.1, 0.2, 0.3), "squash")
    assert back.model.config.num_heads == 3  # of vit_tiny
    cfg["label_names"] = {"1": "one", "4": "four"}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    assert read(tmp_path).classes == ("0", "one", "2", "3", "four")


@pytest.mark.parametrize(
    "lost", ["patch_embed.proj.bias", "head.bias", "norm.", "head.", "reg_token", "qkv.bias", "ls"]
)
def test_what_an_architecture_has_is_missed(lost, tmp_path):
    loaded = made(num_registers=4, position_prefix=False, layer_scale=1e-5)
    write(loaded, tmp_path / "out", "timm", [timm.FORMAT])
    file = tmp_path / "out/model.safetensors"
    kept = {
        name: tensor for name, tensor in load_file(file).items() if lost not in name or "blocks" in name != lost == "ls"
    }
    assert len(kept) < len(load_file(file))
    save_file(kept, file)
    with pytest.raises(CheckpointError, match="lacks|not fit|blocks"):
        read(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"architecture": "eva02_tiny_patch14_224"}, "rotary"),
        ({"architecture": "aimv2_large_patch14_224"}, "RMSNorm"),
        ({"global_pool": "avgmax"}, "avgmax"),
        ({"norm_layer": "rmsnorm"}, "rmsnorm"),
        ({"act_layer": "relu"}, "relu"),
        ({"pool_include_prefix": True}, "pool_include_prefix"),
        ({"img_size": [16, 32]}, "positions"),
        ({"num_heads": 7}, "heads"),
    ],
)
def test_another_model_is_refused(changes, word, tmp_path):
    write(made(), tmp_path / "out", "timm", [timm.FORMAT])
    config = json.loads((tmp_path / "out/config.json").read_text())
    config |= {name: value for name, value in changes.items() if name == "architecture"}
    config["model_args"] |= {name: value for name, value in changes.items() if name != "architecture"}
    (tmp_path / "out/config.json").write_text(json.dumps(config))
    with pytest.raises(PatchwordsError, match=word):
        read(tmp_path / "out")


@pytest.mark.parametrize(
    "changes",
    [
        {"position": "sincos_2d"},
        {"position": "learned_2d"},
        {"pool": "cls+mean"},
        {"pre_logits": 8},
        {"head_bias": False},
        {"stem": "conv"},
        {"mlp_bias": False},
        {"fc_norm": True},
        {"pre_norm": True},
        {"distillation_token": True, "position_prefix": False},
        {"position": "rope", "activation": "gelu_tanh"},
        {"position": "rope", "pool": "map"},
        BEIT | {"final_norm": True},
        BEIT | {"class_token": False},
        {"stem": "resnet", "resnet_depths": (1, 1), "patch_size": (1, 1)},
    ],
)
def test_what_timm_has_no_word_for_is_refused(changes, tmp_path):
    with pytest.raises(ConfigError, match="cannot be written as timm"):
        write(made(**changes), tmp_path / "out", "timm", [timm.FORMAT])


def test_who_says_the_heads(tmp_path):
    weights = made(dim=128, num_heads=2).model.state_dict()
    assert bare(tmp_path / "a.safetensors", weights, grid=(2, 3)).model.config.num_heads == 2
    with pytest.raises(CheckpointError, match="how many heads"):
        bare(tmp_path / "b.safetensors", made().model.state_dict(), grid=(2, 3))
    normed = made(qk_norm=True).model.state_dict()
    assert bare(tmp_path / "c.safetensors", normed, grid=(2, 3)).model.config.num_heads == 3


def test_no_positions_and_no_word_of_them_is_refused(tmp_path):
    weights = made(position="none").model.state_dict()
    with pytest.raises(CheckpointError, match="pos_embed"):
        bare(tmp_path / "x.safetensors", weights, num_heads=3)


@pytest.mark.parametrize("case", [case for case in goldens.PATHS if case.startswith("timm")])
def test_goldens_without_their_config(case, tmp_path):
    weights, seen = load_file(goldens.folder(case) / "model.safetensors"), goldens.seen(case)
    loaded = bare(tmp_path / "x.safetensors", weights, num_heads=3)
    with torch.no_grad():
        goldens.close(loaded.model(torch.from_numpy(seen["images"])), seen["logits"])
    assert {"norm_eps", "preprocessing"} <= loaded.report.assumed.keys()


def test_names_of_architectures():
    """Against timm 1.0.31's own models."""
    said = {
        "vit_base_patch16_224.augreg_in21k": (12, 1e-6, "gelu"),
        "vit_huge_patch14_clip_quickgelu_224": (16, 1e-5, "quick_gelu"),
        "vit_so400m_patch14_siglip_384": (16, 1e-6, "gelu"),
        "vit_so400m_patch16_siglip_256": (16, 1e-6, "gelu_tanh"),
        "vit_giant_patch14_dinov2": (24, 1e-6, "gelu"),
        "vit_giant_patch14_clip_224": (16, 1e-5, "gelu"),
        "vit_huge_plus_patch16_dinov3": (20, 1e-5, "gelu"),
        "eva_giant_patch14_clip_224": (16, 1e-6, "gelu"),
    }
    for name, expected in said.items():
        found = architecture(name)
        assert (found.num_heads, found.norm_eps, found.activation) == expected, name
    assert architecture("vit_base_patch14_reg4_dinov2.lvd142m").num_registers == 4
    assert not architecture("my_own_vit").name
