"""Official DINO files: backbones, training checkpoints, the linear head; names as facebookresearch writes them."""

import re

import pytest
import torch

from patchwords.architecture import ViTConfig
from patchwords.errors import CheckpointError, PatchwordsError
from patchwords.formats import dino, timm
from patchwords.formats.read import UnaccountedError, read_foreign
from patchwords.models import build

TINY = {"image_size": (32, 32), "patch_size": (8, 8), "num_classes": 0, "dim": 48, "depth": 3}
TINY |= {"num_heads": 3, "mlp_dim": 96}
FIRST = {"position_resize": "dinov2"}
SECOND = FIRST | {"layer_scale": 1e-5}
REGISTERS = SECOND | {"num_registers": 4, "position_resize": "timm"}
THIRD = {"layer_scale": 1e-5, "position": "rope", "num_registers": 4, "norm_eps": 1e-5, "qkv_bias": "qv"}
GATED = {"activation": "swiglu"}


def made(**changes):
    torch.manual_seed(0)
    model = build(ViTConfig(**(TINY | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model


def second(model):
    """Return a model's weights under DINOv2's names."""
    renamed = {"reg_token": "register_tokens", ".fc1.": ".w12.", ".fc2.": ".w3."}
    gated = model.config.activation == "swiglu"
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs) if gated or ours == "reg_token" else name
        weights[name] = tensor
    return weights | {"mask_token": torch.zeros(1, model.config.dim)}


def third(model, base=100.0):
    """Return a model's weights under DINOv3's names: the bias of k is there, and masked."""
    dim, steps, weights = model.config.dim, model.config.head_dim // 4, {}
    for name, tensor in model.state_dict().items():
        if name.endswith("q_bias"):
            other = model.state_dict()[name.replace("q_bias", "v_bias")]
            bias = name.replace("q_bias", "qkv.bias")
            weights[bias] = torch.cat([tensor, torch.randn(dim), other])
            weights[bias + "_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(dim)
        elif ".mlp.fc1." in name and model.config.activation == "swiglu":
            weights[name.replace("fc1", "w1")], weights[name.replace("fc1", "w2")] = tensor.chunk(2)
        elif ".mlp.fc2." in name and model.config.activation == "swiglu":
            weights[name.replace("fc2", "w3")] = tensor
        elif not name.endswith("v_bias"):
            weights[name.replace("reg_token", "storage_tokens")] = tensor
    periods = base ** (2 * torch.arange(steps) / (2 * steps))
    weights |= {"mask_token": torch.zeros(1, 1, dim), "rope_embed.periods": periods.bfloat16()}
    return weights | {"local_cls_norm.weight": torch.ones(dim), "local_cls_norm.bias": torch.zeros(dim)}


def read(path, unused=(), part="", **facts):
    return read_foreign(path, [dino.FORMAT, timm.FORMAT], {"num_heads": 3} | facts, (), unused, part)


def saved(tmp_path, weights, name="x.pth"):
    torch.save(weights, tmp_path / name)
    return tmp_path / name


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("changes", [SECOND, REGISTERS, SECOND | GATED, REGISTERS | GATED])
def test_dinov2(changes, tmp_path):
    model = made(**changes)
    loaded = read(saved(tmp_path, second(model)))
    assert loaded.report.format == "dino"
    assert loaded.model.config == model.config
    assert equal(loaded.model, model)
    assert [(line.source, bool(line.how)) for line in loaded.report.lines if line.status == "unused"] == [
        (("mask_token",), True)
    ]
    assert loaded.preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("changes", [THIRD, THIRD | GATED, THIRD | {"qkv_bias": "none"}])
def test_dinov3(changes, tmp_path):
    model = made(**changes)
    loaded = read(saved(tmp_path, third(model)), image_size=(32, 32))
    assert loaded.model.config == model.config
    assert equal(loaded.model, model)
    how = {line.how for line in loaded.report.lines if line.name.endswith("q_bias")}
    assert how == ({"taken out of q, k, v; k's is masked"} if changes["qkv_bias"] == "qv" else set())


def test_the_base_of_the_rotations_is_read(tmp_path):
    model = made(**THIRD, dim=192, rope_base=10_000.0)
    loaded = read(saved(tmp_path, third(model, 10_000.0)), image_size=(32, 32))
    assert loaded.model.config.rope_base == pytest.approx(10_000, rel=0.02)
    weights = third(model)
    weights["rope_embed.periods"] = torch.linspace(1, 3, 16)
    with pytest.raises(CheckpointError, match="periods"):
        read(saved(tmp_path, weights))


def test_another_mask_is_refused(tmp_path):
    weights = third(made(**THIRD))
    weights["blocks.1.attn.qkv.bias_mask"] = torch.ones(3 * 48)
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.qkv\.bias_mask"):
        read(saved(tmp_path, weights))


def test_chunks_of_a_training_file_and_its_teacher(tmp_path):
    model = made(**SECOND)
    chunked = {re.sub(r"^blocks\.(\d)\.", r"blocks.0.\1.", name): tensor for name, tensor in second(model).items()}
    other = second(made(**SECOND, dim=24))
    held = {f"student.backbone.{name}": tensor for name, tensor in other.items()}
    held |= {f"teacher.backbone.{name}": tensor for name, tensor in chunked.items()}
    held |= {
        "teacher.dino_head.mlp.0.weight": torch.ones(2, 48),
        "teacher.dino_head.last_layer.weight_v": torch.ones(2, 2),
    }
    held |= {"dino_loss.center": torch.zeros(1, 2)}
    loaded = read(saved(tmp_path, {"model": held, "iteration": 7}))
    assert equal(loaded.model, model)
    assert all(line.how for line in loaded.report.lines if line.status == "unused")


def test_dino_v1_backbone_and_checkpoint(tmp_path):
    model = made(**FIRST)
    bare = read(saved(tmp_path, model.state_dict(), "dino_deitsmall8_pretrain.pth"))
    assert (bare.report.format, bare.model.config.position_resize) == ("dino", "dinov2")
    teacher = {f"module.backbone.{name}": tensor for name, tensor in model.state_dict().items()}
    teacher |= {"module.head.mlp.0.weight": torch.ones(2, 48), "module.head.last_layer.weight_g": torch.ones(2, 1)}
    student = {name: torch.zeros_like(tensor) for name, tensor in teacher.items()}
    whole = read(saved(tmp_path, {"student": student, "teacher": teacher, "epoch": 3}))
    assert equal(whole.model, model) and equal(bare.model, model)
    assert whole.report.assumed["part"] == "teacher"


def test_without_its_name_a_v1_backbone_is_taken_for_timms(tmp_path):
    loaded = read(saved(tmp_path, made(**FIRST).state_dict(), "backbone.pth"))
    assert (loaded.report.format, loaded.model.config.position_resize) == ("timm", "timm")


def test_linear_head(tmp_path):
    model = made(**SECOND, num_classes=7, pool="cls+mean")
    weights = {f"backbone.{name}": tensor for name, tensor in second(model).items() if "head" not in name}
    head = {"linear_head.weight": model.head.weight.detach(), "linear_head.bias": model.head.bias.detach()}
    loaded = read(saved(tmp_path, weights | head))
    assert loaded.model.config == model.config and equal(loaded.model, model)
    head["linear_head.weight"] = torch.zeros(7, 5 * 48)
    with pytest.raises(CheckpointError, match="several blocks"):
        read(saved(tmp_path, weights | head))


def test_rectangles(tmp_path):
    model = made(**REGISTERS, image_size=(16, 48))
    assert equal(read(saved(tmp_path, second(model)), grid=(2, 6)).model, model)
    with pytest.raises(CheckpointError, match="grid"):
        read(saved(tmp_path, second(model)))


@pytest.mark.parametrize("case", [second, third])
def test_each_lost_array_is_missed(case, tmp_path):
    weights = case(made(**(REGISTERS if case is second else THIRD)))
    spare = ("mask_token", "local_cls_norm", "rope_embed", "bias_mask", "register_tokens", "storage_tokens")
    for name in weights:
        if not name.startswith("blocks.0") and not any(word in name for word in spare):
            with pytest.raises(PatchwordsError):
                read(saved(tmp_path, {other: tensor for other, tensor in weights.items() if other != name}))


def test_a_third_model_without_registers_is_remarked_on(tmp_path):
    weights = {name: tensor for name, tensor in third(made(**THIRD)).items() if name != "storage_tokens"}
    assert "no storage_tokens" in read(saved(tmp_path, weights)).report.assumed["num_registers"]


def test_what_is_not_known_is_named(tmp_path):
    weights = second(made(**SECOND)) | {"something.weight": torch.zeros(2)}
    with pytest.raises(UnaccountedError, match=r"something\.weight"):
        read(saved(tmp_path, weights))
    assert read(saved(tmp_path, weights), unused=["something.*"]).report.counts["unused"] == 2
