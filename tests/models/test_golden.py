"""Models of other libraries, with their weights, give their answers (files and outputs in tests/golden)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from patchwords.config import ViTConfig
from patchwords.models import build

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = Path(os.environ.get("PATCHWORDS_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
TINY = {"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "depth": 3, "num_heads": 3, "mlp_dim": 96}
TIMM = {
    "vit_token": {},
    "vit_gap_fcnorm": {"class_token": False, "pool": "mean", "final_norm": False, "fc_norm": True},
    "vit_map_pool": {"class_token": False, "pool": "map"},
    "vit_prenorm_clip": {"pre_norm": True, "patch_bias": False},
    "vit_qknorm_layerscale": {"qk_norm": True, "layer_scale": 0.1},
    "vit_registers": {"num_registers": 4, "position_prefix": False, "layer_scale": 1e-5},
    "deit_distilled": {"distillation_token": True},
}


def tiny(**changes):
    return build(ViTConfig(**{**TINY, "num_classes": 10, **changes})).eval()


def tensors(arrays):
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def close(ours, theirs, scale=1.0):
    ours, theirs = ours.detach().numpy(), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-5 * scale


@pytest.mark.parametrize("name", TIMM)
def test_timm_files_load_without_renaming(name):
    model = tiny(**TIMM[name])
    model.load_state_dict(tensors(load_file(GOLDEN / "timm" / name / "model.safetensors")), strict=True)
    seen = tensors(np.load(GOLDEN / "timm" / name / "io.npz"))
    with torch.no_grad():
        close(model.forward_features(seen["images"]), seen["features"])
        close(model(seen["images"]), seen["logits"])
        close(model(seen["images"], {}), seen["logits"])
        if "resized_images" in seen:
            close(model(seen["resized_images"]), seen["resized_logits"])


def google_weights(files):
    """Return the paper's code's arrays under our names (attention: (D, heads, D_h) to (D, D))."""
    dim = files["Transformer/encoder_norm/scale"].shape[0]
    weights = {
        "patch_embed.proj.weight": files["embedding/kernel"].transpose(3, 2, 0, 1),
        "patch_embed.proj.bias": files["embedding/bias"],
        "pos_embed": files["Transformer/posembed_input/pos_embedding"],
        "norm.weight": files["Transformer/encoder_norm/scale"],
        "norm.bias": files["Transformer/encoder_norm/bias"],
        "head.weight": files["head/kernel"].T,
        "head.bias": files["head/bias"],
    }
    if "cls" in files:
        weights["cls_token"] = files["cls"]
    if "pre_logits/kernel" in files:
        weights["pre_logits.fc.weight"], weights["pre_logits.fc.bias"] = (
            files["pre_logits/kernel"].T,
            files["pre_logits/bias"],
        )
    for i in range(3):
        theirs, ours = f"Transformer/encoderblock_{i}/", f"blocks.{i}."
        attention = theirs + "MultiHeadDotProductAttention_0/"
        parts = [attention + part for part in ("query", "key", "value")]
        weights[ours + "attn.qkv.weight"] = np.concatenate([files[p + "/kernel"].reshape(dim, dim).T for p in parts])
        weights[ours + "attn.qkv.bias"] = np.concatenate([files[p + "/bias"].reshape(dim) for p in parts])
        weights[ours + "attn.proj.weight"] = files[attention + "out/kernel"].reshape(dim, dim).T
        weights[ours + "attn.proj.bias"] = files[attention + "out/bias"]
        for norm, name in (("LayerNorm_0", "norm1"), ("LayerNorm_1", "norm2")):
            weights[f"{ours}{name}.weight"] = files[f"{theirs}{norm}/scale"]
            weights[f"{ours}{name}.bias"] = files[f"{theirs}{norm}/bias"]
        for dense, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            weights[f"{ours}mlp.{name}.weight"] = files[f"{theirs}MlpBlock_0/{dense}/kernel"].T
            weights[f"{ours}mlp.{name}.bias"] = files[f"{theirs}MlpBlock_0/{dense}/bias"]
    return weights


def google_resnet(files):
    """Return the ResNet's arrays under our names."""
    weights = {}
    for name, array in files.items():
        path, kind = name.split("/")[:-1] or [name], name.rpartition("/")[2]
        if path[0] in ("conv_root", "gn_root"):
            place = "stem." + {"conv_root": "conv", "gn_root": "norm"}[path[0]]
        elif path[0].startswith("block"):
            stage, unit, part = int(path[0][5:]) - 1, int(path[1][4:]) - 1, path[2]
            part = {"conv_proj": "downsample.conv", "gn_proj": "downsample.norm"}.get(part, part.replace("gn", "norm"))
            place = f"stages.{stage}.blocks.{unit}.{part}"
        else:
            continue
        array = array.transpose(3, 2, 0, 1) if kind == "kernel" else array
        weights[f"patch_embed.backbone.{place}." + ("bias" if kind == "bias" else "weight")] = array
    return weights


def check_google(folder, **changes):
    files, seen = np.load(folder / "weights.npz"), np.load(folder / "io.npz")
    model = tiny(activation="gelu_tanh", **changes)
    weights = google_weights(files) | google_resnet(files)
    model.load_state_dict(tensors({name: np.ascontiguousarray(array) for name, array in weights.items()}), strict=True)
    record = {}
    images = torch.from_numpy(seen["images_nhwc"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        close(model(images), seen["logits"])
        model(images, record)
    close(record["logits"], seen["logits"])
    close(record["encoded"], seen["encoder_output"])
    for i in range(3):  # tokens reach 10 here, so that float32 alone gives 1e-5
        close(record[f"block{i:02d}/+mlp"], seen[f"block_{i}_output"], np.abs(seen[f"block_{i}_output"]).max())
    if "pre_logits/kernel" not in files:
        close(record["features"], seen["pre_logits"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit_token", {}),
        ("vit_gap", {"pool": "mean", "class_token": False}),
        ("vit_token_representation", {"pre_logits": 24}),
    ],
)
def test_the_papers_code(name, changes):
    check_google(GOLDEN / "google" / name, **changes)


def test_the_papers_hybrid():
    folder = SHARED / "google" / "hybrid_resnet"
    if not folder.exists():
        pytest.skip(f"no {folder}: 8 MB, not kept here; set PATCHWORDS_GOLDEN")
    sizes = {"image_size": (64, 64), "patch_size": (1, 1)}
    check_google(folder, stem="resnet", resnet_depths=(1, 1), resnet_width=2.0, **sizes)


def qkv(files, prefix, kind):
    return np.concatenate([files[f"{prefix}{part}_proj.{kind}"] for part in "qkv"])


def test_dinov3_of_transformers():
    folder = GOLDEN / "transformers" / "dinov3_rope"
    files, seen = load_file(folder / "model.safetensors"), np.load(folder / "io.npz")
    weights = {
        "cls_token": files["embeddings.cls_token"],
        "reg_token": files["embeddings.register_tokens"],
        "patch_embed.proj.weight": files["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": files["embeddings.patch_embeddings.bias"],
        "norm.weight": files["norm.weight"],
        "norm.bias": files["norm.bias"],
    }
    for i in range(3):
        theirs, ours = f"layer.{i}.", f"blocks.{i}."
        weights[ours + "attn.qkv.weight"] = qkv(files, theirs + "attention.", "weight")
        weights[ours + "attn.q_bias"] = files[theirs + "attention.q_proj.bias"]
        weights[ours + "attn.v_bias"] = files[theirs + "attention.v_proj.bias"]
        names = {"attention.o_proj": "attn.proj", "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2"}
        for old, new in (names | {"norm1": "norm1", "norm2": "norm2"}).items():
            for kind in ("weight", "bias"):
                weights[f"{ours}{new}.{kind}"] = files[f"{theirs}{old}.{kind}"]
        for branch in ("1", "2"):
            weights[f"{ours}ls{branch}.gamma"] = files[f"{theirs}layer_scale{branch}.lambda1"]
    options = {"position": "rope", "num_registers": 4, "layer_scale": 1.0, "norm_eps": 1e-5, "qkv_bias": "qv"}
    model = tiny(num_classes=0, **options)
    model.load_state_dict(tensors(weights), strict=True)
    record, images = {}, torch.from_numpy(seen["images"])
    with torch.no_grad():
        close(model.forward_features(images), seen["last_hidden_state"])
        close(model(images), seen["pooler_output"])
        model(images, record)
    for i in range(3):
        close(record[f"block{i:02d}/attn/weights"], seen["attentions"][:, i])


def test_siglip_of_transformers():
    folder = GOLDEN / "transformers" / "siglip_map"
    files, seen = load_file(folder / "model.safetensors"), np.load(folder / "io.npz")
    weights = {
        "patch_embed.proj.weight": files["embeddings.patch_embedding.weight"],
        "patch_embed.proj.bias": files["embeddings.patch_embedding.bias"],
        "pos_embed": files["embeddings.position_embedding.weight"][None],
        "attn_pool.latent": files["head.probe"],
    }
    for kind in ("weight", "bias"):
        both = files[f"head.attention.in_proj_{kind}"]
        weights[f"attn_pool.q.{kind}"], weights[f"attn_pool.kv.{kind}"] = both[:48], both[48:]
        names = {"head.attention.out_proj": "attn_pool.proj", "head.layernorm": "attn_pool.norm"}
        names |= {"post_layernorm": "norm", "head.mlp.fc1": "attn_pool.mlp.fc1", "head.mlp.fc2": "attn_pool.mlp.fc2"}
        for i in range(2):
            theirs, ours = f"encoder.layers.{i}.", f"blocks.{i}."
            weights[f"{ours}attn.qkv.{kind}"] = qkv(files, theirs + "self_attn.", kind)
            names |= {f"{theirs}self_attn.out_proj": f"{ours}attn.proj", f"{theirs}layer_norm1": f"{ours}norm1"}
            names |= {f"{theirs}layer_norm2": f"{ours}norm2"}
            names |= {f"{theirs}mlp.{fc}": f"{ours}mlp.{fc}" for fc in ("fc1", "fc2")}
        for old, new in names.items():
            weights[f"{new}.{kind}"] = files[f"{old}.{kind}"]
    options = {"pool": "map", "class_token": False, "activation": "gelu_tanh"}
    model = tiny(num_classes=0, depth=2, num_heads=4, **options)
    model.load_state_dict(tensors(weights), strict=True)
    with torch.no_grad():
        close(model.forward_features(torch.from_numpy(seen["images"])), seen["last_hidden_state"])
        close(model(torch.from_numpy(seen["images"])), seen["pooler_output"])


def test_every_golden_file_says_where_it_is_from():
    for folder in (GOLDEN / "timm").iterdir():
        assert "timm 1.0.31" in json.loads((folder / "meta.json").read_text())["source"]
