"""The .npz files of the paper's authors and of big_vision: every generation of names, there and back."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwords.config import ViTConfig
from patchwords.errors import CheckpointError, PatchwordsError
from patchwords.formats.big_vision import BIG_VISION
from patchwords.formats.google import GOOGLE
from patchwords.formats.read import read_foreign
from patchwords.formats.write import arrays_of
from patchwords.models import build

from .big_vision_reference import big_vision, reference

GOLDEN = Path(__file__).parents[1] / "golden" / "google"
SHARED = Path(os.environ.get("PATCHWORDS_GOLDEN", Path(__file__).parents[3] / "shared" / "golden")) / "google"
CASES = ("vit_token", "vit_gap", "vit_token_representation", "hybrid_resnet")
FORMATS = [GOOGLE, BIG_VISION]


def folder_of(case):
    folder = GOLDEN / case if (GOLDEN / case).exists() else SHARED / case
    if not folder.exists():
        pytest.skip(f"no {folder}: 8 MB, not kept here; set PATCHWORDS_GOLDEN")
    return folder


def arrays_in(path):
    return {name: array.copy() for name, array in np.load(path).items()}


def read(path, new=(), unused=(), **facts):
    return read_foreign(path, FORMATS, facts, new, unused, "")


def saved(tmp_path, arrays):
    path = tmp_path / "weights.npz"
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


def written(loaded, format):
    """Return the arrays that are written for a loaded model."""
    names = format.respelled(loaded, format)
    return {names.get(name, name): array.numpy() for name, array in arrays_of(loaded, format).items()}


def same_arrays(one, other):
    assert set(one) == set(other)
    for name in one:
        assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]), name


def same_weights(one, other):
    one, other = one.model.state_dict(), other.model.state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def answers(loaded, images):
    with torch.inference_mode():
        return loaded.model(images).numpy()


PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def prefixed(arrays, prefix="params/"):
    return {prefix + name: array for name, array in arrays.items()}


def older(arrays):
    """Return the numbering with one count for all modules of a block."""
    new = {"MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1", "LayerNorm_1": "LayerNorm_2"}
    new |= {"MlpBlock_0": "MlpBlock_3"}
    pattern = re.compile(r"(Transformer/encoderblock_\d+/)(\w+)(/.*)")
    return {pattern.sub(lambda m: m[1] + new.get(m[2], m[2]) + m[3], name): array for name, array in arrays.items()}


def stacked(arrays):
    """Return the blocks of `scan=True`: one array for all of them."""
    pattern = re.compile(r"(.*Transformer/encoderblock)_\d+(/.*)")
    found = {name: array for name, array in arrays.items() if not pattern.fullmatch(name)}
    for name in [name for name in arrays if "encoderblock_0/" in name]:
        count = sum(other.endswith(name.partition("encoderblock_0")[2]) and "encoderblock" in other for other in arrays)
        each = [arrays[name.replace("encoderblock_0", f"encoderblock_{i}")] for i in range(count)]
        found[name.replace("encoderblock_0", "encoderblock")] = np.stack(each)
    return found


# ---- the paper's code


@pytest.mark.parametrize("case", CASES)
def test_golden_files_answer_as_the_papers_code(case):
    folder = folder_of(case)
    loaded, seen, record = read(folder / "weights.npz"), np.load(folder / "io.npz"), {}
    assert loaded.report.format == "google"
    with torch.no_grad():
        loaded.model(torch.from_numpy(seen["images_nhwc"]).permute(0, 3, 1, 2), record)
    names = {"encoder_output": "encoded", "logits": "logits"} | {
        f"block_{i}_output": f"block{i:02d}/+mlp" for i in range(3)
    }
    names |= {} if "representation" in case else {"pre_logits": "features"}
    for theirs, ours in names.items():  # tokens reach 10, so that float32 alone gives 1e-5
        assert np.abs(record[ours].numpy() - seen[theirs]).max() <= 1e-5 * max(1, np.abs(seen[theirs]).max())
    if "resized_images_nhwc" in seen:
        larger = torch.from_numpy(seen["resized_images_nhwc"]).permute(0, 3, 1, 2)
        assert np.abs(answers(loaded, larger) - seen["resized_logits"]).max() <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_golden_files_come_back_bit_for_bit_under_the_same_names(case):
    path = folder_of(case) / "weights.npz"
    same_arrays(written(read(path), GOOGLE), arrays_in(path))


def test_the_numbering_of_the_released_files_reads_the_same_and_comes_back(tmp_path):
    arrays = arrays_in(GOLDEN / "vit_token" / "weights.npz")
    released = older(arrays)
    assert "Transformer/encoderblock_2/MlpBlock_3/Dense_1/bias" in released
    loaded = read(saved(tmp_path, released))
    assert loaded.report.format == "google"
    same_weights(loaded, read(GOLDEN / "vit_token" / "weights.npz"))
    same_arrays(written(loaded, GOOGLE), released)
    other = written(loaded, BIG_VISION)  # as for every model from elsewhere: the newer numbering, under params/
    moved = dict(arrays) | {"pos_embedding": arrays["Transformer/posembed_input/pos_embedding"]}
    del moved["Transformer/posembed_input/pos_embedding"]
    same_arrays(other, prefixed(moved))


def test_constants_and_pixels_are_those_of_the_code():
    loaded = read(GOLDEN / "vit_token" / "weights.npz")
    config, preprocess = loaded.model.config, loaded.preprocess
    assert (config.activation, config.norm_eps, config.position_resize) == ("gelu_tanh", 1e-6, "google")
    assert (preprocess.resize, preprocess.interpolation, preprocess.mean) == ("squash", "bilinear", (0.5, 0.5, 0.5))
    assert loaded.classes == tuple(map(str, range(10)))
    assert set(loaded.report.assumed) == {"image_size", "preprocessing"}


def test_a_rectangle_needs_its_grid(tmp_path):
    arrays = arrays_in(GOLDEN / "vit_token" / "weights.npz")
    arrays["Transformer/posembed_input/pos_embedding"] = arrays["Transformer/posembed_input/pos_embedding"][:, :16]
    path = saved(tmp_path, arrays)
    with pytest.raises(CheckpointError, match="15 positions, which are no square grid.*--grid"):
        read(path)
    loaded = read(path, grid=(3, 5))
    assert loaded.model.config.image_size == loaded.preprocess.image_size == (24, 40)
    same_arrays(written(loaded, GOOGLE), arrays)
    assert not GOOGLE.refuses(loaded.model.config)


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        (r"head/.*", {"num_classes": 0}),
        (r"head/bias", {"head_bias": False}),
        (r"embedding/bias", {"patch_bias": False}),
        (r".*(query|key|value)/bias", {"qkv_bias": "none"}),
        (r".*out/bias", {"proj_bias": False}),
        (r".*Dense_\d/bias", {"mlp_bias": False}),
    ],
)
def test_what_is_consistently_absent_is_switched_off_and_said(tmp_path, absent, expected):
    arrays = arrays_in(GOLDEN / "vit_token" / "weights.npz")
    kept = {name: array for name, array in arrays.items() if not re.fullmatch(absent, name)}
    loaded = read(saved(tmp_path, kept))
    assert {name: getattr(loaded.model.config, name) for name in expected} == expected
    assert set(expected) <= set(loaded.report.assumed)
    zeros = {name: np.zeros_like(array) if re.fullmatch(absent, name) else array for name, array in arrays.items()}
    if "num_classes" not in expected:
        same = answers(read(saved(tmp_path, zeros)), PICTURES)
        assert np.abs(answers(loaded, PICTURES) - same).max() <= 1e-6
    assert bool(GOOGLE.refuses(loaded.model.config)) == ("head" not in absent)
    same_arrays(written(loaded, GOOGLE), kept)


def test_one_bias_less_is_damage(tmp_path):
    arrays = arrays_in(GOLDEN / "vit_token" / "weights.npz")
    del arrays["Transformer/encoderblock_1/MlpBlock_0/Dense_0/bias"]
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of the model, first blocks.1.mlp.fc1.bias"):
        read(saved(tmp_path, arrays))


def test_group_norms_of_old_flax_have_three_axes_more(tmp_path):
    path = folder_of("hybrid_resnet") / "weights.npz"
    arrays = arrays_in(path)
    old = {n: a.reshape(1, 1, 1, -1) if re.search(r"gn\w+/", n) else a for n, a in arrays.items()}
    same_weights(read(saved(tmp_path, old)), read(path))


def test_a_table_that_is_gone_is_not_replaced(tmp_path):
    for case, numbering in (("vit_token", older), ("vit_gap", older), ("vit_token", dict)):
        arrays = numbering(arrays_in(GOLDEN / case / "weights.npz"))
        del arrays["Transformer/posembed_input/pos_embedding"]
        with pytest.raises(CheckpointError, match="has no table of positions"):
            read(saved(tmp_path, arrays))
    loaded = read(saved(tmp_path, arrays), position="none", image_size=(32, 32))
    assert loaded.model.config.position == "none"


# ---- big_vision


@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "opt/target/", "target/"])
@pytest.mark.parametrize("pool", ["tok", "gap", "map"])
def test_big_vision_answers_as_its_equations(tmp_path, pool, prefix):
    arrays = big_vision(pool, rep=24 if pool == "gap" else 0)
    loaded = read(saved(tmp_path, prefixed(arrays, prefix)))
    assert loaded.report.format == "big_vision"
    assert loaded.model.config.pool == {"tok": "cls", "gap": "mean", "map": "map"}[pool]
    assert np.abs(answers(loaded, PICTURES) - reference(arrays, PICTURES)).max() <= 1e-5
    same_arrays(written(loaded, BIG_VISION), prefixed(arrays, prefix))
    assert not BIG_VISION.refuses(loaded.model.config)


@pytest.mark.parametrize(
    ("sizes", "pixels"),
    [
        ({"dim": 40, "heads": 5}, (32, 32)),  # heads 8 wide: the kernels say so
        ({"patch": (4, 8), "grid": (8, 4)}, (32, 32)),
        ({"classes": 0, "pool": "map"}, (32, 32)),
        ({"grid": (2, 6)}, (16, 48)),
        ({"grid": (2, 6), "pool": "gap"}, (16, 48)),
        ({"depth": 1, "hidden": 20}, (32, 32)),
    ],
)
def test_other_sizes(tmp_path, sizes, pixels):
    arrays = big_vision(**sizes)
    grid = sizes.get("grid", (4, 4))
    facts = {} if grid[0] == grid[1] else {"grid": grid}
    path = saved(tmp_path, prefixed(arrays))
    if facts:
        with pytest.raises(CheckpointError, match="no square grid"):
            read(path)
    loaded = read(path, **facts)
    images = torch.randn(1, 3, *pixels, generator=torch.Generator().manual_seed(3))
    assert loaded.model.config.image_size == pixels
    assert np.abs(answers(loaded, images) - reference(arrays, images)).max() <= 1e-5
    same_arrays(written(loaded, BIG_VISION), prefixed(arrays))


def test_sines_need_no_table(tmp_path):
    arrays = big_vision("gap")
    del arrays["pos_embedding"]
    loaded = read(saved(tmp_path, prefixed(arrays)))
    assert loaded.model.config.position == "sincos_2d" and loaded.model.config.image_size == (224, 224)
    assert {"position", "image_size"} <= set(loaded.report.assumed)
    assert np.abs(answers(loaded, PICTURES) - reference(arrays, PICTURES)).max() <= 1e-5
    for said in ({"grid": (4, 4)}, {"image_size": (32, 32)}, {"image_size": 32}):
        assert read(saved(tmp_path, prefixed(arrays)), **said).model.config.image_size == (32, 32)
    same_arrays(written(loaded, BIG_VISION), prefixed(arrays))


@pytest.mark.parametrize("pool", ["tok", "map"])
def test_older_generations_hold_the_same_model(tmp_path, pool):
    arrays = big_vision(pool)
    base = read(saved(tmp_path, arrays))
    moved = dict(arrays)
    moved["Transformer/pos_embedding"] = moved.pop("pos_embedding")
    inlined = {name.removeprefix("MAPHead_0/"): array for name, array in moved.items()}
    numbered = {n.replace("LayerNorm_0", "LayerNorm_1") if n[0] == "L" else n: a for n, a in inlined.items()}
    very_old = dict(inlined)
    very_old["Transformer/posembed_input/pos_embedding"] = very_old.pop("Transformer/pos_embedding")
    older_ones = [moved, inlined, numbered, older(moved), prefixed(stacked(arrays))]
    for each in [*older_ones, very_old] if pool == "map" else older_ones:
        loaded = read(saved(tmp_path, each))
        assert loaded.report.format == "big_vision"
        same_weights(loaded, base)
        assert sum(loaded.report.counts.values()) == len(base.model.state_dict())
        if not any("encoderblock/" in name for name in each):
            same_arrays(written(loaded, BIG_VISION), each)


def test_a_position_of_the_class_token_is_kept_apart(tmp_path):
    """The library adds it to the token; here both stay, so that the file can be written again."""
    arrays = big_vision("tok")
    first = np.full((1, 1, 48), 0.25, np.float32)
    combined = arrays | {"pos_embedding": np.concatenate([first, arrays["pos_embedding"]], axis=1)}
    loaded = read(saved(tmp_path, combined))
    assert loaded.model.config.position_prefix
    added = arrays | {"cls": arrays["cls"] + first}
    assert np.abs(answers(loaded, PICTURES) - reference(added, PICTURES)).max() <= 1e-5
    same_arrays(written(loaded, BIG_VISION), combined)
    arrays = big_vision("gap")  # without the token that row is nobody's
    combined = arrays | {"pos_embedding": np.concatenate([first, arrays["pos_embedding"]], axis=1)}
    loaded = read(saved(tmp_path, combined))
    assert np.abs(answers(loaded, PICTURES) - reference(arrays, PICTURES)).max() <= 1e-5
    assert "first row dropped" in loaded.report.text()
    for wrong in ((3, 5), (3, 6), (17, 2)):
        with pytest.raises(CheckpointError, match="16 positions, a picture of"):
            read(saved(tmp_path, combined), grid=wrong)
    for pool, grid in (("gap", (2, 6)), ("tok", (2, 5))):
        rows = big_vision(pool, grid=grid)
        combined = rows | {"pos_embedding": np.concatenate([first, rows["pos_embedding"]], axis=1)}
        if pool == "gap":
            with pytest.raises(CheckpointError, match="13 positions, a picture of"):
                read(saved(tmp_path, combined), grid=grid)
        else:
            assert read(saved(tmp_path, combined), grid=grid).model.config.position_prefix
            assert not read(saved(tmp_path, rows), grid=grid).model.config.position_prefix


def test_bfloat16_is_stored_as_raw_bytes(tmp_path):
    arrays = big_vision("map")
    halves = {name: torch.from_numpy(array).bfloat16() for name, array in arrays.items()}
    raw = {name: half.view(torch.int16).numpy().view("V2") for name, half in halves.items()}
    loaded = read(saved(tmp_path, raw))
    rounded = {name: half.float().numpy() for name, half in halves.items()}
    same_weights(loaded, read(saved(tmp_path, rounded)))
    assert all("bfloat16 to float32" in line.how for line in loaded.report.lines)


def test_the_rest_of_a_training_dump_is_named_and_left(tmp_path):
    arrays = prefixed(big_vision("map"), "params/img/")
    rest = {f"opt/0/mu/{name}": array for name, array in arrays.items()}
    rest |= {"params/txt/Encoder_0/LayerNorm_0/scale": np.ones(4), "params/t": np.ones(1), "params/b": np.ones(1)}
    rest |= {"chrono/accum_train_time": np.ones(()), "opt/0/count": np.ones((), np.int32)}
    loaded = read(saved(tmp_path, arrays | rest))
    same_weights(loaded, read(saved(tmp_path, arrays)))
    unused = {line.source[0]: line.how for line in loaded.report.lines if line.status == "unused"}
    assert set(unused) == set(rest) and all(unused.values())
    with pytest.raises(CheckpointError, match="has 1 that the model has no place for, first params/img/surprise"):
        read(saved(tmp_path, arrays | {"params/img/surprise": np.ones(1)}))


@pytest.mark.parametrize(
    ("changes", "in_google", "in_big_vision"),
    [
        ({}, "", ""),
        ({"pre_logits": 24, "activation": "quick_gelu", "norm_eps": 1e-5}, "", ""),
        ({"head_bias": False}, "", ""),
        ({"num_classes": 0}, "", ""),
        ({"position_prefix": False}, "position_prefix=False", ""),
        ({"pool": "mean"}, "pool=mean with a class token", "pool=mean with a class token"),
        ({"pool": "mean", "class_token": False}, "", ""),
        ({"pool": "mean", "class_token": False, "position_prefix": False}, "", ""),
        ({"pool": "map", "class_token": False}, "pool=map without a class token", ""),
        ({"position": "sincos_2d"}, "position=sincos_2d", ""),
        ({"image_size": (16, 40), "position_prefix": False}, "position_prefix=False", "a grid of 2x5"),
        ({"image_size": (16, 48)}, "", "a grid of 2x6"),
        ({"stem": "conv"}, "stem=conv", "stem=conv"),
        ({"stem": "resnet", "resnet_depths": (1,), "patch_size": (2, 2)}, "", "stem=resnet"),
        ({"pool": "cls+mean"}, "pool=cls+mean", "pool=cls+mean"),
    ]
    + [
        (changes, next(iter(changes)), next(iter(changes)))
        for changes in (
            {"num_registers": 2, "position_prefix": False},
            {"layer_scale": 0.1},
            {"qk_norm": True},
            {"pre_norm": True},
            {"distillation_token": True},
            {"qkv_bias": "none"},
            {"mlp_bias": False},
            {"activation": "swiglu"},
            {"position": "rope"},
            {"position": "learned_2d"},
            {"fc_norm": True},
            {"final_norm": False},
        )
    ],
)
def test_what_cannot_be_said_is_refused_and_all_else_comes_back(tmp_path, changes, in_google, in_big_vision):
    sizes = {"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "depth": 2, "num_heads": 3, "mlp_dim": 96}
    config = ViTConfig(**sizes | {"num_classes": 10} | changes)
    torch.manual_seed(2)
    weights = build(config).state_dict()
    for format, reason in ((GOOGLE, in_google), (BIG_VISION, in_big_vision)):
        assert reason in "; ".join(format.refuses(config)) and bool(reason) == bool(format.refuses(config))
        if reason:
            continue
        arrays = {
            name: part.contiguous().numpy()
            for pair in format.pairs(None, config)
            if pair.ours in weights
            for name, part in zip(pair.theirs, pair.layout.to_theirs(weights[pair.ours]), strict=True)
        }
        told = {"grid": config.grid} if config.position == "sincos_2d" or len(set(config.grid)) > 1 else {}
        back = read(saved(tmp_path, arrays), **told)
        assert back.report.format == format.name and back.model.config.image_size == config.image_size
        found = back.model.state_dict()
        assert list(found) == list(weights) and all(torch.equal(found[name], weights[name]) for name in weights)


# ---- damage


def damaged(arrays, draw):
    """Return the arrays with one fault, and a word for it."""
    names = list(arrays)
    name, other = draw.choice(names, 2, replace=False)
    array, kind = arrays[name], draw.integers(8)
    rest = {n: a for n, a in arrays.items() if n != name}
    if kind == 0:
        return rest, f"without {name}"
    if kind == 1:
        return arrays | {f"{name}x": array}, f"with {name}x"
    if kind == 2:
        return rest | {f"{name[:-1]}_": array}, f"{name} renamed"
    if kind == 3:
        return arrays | {
            name: np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)
        }, f"NaN in {name}"
    if kind == 4:
        return arrays | {name: array[..., :-1]}, f"{name} cut"
    if kind == 5:
        return arrays | {name: array[None]}, f"{name} with an axis more"
    if kind == 6:
        return arrays | {name: arrays[other], other: array}, f"{name} and {other} swapped"
    return arrays | {name: array.reshape(-1, 1)}, f"{name} as one column"


def test_damage_is_refused_or_told(tmp_path):
    """Of a swap of two arrays of one shape, and of a bias that files may do without, the report is all there can be."""
    draw = np.random.default_rng(11)
    files = [arrays_in(GOLDEN / "vit_token" / "weights.npz"), prefixed(big_vision("map")), stacked(big_vision("tok"))]
    usual = [read(saved(tmp_path, arrays)).report.assumed for arrays in files]
    for turn in range(120):
        arrays, what = damaged(files[turn % 3], draw)
        try:
            loaded = read(saved(tmp_path, arrays))
        except PatchwordsError as error:
            assert "\n" not in error.line() and str(tmp_path) in error.line(), what
            continue
        listed = {name.partition("[")[0] for line in loaded.report.lines for name in line.source}
        assert listed == set(arrays), what
        assert loaded.report.counts["new"] == 0, what
        if what.startswith("without"):
            assert loaded.report.assumed != usual[turn % 3], what
        else:
            assert what.endswith("swapped"), what


def test_cut_files_are_refused_and_flipped_bytes_found(tmp_path):
    whole, sound = (GOLDEN / "vit_gap" / "weights.npz").read_bytes(), read(GOLDEN / "vit_gap" / "weights.npz")
    path = tmp_path / "cut.npz"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(PatchwordsError):
            read(path)
    for place in range(200, len(whole), len(whole) // 25):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            same_weights(read(path), sound)  # some bytes of an archive, such as its dates, hold nothing
        except PatchwordsError as error:
            assert str(path) in error.line()
