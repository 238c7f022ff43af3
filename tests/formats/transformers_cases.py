"""Models that transformers has a class for, by that class's name, and the same weights in a folder of it."""

import torch

from patchwords.checkpoint import LoadedModel
from patchwords.config import ViTConfig
from patchwords.formats.read import read_foreign
from patchwords.formats.transformers import FORMAT
from patchwords.formats.write import write
from patchwords.models import build
from patchwords.preprocess import Preprocess

TINY = {"image_size": (32, 32), "patch_size": (8, 8), "dim": 48, "depth": 2, "num_heads": 3, "mlp_dim": 96}
ROPE = {"position": "rope", "layer_scale": 1.0, "num_classes": 0, "norm_eps": 1e-5}
CLIP = {"pre_norm": True, "patch_bias": False, "activation": "quick_gelu", "norm_eps": 1e-5}
BEIT = {"position": "relative", "qkv_bias": "qv", "layer_scale": 0.1}
MEAN = {"pool": "mean", "fc_norm": True, "final_norm": False}
CASES = {
    "vit": ("ViTForImageClassification", {}),
    "vit bare": ("ViTForImageClassification", {"num_classes": 0}),
    "vit pooler": ("ViTModel", {"num_classes": 0, "pre_logits": 24}),
    "vit rectangle": ("ViTForImageClassification", {"image_size": (32, 48)}),
    "vit flat patches": ("ViTForImageClassification", {"patch_size": (8, 4), "in_channels": 1}),
    "vit without qkv bias": ("ViTForImageClassification", {"qkv_bias": "none", "activation": "quick_gelu"}),
    "vit tanh": ("ViTForImageClassification", {"activation": "gelu_tanh", "norm_eps": 1e-4}),
    "vit unplaced": ("ViTForImageClassification", {"position_prefix": False}),
    "deit": ("DeiTForImageClassificationWithTeacher", {"distillation_token": True, "image_size": (48, 32)}),
    "deit unplaced": ("DeiTForImageClassificationWithTeacher", {"distillation_token": True, "position_prefix": False}),
    "deit one head": ("DeiTForImageClassification", {"num_registers": 1}),
    "deit bare": ("DeiTForImageClassification", {"distillation_token": True, "num_classes": 0}),
    "deit pooler": ("DeiTModel", {"distillation_token": True, "num_classes": 0, "pre_logits": 48}),
    "dinov2": ("Dinov2ForImageClassification", {"layer_scale": 0.1, "pool": "cls+mean"}),
    "dinov2 cls": ("Dinov2ForImageClassification", {"layer_scale": 0.1, "qkv_bias": "none"}),
    "dinov2 mean": ("Dinov2ForImageClassification", {"layer_scale": 0.1, "pool": "mean", "position_prefix": False}),
    "dinov2 bare": ("Dinov2Model", {"layer_scale": 0.1, "num_classes": 0, "patch_size": (8, 8)}),
    "dinov2 features": ("Dinov2ForImageClassification", {"layer_scale": 0.1, "num_classes": 0, "pool": "cls+mean"}),
    "dinov2 gated": ("Dinov2ForImageClassification", {"layer_scale": 0.1, "activation": "swiglu", "mlp_dim": 128}),
    "dinov2 wide": (
        "Dinov2Model", {"layer_scale": 1.0, "num_classes": 0, "image_size": (32, 64), "patch_size": (8, 16)}
    ),
    "registers": (
        "Dinov2WithRegistersForImageClassification", {"layer_scale": 0.1, "num_registers": 4, "pool": "cls+mean"}
    ),
    "registers unplaced": (
        "Dinov2WithRegistersForImageClassification",
        {"layer_scale": 0.1, "num_registers": 4, "position_prefix": False},
    ),
    "registers bare": (
        "Dinov2WithRegistersModel",
        {"layer_scale": 0.1, "num_registers": 2, "num_classes": 0, "activation": "swiglu", "mlp_dim": 128},
    ),
    "dinov3": ("DINOv3ViTModel", {**ROPE, "num_registers": 4, "qkv_bias": "qv", "image_size": (32, 48)}),
    "dinov3 k bias": ("DINOv3ViTModel", {**ROPE, "rope_base": 50.0}),
    "dinov3 gated": (
        "DINOv3ViTModel", {**ROPE, "num_registers": 1, "qkv_bias": "none", "activation": "swiglu", "mlp_dim": 80}
    ),
    "dinov3 no bias": ("DINOv3ViTModel", {**ROPE, "qkv_bias": "qv", "proj_bias": False, "mlp_bias": False}),
    "siglip": (
        "SiglipVisionModel", {"class_token": False, "pool": "map", "num_classes": 0, "activation": "gelu_tanh"}
    ),
    "siglip classes": ("SiglipForImageClassification", {"class_token": False, "pool": "mean"}),
    "siglip bare": ("SiglipVisionModel", {"class_token": False, "pool": "mean", "num_classes": 0}),
    "clip": ("CLIPVisionModel", {**CLIP, "num_classes": 0}),
    "clip projection": ("CLIPVisionModelWithProjection", {**CLIP, "head_bias": False, "position_prefix": False}),
    "clip classes": ("CLIPForImageClassification", {**CLIP, "pool": "mean", "final_norm": False}),
    "beit": ("BeitForImageClassification", {**BEIT, **MEAN}),
    "beit cls": ("BeitForImageClassification", {**BEIT, "layer_scale": 0.0}),
    "beit table": ("BeitModel", {**BEIT, **MEAN, "position": "learned", "num_classes": 0}),
}  # fmt: skip
"""case -> (class there, changes to TINY)"""


def model_of(**changes) -> LoadedModel:
    """Return a tiny model with weights that tell apart what belongs to what."""
    torch.manual_seed(1)
    config = ViTConfig(**{**TINY, "num_classes": 10, **changes})
    model = build(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = "gamma" in name or ("norm" in name and name.endswith("weight"))
            parameter.copy_(torch.randn_like(parameter) * 0.2 + scale)
    half, channels = (0.5,) * config.in_channels, config.in_channels
    pixels = Preprocess(image_size=config.image_size, channels=channels, mean=half, std=half)
    named = tuple(f"class {index}" for index in range(config.num_classes))
    return LoadedModel(model, named, pixels, {})


def images_for(loaded: LoadedModel) -> torch.Tensor:
    """Return two pictures of noise."""
    config = loaded.model.config
    return torch.randn(2, config.in_channels, *config.image_size, generator=torch.Generator().manual_seed(2))


def put(loaded: LoadedModel, out) -> None:
    """Write a folder of transformers."""
    write(loaded, out, "transformers", [FORMAT])


def read(path, new=(), unused=(), **facts) -> LoadedModel:
    """Read a folder or file of transformers."""
    return read_foreign(path, [FORMAT], facts, new, unused, "")


def same_weights(one: LoadedModel, other: LoadedModel) -> bool:
    """Return whether both have the same parameters, bit for bit."""
    a, b = one.model.state_dict(), other.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
