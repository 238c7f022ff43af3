"""Folders of transformers: every spelling of the names, what config.json says and leaves out, and what is written."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from patchwords.config import ViTConfig
from patchwords.errors import CheckpointError, ConfigError
from patchwords.formats.transformers import FORMAT

from . import goldens
from .transformers_cases import CASES, MEAN, ROPE, images_for, model_of, put, read, same_weights

GOLDEN = [name for name in goldens.PATHS if name.startswith("transformers/")]
IN_MEMORY = (
    (r"encoder\.layer\.", "layers."),
    (r"attention\.attention\.(q|k|v)(uery|ey|alue)", r"attention.\1_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(?<!attention\.)output\.dense", "mlp.fc2"),
)


def parts_of(folder):
    return load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())


def stored(path, arrays, config=None, preprocess=None):
    path.mkdir(exist_ok=True)
    save_file({name: array.clone().contiguous() for name, array in arrays.items()}, path / "model.safetensors")
    for name, values in (("config.json", config), ("preprocessor_config.json", preprocess)):
        if values is not None:
            (path / name).write_text(json.dumps(values))
    return path


def changed(tmp_path, case, arrays=lambda found: found, **config):
    """Return a copy of a golden case with other arrays or another config (None: entry left out)."""
    found, values = parts_of(goldens.path(f"transformers/{case}"))
    values = {name: value for name, value in {**values, **config}.items() if value is not None}
    return stored(tmp_path / "changed", arrays(found), values)


@pytest.mark.parametrize("case", GOLDEN)
def test_the_numbers_of_the_library(case):
    found, seen = read(goldens.path(case)), goldens.seen(case)
    with torch.no_grad():
        goldens.close(found.model(torch.from_numpy(seen["images"])), seen.get("logits", seen.get("pooler_output")))
    assert found.model.config.position_resize == ("timm" if "registers" in case else "transformers")


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_back_bit_for_bit(tmp_path, case):
    name, changes = CASES[case]
    loaded = model_of(**changes)
    put(loaded, tmp_path / "out")
    back = read(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [name]
    assert same_weights(loaded, back)
    assert back.preprocess == loaded.preprocess
    assert not back.report.assumed.keys() - {"pool"}
    with torch.no_grad():
        assert torch.equal(loaded.model(images_for(loaded)), back.model(images_for(loaded)))
    assert back.classes == (tuple(map(str, range(10))) if case == "clip projection" else loaded.classes)


@pytest.mark.parametrize("case", GOLDEN)
def test_written_again_with_the_names_of_the_library(tmp_path, case):
    put(read(goldens.path(case)), tmp_path / "out")
    (ours, said), (theirs, config) = parts_of(tmp_path / "out"), parts_of(goldens.path(case))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].shape == array.shape
        assert "mask_token" in name or torch.equal(ours[name], array)
    about = {name for name, value in said.items() if name in config and config[name] != value}
    assert not about - {"layerscale_value", "pooler_output_size"}


@pytest.mark.parametrize("prefix", ["", "vit.", "model.", "module.vit.", "backbone.encoder_q."])
def test_names_in_memory_and_any_prefix(tmp_path, prefix):
    def respelled(arrays):
        found = {}
        for name, array in arrays.items():
            inner = name.removeprefix("vit.")
            for pattern, new in IN_MEMORY:
                inner = re.sub(pattern, new, inner)
            outer = "module." if prefix.startswith("module.") else ""
            found[(outer if name == inner else prefix) + inner] = array
        return found

    back = read(changed(tmp_path, "vit", respelled))
    assert same_weights(read(goldens.path("transformers/vit")), back)


def test_one_array_under_two_names_is_refused(tmp_path):
    twice = {"vit.layers.0.mlp.fc1.bias": torch.zeros(96)}
    with pytest.raises(CheckpointError, match=r"has both .*, which are one"):
        read(changed(tmp_path, "vit", lambda arrays: arrays | twice))


def test_gated_mlp_under_both_names(tmp_path):
    loaded = model_of(**CASES["registers bare"][1])
    put(loaded, tmp_path / "out")
    arrays, config = parts_of(tmp_path / "out")
    found = {}
    for name, array in arrays.items():
        if "weights_in" in name:
            gate, value = array.chunk(2)
            found |= {name.replace("weights_in", "gate_proj"): gate, name.replace("weights_in", "up_proj"): value}
        else:
            found[name.replace("weights_out", "down_proj")] = array
    assert len(found) > len(arrays)
    assert same_weights(loaded, read(stored(tmp_path / "memory", found, config)))
    assert same_weights(loaded, read(stored(tmp_path / "bare", found), num_heads=3))


def test_shards_halves_and_pickles(tmp_path):
    arrays, config = parts_of(goldens.path("transformers/dinov3_rope"))
    exact = read(goldens.path("transformers/dinov3_rope"))
    folder = stored(tmp_path / "shards", {}, config)
    (folder / "model.safetensors").unlink()
    names, placed = sorted(arrays), {}
    for k, some in enumerate((names[:20], names[20:]), start=1):
        save_file({name: arrays[name] for name in some}, folder / f"model-0000{k}-of-00002.safetensors")
        placed |= {name: f"model-0000{k}-of-00002.safetensors" for name in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    assert same_weights(exact, read(folder))
    (tmp_path / "pickle").mkdir()
    torch.save(arrays, tmp_path / "pickle" / "pytorch_model.bin")
    (tmp_path / "pickle" / "config.json").write_text(json.dumps(config))
    assert same_weights(exact, read(tmp_path / "pickle"))
    halves = read(stored(tmp_path / "half", {name: array.bfloat16() for name, array in arrays.items()}, config))
    assert torch.equal(halves.model.norm.weight, exact.model.norm.weight.bfloat16().float())


def test_without_a_config_the_names_tell_the_family(tmp_path):
    for case in GOLDEN:
        arrays, config = parts_of(goldens.path(case))
        facts = {"num_heads": config["num_attention_heads"], "norm_eps": config["layer_norm_eps"]}
        back, exact = read(stored(tmp_path / "bare", arrays), **facts), read(goldens.path(case))
        assert same_weights(back, exact)
        assert back.model.config.activation == exact.model.config.activation
        assert back.report.assumed["image_size"]
        assert back.classes == (tuple(map(str, range(10))) if exact.classes else ())
    with pytest.raises(CheckpointError, match="how many heads a width of 48"):
        read(stored(tmp_path / "bare", arrays))


def test_whole_pairs_of_picture_and_text(tmp_path):
    arrays, config = parts_of(goldens.path("transformers/siglip_map"))
    text = {"text_model.encoder.layers.0.mlp.fc1.bias": torch.ones(3), "logit_scale": torch.ones(1)}
    whole = {f"vision_model.{name}": array for name, array in arrays.items()} | text
    values = {"model_type": "siglip", "vision_config": config, "text_config": {}, "architectures": ["SiglipModel"]}
    back = read(stored(tmp_path / "pair", whole, values))
    assert same_weights(back, read(goldens.path("transformers/siglip_map")))
    assert {line.source[0]: line.how for line in back.report.lines if line.status == "unused"}.keys() == text.keys()
    values["architectures"] = ["SiglipForImageClassification"]
    whole |= {"classifier.weight": torch.ones(2, 48), "classifier.bias": torch.ones(2)}
    back = read(stored(tmp_path / "pair", whole, values))
    assert back.classes == ("LABEL_0", "LABEL_1") and back.model.config.pool == "mean"
    assert "head.probe" in str([line.source for line in back.report.lines if line.how.startswith("pooling head")])


def test_mae_is_an_encoder(tmp_path):
    loaded = model_of(num_classes=0)
    put(loaded, tmp_path / "out")
    arrays, config = parts_of(tmp_path / "out")
    arrays |= {"decoder.mask_token": torch.ones(1, 1, 8), "decoder.decoder_embed.weight": torch.ones(8, 48)}
    config |= {"model_type": "vit_mae", "architectures": ["ViTMAEForPreTraining"]}
    del config["id2label"], config["label2id"]
    back = read(stored(tmp_path / "mae", arrays, config))
    assert same_weights(loaded, back) and back.classes == ()
    assert back.report.counts["unused"] == 2


def test_deit_with_one_head(tmp_path):
    def one_head(arrays):
        names = {"cls_classifier.weight": "classifier.weight", "cls_classifier.bias": "classifier.bias"}
        return {names.get(name, name): array for name, array in arrays.items() if "distillation_classifier" not in name}

    folder = changed(tmp_path, "deit_distilled", one_head, architectures=["DeiTForImageClassification"])
    one, two = read(folder), read(goldens.path("transformers/deit_distilled"))
    images, seen = torch.from_numpy(goldens.seen("transformers/deit_distilled")["images"]), {}
    with torch.no_grad():
        tokens = two.model.forward_features(images)
        goldens.close(one.model(images, seen), (two.model.head(tokens[:, 0])).numpy())
    goldens.close(seen["encoded"], tokens.numpy())
    assert one.model.config.num_registers == 1 and one.classes == two.classes


def test_pooler(tmp_path):
    pooler = {"pooler.dense.weight": torch.eye(48), "pooler.dense.bias": torch.zeros(48)}
    bare = {"architectures": ["ViTModel"], "id2label": None, "label2id": None}

    def without_head(arrays):
        return {name.removeprefix("vit."): array for name, array in arrays.items() if "classifier" not in name}

    folder = changed(tmp_path, "vit", lambda arrays: without_head(arrays) | pooler, **bare)
    images, seen = torch.from_numpy(goldens.seen("transformers/vit")["images"]), {}
    with torch.no_grad():
        answer = read(folder).model(images, seen)
    assert torch.equal(answer, seen["encoded"][:, 0].tanh())
    plain = read(changed(tmp_path, "vit", without_head, **bare))
    assert plain.model.config.pre_logits == 0
    with pytest.raises(CheckpointError, match="pooler_act 'relu'"):
        read(changed(tmp_path, "vit", lambda arrays: without_head(arrays) | pooler, **bare, pooler_act="relu"))
    named = {f"vit.{name}": array for name, array in pooler.items()}
    unread = read(changed(tmp_path, "vit", lambda arrays: arrays | named))
    assert unread.report.counts["unused"] == 2 and unread.model.config.num_classes == 10


def test_names_of_classes_follow_their_numbers(tmp_path):
    labels = {str(index): f"name {index}" for index in reversed(range(10))}
    assert read(changed(tmp_path, "vit", id2label=labels)).classes[:2] == ("name 0", "name 1")
    assert read(changed(tmp_path, "vit", id2label=None)).classes[3] == "LABEL_3"
    del labels["4"]
    with pytest.raises(CheckpointError, match="a head for 10 classes, its config.json names 9"):
        read(changed(tmp_path, "vit", id2label=labels))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 64}, r"hidden_size 48, its config.json says 64"),
        ({"patch_size": [8, 4]}, r"patch_size \(8, 8\), its config.json says \[8, 4\]"),
        ({"num_channels": 1}, "num_channels 3"),
        ({"intermediate_size": 95}, "intermediate_size 96"),
        ({"image_size": 40}, "has 16 positions"),
        ({"num_hidden_layers": 2}, "num_hidden_layers 3"),
        ({"num_hidden_layers": 4}, "lacks 12 tensors of the model, first blocks.3"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 3"),
        ({"num_attention_heads": 5}, "5 heads do not divide a width of 48"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps nan"),
        ({"model_type": "vitt"}, r"model_type 'vitt'\. Did you mean vit\?"),
        ({"qkv_bias": "yes", "patchwords": {"position_prefix": 3}}, "position_prefix 3"),
        ({"id2label": ["a"]}, "does not describe a model"),
    ],
)
def test_contradictions_are_refused(tmp_path, config, message):
    with pytest.raises(CheckpointError if "heads" not in message else ConfigError, match=message):
        read(changed(tmp_path, "vit", **config))


@pytest.mark.parametrize("case", GOLDEN)
def test_no_single_tensor_may_be_missing(tmp_path, case):
    arrays, config = parts_of(goldens.path(case))
    for name in arrays:
        some = {other: array for other, array in arrays.items() if other != name}
        if "mask_token" in name:
            read(stored(tmp_path / "case", some, config))
            continue
        with pytest.raises(CheckpointError):
            read(stored(tmp_path / "case", some, config))


def test_missing_biases_where_the_library_can_leave_them_out(tmp_path):
    def without(pattern):
        return lambda arrays: {name: array for name, array in arrays.items() if not re.search(pattern, name)}

    qkv = r"(query|key|value)\.bias"
    assert read(changed(tmp_path, "vit", without(qkv), qkv_bias=False)).model.config.qkv_bias == "none"
    assert read(changed(tmp_path, "vit", without(qkv), qkv_bias=None)).model.config.qkv_bias == "none"
    with pytest.raises(CheckpointError, match=r"lacks 3 tensors of the model, first blocks.0.attn.qkv.bias"):
        read(changed(tmp_path, "vit", without(qkv)))
    with pytest.raises(CheckpointError, match="blocks.1.attn.qkv.bias"):
        read(changed(tmp_path, "vit", without(r"layer\.1.*key\.bias"), qkv_bias=None))
    off = {"mlp_bias": False, "proj_bias": False, "query_bias": False, "value_bias": False}
    config = read(changed(tmp_path, "dinov3_rope", without(r"layer\..*_proj\.bias"), **off)).model.config
    assert (config.mlp_bias, config.proj_bias, config.qkv_bias) == (False, False, "none")
    with pytest.raises(CheckpointError, match="lacks"):
        read(changed(tmp_path, "vit", without(r"classifier\.bias")))
    headless = read(changed(tmp_path, "vit", without(r"classifier\.bias")), head_bias=False)
    assert headless.model.head.bias is None


def test_what_transformers_takes_when_config_json_leaves_it_out(tmp_path):
    config = read(changed(tmp_path, "siglip_map", hidden_act=None, layer_norm_eps=None)).model.config
    assert (config.activation, config.norm_eps) == ("gelu_tanh", 1e-6)
    found = read(changed(tmp_path, "vit", num_attention_heads=None), num_heads=3, norm_eps=1e-3)
    assert (found.model.config.num_heads, found.model.config.norm_eps) == (3, 1e-3)
    assert "12 (the default" in read(changed(tmp_path, "vit", num_attention_heads=None)).report.assumed["num_heads"]
    wide = read(changed(tmp_path, "siglip_map", image_size=35))
    assert wide.model.config.image_size == (32, 32) and "leave out the rest" in wide.report.assumed["image_size"]


def test_pixels(tmp_path):
    crop = {"size": {"shortest_edge": 36}, "crop_size": 32, "do_center_crop": True, "resample": 3}
    values = crop | {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    arrays, config = parts_of(goldens.path("transformers/vit"))
    found = read(stored(tmp_path / "case", arrays, config, values)).preprocess
    assert (found.image_size, found.resize, found.crop_fraction) == ((32, 32), "crop", 32 / 36)
    assert (found.mean, found.interpolation) == ((0.4, 0.5, 0.6), "bicubic")
    odd = read(stored(tmp_path / "case", arrays, config, values | {"crop_size": 35}))
    assert odd.preprocess.image_size == (32, 32) and "do not fill" in odd.report.assumed["preprocessing"]
    grey = values | {"image_mean": [0.4], "image_std": [0.2]}
    other = read(stored(tmp_path / "case", arrays, config, grey))
    assert other.preprocess.mean == (0.5, 0.5, 0.5) and "1 channels" in other.report.assumed["preprocessing"]
    assert read(goldens.path("transformers/vit")).preprocess.resize == "squash"
    assert read(goldens.path("transformers/dinov2")).preprocess.mean[0] == 0.485


def test_zeros_that_mean_something_are_told_from_zeros_that_do_not(tmp_path):
    for number, changes in enumerate(({}, CASES["registers"][1], CASES["dinov2"][1], CASES["dinov2 cls"][1])):
        loaded = model_of(**changes)
        with torch.no_grad():
            loaded.model.pos_embed[:, 0] = 0.0
            loaded.model.head.weight[:, :48] = 0.0
        put(loaded, tmp_path / str(number))
        assert same_weights(loaded, read(tmp_path / str(number)))
        arrays, config = parts_of(tmp_path / str(number))
        del config["patchwords"]
        assert not read(stored(tmp_path / f"{number} unmarked", arrays, config)).model.config.position_prefix


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fc_norm": True}, "fc_norm=True"),
        ({"qk_norm": True}, "qk_norm=True"),
        ({"position": "sincos_2d"}, "position=sincos_2d"),
        ({"stem": "conv"}, "stem=conv"),
        ({"pre_logits": 8}, "a hidden layer before the head"),
        ({"activation": "swiglu"}, "a gated MLP"),
        ({"patch_bias": False}, "patch_bias=False"),
        ({"head_bias": False}, "head_bias=False"),
        ({"pool": "mean"}, "pool=mean"),
        ({"num_registers": 4}, "no LayerScale"),
        ({"layer_scale": 0.1, "mlp_dim": 100}, "mlp_dim=100"),
        ({"layer_scale": 0.1, "image_size": (32, 48)}, "a picture of 32x48"),
        ({"class_token": False, "pool": "map"}, "pool=map with a head"),
        ({"class_token": False, "pool": "mean", "image_size": (32, 48)}, "a picture of 32x48"),
        ({**ROPE, "num_classes": 5}, "a head"),
        ({"pre_norm": True}, "a bias of the patch matrix"),
        ({"qkv_bias": "qv", **MEAN, "final_norm": True}, "pool=mean"),
    ],
)
def test_refused_by_name(changes, reason):
    config = ViTConfig(**{"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "num_heads": 3, **changes})
    assert any(why.startswith(reason) for why in FORMAT.refuses(config))
