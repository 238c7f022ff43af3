"""The library itself: it loads what we write, with no missing or unexpected name, and answers the same; and back."""

import json

import pytest
import torch

import patchwords as pw
from patchwords.formats.transformers import FORMAT
from patchwords.formats.write import write

from . import goldens
from .transformers_cases import CASES, images_for, model_of, put, read, same_weights

there = pytest.importorskip("transformers", reason="transformers is not installed")
there.logging.set_verbosity_error()
there.logging.disable_progress_bar()

QUICK = (
    "vit rectangle",
    "vit pooler",
    "deit",
    "dinov2 gated",
    "registers unplaced",
    "dinov3",
    "siglip",
    "clip",
    "beit",
)
SIZES = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
DINOV2 = {**SIZES, "mlp_ratio": 2}
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50,
    "max_position_embeddings": 8, "projection_dim": 16,
}  # fmt: skip
PAIR = {"vision_config": {**SIZES, "projection_dim": 16}, "text_config": TEXT, "projection_dim": 16}
RELATIVE = {**SIZES, "drop_path_rate": 0.0}
THEIRS = {
    "vit": ("ViTForImageClassification", {**SIZES, "num_labels": 7}),
    "vit rectangle": ("ViTForImageClassification", {**SIZES, "image_size": [32, 64], "qkv_bias": False}),
    "vit grey": ("ViTModel", {**SIZES, "patch_size": [8, 4], "num_channels": 1, "hidden_act": "gelu_new"}),
    "vit hidden patches": ("ViTForMaskedImageModeling", {**SIZES, "encoder_stride": 8}),
    "msn": ("ViTMSNForImageClassification", {**SIZES, "num_labels": 7}),
    "deit": ("DeiTForImageClassification", {**SIZES, "num_labels": 7}),
    "deit teacher": ("DeiTForImageClassificationWithTeacher", {**SIZES, "image_size": [48, 32], "num_labels": 7}),
    "deit bare": ("DeiTModel", SIZES),
    "dinov2": ("Dinov2ForImageClassification", {**DINOV2, "num_labels": 7}),
    "dinov2 gated": ("Dinov2Model", {**DINOV2, "use_swiglu_ffn": True, "qkv_bias": False}),
    "dinov2 maps": ("Dinov2Backbone", {**DINOV2, "use_mask_token": False}),
    "registers": ("Dinov2WithRegistersForImageClassification", {**DINOV2, "num_labels": 7}),
    "registers gated": ("Dinov2WithRegistersModel", {**DINOV2, "num_register_tokens": 2, "use_swiglu_ffn": True}),
    "dinov3": ("DINOv3ViTModel", {**SIZES, "num_register_tokens": 4, "image_size": [32, 48]}),
    "dinov3 k bias": ("DINOv3ViTModel", {**SIZES, "key_bias": True, "rope_theta": 30.0}),
    "dinov3 gated": (
        "DINOv3ViTModel",
        {**SIZES, "use_gated_mlp": True, "hidden_act": "silu", "query_bias": False, "value_bias": False,
         "mlp_bias": False, "proj_bias": False},
    ),
    "siglip": ("SiglipVisionModel", {**SIZES, "image_size": 35}),
    "siglip bare": ("SiglipVisionModel", {**SIZES, "vision_use_head": False}),
    "siglip pair": ("SiglipModel", PAIR),
    "siglip classes": ("SiglipForImageClassification", {**PAIR, "num_labels": 7}),
    "clip": ("CLIPVisionModelWithProjection", {**SIZES, "projection_dim": 16}),
    "clip pair": ("CLIPModel", PAIR),
    "clip classes": ("CLIPForImageClassification", {**PAIR, "num_labels": 7}),
    "beit": ("BeitForImageClassification", {**RELATIVE, "use_relative_position_bias": True, "num_labels": 7}),
    "beit shared": ("BeitModel", {**RELATIVE, "use_shared_relative_position_bias": True, "use_mean_pooling": False}),
    "beit table": ("BeitModel", {**SIZES, "use_absolute_position_embeddings": True, "layer_scale_init_value": 0.0}),
    "mae": ("ViTMAEModel", {**SIZES, "mask_ratio": 0.0}),
    "mae whole": (
        "ViTMAEForPreTraining",
        {**SIZES, "mask_ratio": 0.0, "decoder_hidden_size": 32, "decoder_num_hidden_layers": 1,
         "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32},
    ),
}  # fmt: skip
"""case -> (class, its config)"""


def cases(names, quick):
    """Return the names as parameters; those that are not quick are marked slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def loaded_there(folder):
    """Return the model that the library makes of a folder, and what it says of the names."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    if name.endswith("WithProjection"):
        auto = getattr(there, name)
    else:
        auto = there.AutoModelForImageClassification if "Classification" in name else there.AutoModel
    model, info = auto.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert type(model).__name__ == name
    assert not any(info.values()), info
    return model.eval()


def answer_of(output):
    """Return what the model of ours answers with: logits, embedding, pooled vector, or the mean of the tokens."""
    for name in ("logits", "image_embeds", "pooler_output"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    return output.last_hidden_state.mean(dim=1)


@pytest.mark.parametrize("case", cases(CASES, QUICK))
def test_it_loads_ours_and_we_load_what_it_saves(tmp_path, case):
    loaded = model_of(**CASES[case][1])
    put(loaded, tmp_path / "ours")
    model, images = loaded_there(tmp_path / "ours"), images_for(loaded)
    with torch.no_grad():
        goldens.close(loaded.model(images), answer_of(model(images)).numpy())
    model.save_pretrained(tmp_path / "theirs")
    assert same_weights(loaded, read(tmp_path / "theirs"))


OTHERS = ["timm/vit_token", "timm/vit_registers", "timm/deit_distilled", "torchvision/vit", "google/vit_gap"]
GOLDEN = [name for name in goldens.PATHS if name.startswith("transformers/")] + OTHERS


@pytest.mark.parametrize("case", cases(GOLDEN, ("transformers/vit", "timm/vit_registers")))
def test_it_answers_as_the_first_library_did(tmp_path, case):
    seen = goldens.seen(case)
    write(pw.load(goldens.path(case), **goldens.SAID.get(case, {})), tmp_path / "out", "transformers", [FORMAT])
    with torch.no_grad():
        output = loaded_there(tmp_path / "out")(torch.from_numpy(seen["images"]))
    goldens.close(answer_of(output), seen["logits"] if "logits" in seen else seen["pooler_output"])


def made_there(case):
    """Return a new model of the library, its weights drawn wide enough to tell apart what belongs to what."""
    name, values = THEIRS[case]
    kind = getattr(there, name)
    config = kind.config_class(**values)
    config._attn_implementation = "eager"
    if hasattr(config, "vision_config"):
        config.vision_config._attn_implementation = "eager"
    torch.manual_seed(3)
    model = kind(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                scale = ("norm" in key and key.endswith("weight")) or "lambda" in key
                parameter.copy_(torch.randn_like(parameter) * 0.1 + scale)
    return model


def seen_there(case, model, images):
    """Return the answer (None: a decoder's), hidden states, attention and encoded tokens of the library's model."""
    options = {"output_hidden_states": True, "output_attentions": True}
    if "mae" in case:
        count = images.shape[2] // 8 * (images.shape[3] // 8)
        options["noise"] = torch.arange(count).float().expand(len(images), -1)
    inner = {
        "mae whole": "vit",
        "vit hidden patches": "vit",
        "siglip pair": "vision_model",
        "clip pair": "vision_model",
    }
    output = getattr(model, inner[case])(images, **options) if case in inner else model(images, **options)
    projected = getattr(model, "visual_projection", None)
    answer = projected(output.pooler_output) if case == "clip pair" else None
    if case != "clip pair" and not hasattr(output, "feature_maps") and (case != "vit hidden patches"):
        answer = output.last_hidden_state[:, 0] if "mae" in case else answer_of(output)
    return answer, output


@pytest.mark.parametrize("case", cases(THEIRS, ("vit grey", "deit", "dinov3 gated", "clip pair", "beit shared")))
def test_we_load_theirs(tmp_path, case):
    model = made_there(case)
    vision = getattr(model.config, "vision_config", model.config)
    size = vision.image_size if isinstance(vision.image_size, list | tuple) else (vision.image_size,) * 2
    images = torch.randn(2, vision.num_channels, *size)
    model.save_pretrained(tmp_path / "disk")
    model.save_pretrained(tmp_path / "shards", max_shard_size="40kB")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "config.json").write_text((tmp_path / "disk" / "config.json").read_text())
    torch.save(model.state_dict(), tmp_path / "memory" / "pytorch_model.bin")
    found, record = read(tmp_path / "disk"), {}
    assert same_weights(found, read(tmp_path / "shards"))
    assert same_weights(found, read(tmp_path / "memory"))
    with torch.no_grad():
        answer, output = seen_there(case, model, images)
        ours = found.model(images[..., : size[0] // 8 * 8, : size[1] // 8 * 8], record)
    if answer is not None:
        goldens.close(ours, answer.numpy(), answer.abs().max())
    states = [record["embed"], *(record[f"block{i:02d}/+mlp"] for i in range(2))]
    for own, state in zip(states, output.hidden_states, strict=True):
        goldens.close(own, state.numpy(), state.abs().max())
    for i, weights in enumerate(output.attentions):
        goldens.close(record[f"block{i:02d}/attn/weights"], weights.numpy())


@pytest.mark.parametrize(
    "case", cases(["vit", "deit teacher", "dinov2", "registers", "siglip", "clip", "mae"], ("registers",))
)
def test_other_sizes_by_the_rule_of_the_library(tmp_path, case):
    name, values = THEIRS[case]
    config = getattr(there, name).config_class(**{**values, "image_size": 32})
    torch.manual_seed(4)
    model, images = getattr(there, name)(config).eval(), torch.randn(2, 3, 48, 40)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "position" in key and "mae" not in case:
                parameter.normal_()
    model.save_pretrained(tmp_path / "out")
    options = {} if case in ("dinov2", "registers") else {"interpolate_pos_encoding": True}
    if case == "mae":
        options["noise"] = torch.arange(30).float().expand(2, -1)
    found, record = read(tmp_path / "out"), {}
    with torch.no_grad():
        output, ours = model(images, **options), found.model(images, record)
    if case == "mae":
        goldens.close(record["encoded"], output.last_hidden_state.numpy(), 5.0)
    else:
        goldens.close(ours, answer_of(output).numpy())


def test_it_prepares_pictures_as_we_do(tmp_path):
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(90), indexing="ij")
    picture = torch.stack([rows * 4, columns * 2, rows + columns], dim=-1).to(torch.uint8).numpy()
    png = pytest.importorskip("PIL.Image").fromarray(picture)
    png.save(tmp_path / "picture.png")
    for number, changes in enumerate(({}, CASES["dinov2"][1])):
        loaded = model_of(**changes)
        put(loaded, tmp_path / str(number))
        prepared = there.AutoImageProcessor.from_pretrained(tmp_path / str(number))(png, return_tensors="pt")
        pixels = loaded.preprocess.pixels((tmp_path / "picture.png").read_bytes())
        levels = (prepared["pixel_values"][0] - loaded.preprocess.normalize(pixels[None])[0]).abs() * 127.5
        assert levels.max() < 2.01
