"""Models by name: sizes, spelling, and what a wrong name or option says."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from patchwords.cost import cost_of
from patchwords.errors import ConfigError
from patchwords.models import build_empty, create_model, list_models, model_config

PARAMETERS = {  # millions, with 1000 classes and without head
    "vit_base_patch16_224": (86.57, 85.80),
    "vit_base_patch32_224": (88.22, 87.46),
    "vit_large_patch16_224": (304.33, 303.30),
    "vit_large_patch32_224": (306.54, 305.51),
    "vit_huge_patch14_224": (632.05, 630.76),
    "vit_small_patch16_224": (22.05, 21.67),
    "vit_tiny_patch16_224": (5.72, 5.52),
    "vit_base_r50_s16_224": (98.66, 97.89),
    "deit_base_distilled_patch16_224": (87.34, 85.80),
    "beit_base_patch16_224": (86.53, 85.76),
    "vit_giant_patch14_dinov2": (1136.48, 1136.48),
}

PREDECESSORS = ("cnn", "hybrid", "mlp", "mixer", "local", "axial", "lstm", "bilstm", "bag", "nopos")


def on_meta(name):
    return build_empty(model_config(name))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    whole, body = PARAMETERS[name]
    counts = {key: parameter.numel() / 1e6 for key, parameter in on_meta(name).named_parameters()}
    assert sum(counts.values()) == pytest.approx(whole, abs=0.005)
    assert sum(n for key, n in counts.items() if not key.startswith("head")) == pytest.approx(body, abs=0.005)


def test_base_16_to_the_last_number():
    assert sum(p.numel() for p in on_meta("vit_base_patch16_224").parameters()) == 86_567_656


@pytest.mark.parametrize("name", list_models())
def test_every_preset_is_a_possible_model(name):
    config = model_config(name)
    assert all(
        cells * cell == size for cells, cell, size in zip(config.grid, config.cell_size, config.image_size, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_preset_answers_at_full_size(name):
    config, model = model_config(name), on_meta(name).eval()
    assert model.config == config
    images = torch.empty(1, config.in_channels, *config.image_size, device="meta")
    assert model(images).shape == (1, config.num_classes or model.num_features)


@pytest.mark.parametrize("size", ["tiny", "micro", "nano"])
@pytest.mark.parametrize("kind", PREDECESSORS)
def test_predecessors_have_the_size_of_a_vit(kind, size):
    """Within 5 % of its parameters, or of its operations; tests/cost counts operations by running models."""
    wanted = cost_of(model_config(f"vit_{size}_patch4_32"))
    for match, of in (("params", "parameters"), ("flops", "flops")):
        config = model_config(f"{kind}_{size}_{match}_32")
        assert getattr(cost_of(config), of) == pytest.approx(getattr(wanted, of), rel=0.05)
        assert (config.image_size, config.in_channels, config.num_classes) == ((32, 32), 3, 10)


def test_predecessors_are_what_their_names_say():
    kinds = {kind: model_config(f"{kind}_tiny_params_32") for kind in PREDECESSORS}
    of_kind = {"cnn": "cnn", "mlp": "mlp", "mixer": "mixer", "lstm": "lstm", "bilstm": "lstm", "bag": "bag"}
    assert {name: config.kind for name, config in kinds.items()} == dict.fromkeys(PREDECESSORS, "vit") | of_kind
    assert kinds["bilstm"].bidirectional and not kinds["lstm"].bidirectional
    assert kinds["hybrid"].stem == "resnet" and kinds["hybrid"].grid == (8, 8)
    assert [kinds[name].attention for name in ("local", "axial", "nopos")] == ["local", "axial", "global"]
    assert kinds["nopos"].position == "none"


@pytest.mark.parametrize(("kind", "size"), [(kind, "micro") for kind in PREDECESSORS] + [("cnn", "tiny")])
def test_operations_are_counted_as_torch_counts_them(kind, size):
    """On the meta device an LSTM is computed step by step, so that torch sees inside it."""
    name = f"{kind}_{size}_flops_32"
    model, images = on_meta(name).eval(), torch.empty(1, 3, 32, 32, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert counter.get_total_flops() == pytest.approx(cost_of(model.config).flops, rel=0.05)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("vit_base_r50_s16_224", 196), ("vit_large_r50_s32_224", 49), ("vit_base_patch16_384", 576)],
)
def test_token_counts_of_the_paper(name, tokens):
    rows, columns = model_config(name).grid
    assert rows * columns == tokens


def test_facts_of_the_data_take_the_place_of_the_presets():
    config = model_config("vit_digits", image_size=(12, 8), in_channels=3, num_classes=4, pool="mean", dropout=0.1)
    assert (config.image_size, config.in_channels, config.num_classes) == ((12, 8), 3, 4)
    assert (config.pool, config.dropout, config.dim) == ("mean", 0.1, 64)
    assert model_config("vit_tiny_patch4_32", image_size=64).grid == (16, 16)


def test_list_models_filters():
    assert list_models("vit_digits") == ["vit_digits"]
    assert "vit_tiny_patch4_32" in list_models("*_32")
    assert list_models() == sorted(list_models("*")) and not list_models("resnet*")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("vit_tiny_patch4_23", {}, "Did you mean vit_tiny_patch4_32"),
        ("vit_digits", {"polo": "mean"}, "Did you mean pool?"),
        ("vit_digits", {"pool": "max"}, "model.pool: 'max' is not a choice"),
        ("vit_digits", {"dim": "64"}, "model.dim: '64' is not of type int"),
        ("vit_digits", {"dim": True}, "model.dim: True is not of type int"),
        ("vit_digits", {"dim": 65}, "4 heads do not divide a width of 65"),
        ("vit_digits", {"image_size": 9}, "cannot be cut into patches of 2"),
        ("vit_digits", {"image_size": 1}, "smaller than a patch"),
        ("vit_digits", {"image_size": 0}, "0x0"),
        ("vit_digits", {"num_classes": -1}, "model.num_classes"),
        ("vit_tiny_patch4_32", {"class_token": False}, "needs the class token"),
        ("vit_digits", {"position": "rope", "num_heads": 32}, "divisible by 4"),
        ("vit_digits", {"position": "sincos_2d", "dim": 6, "num_heads": 1}, "divisible by 4"),
        ("vit_digits", {"distillation_token": True, "pool": "mean"}, "needs pool=cls"),
        ("vit_digits", {"stem": "conv", "patch_size": 1}, "must be even"),
        ("vit_digits", {"layer_scale": -1.0}, "model.layer_scale"),
        ("mixer_tiny_params_32", {"num_heads": 3}, "model.num_heads"),
        ("cnn_tiny_params_32", {"image_size": 30}, "cannot be halved"),
        ("vit_base_r50_s16_224", {"image_size": 230}, "that 16 divides"),
        ("vit_base_r50_s16_224", {"resnet_width": 0.3}, "multiple of 0.5"),
        ("vit_base_r50_s16_224", {"resnet_depths": ()}, "model.resnet_depths"),
        ("vit_local_convpool_patch8_32", {"stem_widths": (64, 256)}, "model.stem_widths"),
    ],
)
def test_bad_names_and_options_say_what_to_do(name, options, says):
    with pytest.raises(ConfigError) as caught:
        model_config(name, **options)
    assert says in caught.value.line() and "\n" not in caught.value.line()


@pytest.mark.parametrize("size", [(2, 3, 8, 9), (2, 3, 7, 8), (2, 3, 0, 8), (2, 1, 8, 8), (2, 3, 1, 1), (3, 8, 8)])
def test_pictures_the_model_cannot_read(size):
    model = create_model("vit_digits", in_channels=3)
    with pytest.raises(ConfigError) as caught:
        model(torch.zeros(size))
    assert "\n" not in caught.value.line()


def test_names_cost_no_torch():
    code = "import sys, patchwords.models as m; m.model_config('vit_digits'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
