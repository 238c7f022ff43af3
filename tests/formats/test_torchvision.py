"""torchvision's state_dicts: whatever wraps them, whichever names, there and back."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwords.config import ViTConfig
from patchwords.errors import CheckpointError, ConfigError, PatchwordsError
from patchwords.formats.read import read_foreign
from patchwords.formats.torchvision import FORMAT
from patchwords.formats.write import arrays_of
from patchwords.models import build

GOLDEN = Path(__file__).parents[1] / "golden" / "torchvision"
CASES = ("vit", "vit_representation")
BLOCK = "encoder.layers.encoder_layer_"
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def read(path, part="", **facts):
    return read_foreign(path, [FORMAT], {"num_heads": 3} | facts, (), (), part)


def arrays_in(case="vit"):
    return torch.load(GOLDEN / case / "model.pth", weights_only=True)


def saved(tmp_path, held):
    torch.save(held, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def same_arrays(one, other):
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def same_weights(one, other):
    same_arrays(one.model.state_dict(), other.model.state_dict())


def answers(loaded, images=PICTURES):
    with torch.inference_mode():
        return loaded.model(images).numpy()


@pytest.mark.parametrize("case", CASES)
def test_golden_files_answer_as_torchvision_and_come_back(case):
    loaded, seen = read(GOLDEN / case / "model.pth"), np.load(GOLDEN / case / "io.npz")
    assert np.abs(answers(loaded, torch.from_numpy(seen["images"])) - seen["logits"]).max() <= 1e-5
    assert loaded.report.counts["new"] == loaded.report.counts["unused"] == 0
    assert (loaded.model.config.activation, loaded.model.config.position_resize) == ("gelu", "torchvision")
    same_arrays(arrays_of(loaded, FORMAT), arrays_in(case))
    assert FORMAT.refuses(loaded.model.config) == []


def test_heads_are_64_wide_or_named(tmp_path):
    path = GOLDEN / "vit" / "model.pth"
    with pytest.raises(CheckpointError, match="how many heads a width of 48"):
        read_foreign(path, [FORMAT], {}, (), (), "")
    with pytest.raises(ConfigError, match="5 heads do not divide"):
        read(path, num_heads=5)


def named(arrays, change):
    return {change(name): array for name, array in arrays.items()}


def test_wrappers_and_older_names_hold_the_same_model(tmp_path):
    arrays, base = arrays_in(), read(GOLDEN / "vit" / "model.pth")
    older = named(arrays, lambda n: n.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."))
    averaged = named(arrays, lambda n: f"module.{n}") | {"n_averaged": torch.tensor(7)}
    wrapped = [
        {"model": arrays, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": arrays["class_token"]}}}},
        {"state_dict": named(arrays, lambda n: f"model.{n}")},
        named(arrays, lambda n: f"module._orig_mod.{n}"),
        averaged,
        older,
    ]
    for held in wrapped:
        loaded = read(saved(tmp_path, held))
        same_weights(loaded, base)
        same_arrays(arrays_of(loaded, FORMAT), arrays)
    averaged_first = {"model": named(arrays, str) | {"class_token": arrays["class_token"] + 1}, "model_ema": averaged}
    loaded = read(saved(tmp_path, averaged_first))
    same_weights(loaded, base)
    assert loaded.report.assumed["part"] == "model_ema"
    both = arrays | {"module.class_token": arrays["class_token"]}
    with pytest.raises(CheckpointError, match="first module.class_token"):
        read(saved(tmp_path, both))


@pytest.mark.parametrize("place", ["heads", "heads.0", "heads.1", "heads.head.1"])
def test_a_classifier_put_in_its_place_is_found(tmp_path, place):
    arrays = named(arrays_in(), lambda n: n.replace("heads.head", place))
    same_weights(read(saved(tmp_path, arrays)), read(GOLDEN / "vit" / "model.pth"))
    two = arrays | {"heads.7.weight": arrays[f"{place}.weight"]}
    with pytest.raises(CheckpointError, match=r"no place for|lacks"):
        read(saved(tmp_path, two))


def test_without_heads_it_gives_features(tmp_path):
    kept = {name: array for name, array in arrays_in().items() if not name.startswith("heads")}
    loaded = read(saved(tmp_path, kept))
    assert loaded.model.config.num_classes == 0 and loaded.classes == () and "num_classes" in loaded.report.assumed
    assert answers(loaded).shape == (2, 48)
    assert "no head" in FORMAT.refuses(loaded.model.config)


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        (r"heads.head.bias", {"head_bias": False}),
        (r"conv_proj.bias", {"patch_bias": False}),
        (r".*(in_proj_bias|out_proj.bias)", {"qkv_bias": "none", "proj_bias": False}),
        (r".*mlp.\d.bias", {"mlp_bias": False}),
    ],
)
def test_biases_that_are_consistently_absent_are_switched_off_and_said(tmp_path, absent, expected):
    arrays = arrays_in()
    kept = {name: array for name, array in arrays.items() if not re.fullmatch(absent, name)}
    loaded = read(saved(tmp_path, kept))
    assert {name: getattr(loaded.model.config, name) for name in expected} == expected
    assert set(expected) <= set(loaded.report.assumed)
    zeros = {n: torch.zeros_like(a) if re.fullmatch(absent, n) else a for n, a in arrays.items()}
    assert np.abs(answers(loaded) - answers(read(saved(tmp_path, zeros)))).max() <= 1e-6
    assert FORMAT.refuses(loaded.model.config)
    some = {n: a for n, a in arrays.items() if not re.fullmatch(absent, n) or "layer_1" in n}
    if len(some) > len(kept):
        with pytest.raises(CheckpointError, match="lacks"):
            read(saved(tmp_path, some))


def test_rectangles_are_read_with_a_named_grid_and_not_written(tmp_path):
    arrays = arrays_in()
    arrays["encoder.pos_embedding"] = arrays["encoder.pos_embedding"][:, :16]
    path = saved(tmp_path, arrays)
    with pytest.raises(CheckpointError, match="15 positions, which are no square grid.*--grid"):
        read(path)
    loaded = read(path, grid=(3, 5))
    assert loaded.model.config.image_size == loaded.preprocess.image_size == (24, 40)
    assert FORMAT.refuses(loaded.model.config) == ["a picture of 24x40, which is no square"]
    assert read(path, image_size=(40, 24)).model.config.grid == (5, 3)


def random_file(tmp_path, **sizes):
    """Return the file of a random model, in halves, which is what takes the least room."""
    config = ViTConfig(**{"depth": 1, "mlp_dim": 8, "num_classes": 2, "head_bias": True} | sizes)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    arrays = {}
    for pair in FORMAT.pairs(None, config):
        if pair.ours in shapes:
            arrays[pair.theirs[0]] = torch.zeros(shapes[pair.ours], dtype=torch.float16)
    return saved(tmp_path, arrays)


@pytest.mark.parametrize(
    ("sizes", "heads", "crop", "interpolation"),
    [
        ({"dim": 768, "image_size": (224, 224)}, 12, 224 / 256, "bilinear"),
        ({"dim": 768, "image_size": (384, 384)}, 12, 1.0, "bicubic"),
        ({"dim": 1024, "image_size": (224, 224)}, 16, 224 / 242, "bilinear"),
        ({"dim": 1024, "image_size": (224, 224), "patch_size": (32, 32)}, 16, 224 / 256, "bilinear"),
        ({"dim": 1024, "image_size": (512, 512)}, 16, 1.0, "bicubic"),
        ({"dim": 1280, "image_size": (518, 518), "patch_size": (14, 14)}, 16, 1.0, "bicubic"),
        ({"dim": 1280, "image_size": (224, 224), "patch_size": (14, 14)}, 16, 1.0, "bicubic"),
    ],
)
def test_published_sizes_have_their_heads_and_their_preprocessing(tmp_path, sizes, heads, crop, interpolation):
    path = random_file(tmp_path, **sizes | {"num_heads": heads})
    loaded = read_foreign(path, [FORMAT], {}, (), (), "")
    config, preprocess = loaded.model.config, loaded.preprocess
    assert (config.num_heads, config.image_size) == (heads, sizes["image_size"])
    assert (preprocess.crop_fraction, preprocess.interpolation) == (crop, interpolation)
    assert {"num_heads", "image_size", "preprocessing"} <= set(loaded.report.assumed)
    assert all("float16 to float32" in line.how for line in loaded.report.lines)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_registers": 2, "position_prefix": False},
        {"pool": "mean", "class_token": False},
        {"pool": "mean"},
        {"position_prefix": False},
        {"position": "rope"},
        {"layer_scale": 0.1},
        {"qk_norm": True},
        {"pre_norm": True},
        {"fc_norm": True},
        {"distillation_token": True},
        {"activation": "swiglu"},
        {"qkv_bias": "qv"},
        {"in_channels": 1},
        {"num_classes": 0},
        {"patch_size": (8, 4)},
        {"stem": "conv"},
    ],
)
def test_what_the_class_cannot_be_told_is_refused(changes):
    sizes = {"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "depth": 2, "num_heads": 3, "mlp_dim": 96}
    assert FORMAT.refuses(ViTConfig(**sizes)) == []
    assert FORMAT.refuses(ViTConfig(**sizes, activation="gelu_tanh", norm_eps=1e-5, pre_logits=7)) == []
    assert FORMAT.refuses(ViTConfig(**sizes | changes))


def test_a_stem_of_convolutions_is_named(tmp_path):
    arrays = named(arrays_in(), lambda n: n.replace("conv_proj.", "conv_proj.conv_last."))
    with pytest.raises(CheckpointError, match="a stem of convolutions with batch norm is not read"):
        read(saved(tmp_path, arrays))


def damaged(arrays, draw):
    """Return the arrays with one fault, and a word for it."""
    names = list(arrays)
    name, other = draw.choice(names, 2, replace=False)
    array, kind = arrays[name], draw.integers(7)
    rest = {n: a for n, a in arrays.items() if n != name}
    if kind == 0:
        return rest, f"without {name}"
    if kind == 1:
        return arrays | {f"{name}x": array}, f"with {name}x"
    if kind == 2:
        return rest | {f"{name[:-1]}_": array}, f"{name} renamed"
    if kind == 3:
        holed = array.clone()
        holed.view(-1)[int(draw.integers(array.numel()))] = float(draw.choice([np.nan, np.inf]))
        return arrays | {name: holed}, f"NaN in {name}"
    if kind == 4:
        return arrays | {name: array[..., :-1].clone()}, f"{name} cut"
    if kind == 5:
        return arrays | {name: array[None]}, f"{name} with an axis more"
    return arrays | {name: arrays[other], other: array}, f"{name} and {other} swapped"


def test_damage_is_refused_or_told(tmp_path):
    """Of a swap of two arrays of one shape, and of a bias that files may do without, the report is all there can be."""
    draw, usual = np.random.default_rng(11), read(GOLDEN / "vit" / "model.pth").report.assumed
    for _ in range(120):
        arrays, what = damaged(arrays_in(), draw)
        try:
            loaded = read(saved(tmp_path, arrays))
        except PatchwordsError as error:
            assert "\n" not in error.line() and str(tmp_path) in error.line(), what
            continue
        assert {name for line in loaded.report.lines for name in line.source} == set(arrays), what
        assert loaded.report.counts["new"] == 0, what
        if what.startswith("without"):
            assert loaded.report.assumed != usual, what
        else:
            assert what.endswith("swapped"), what
