"""What no other library's files can say: models that are not ViTs, and attention to less than everything."""

import re

import pytest
import torch

from patchwords import formats
from patchwords.architecture import BagConfig, LSTMConfig, ViTConfig
from patchwords.checkpoint import LoadedModel, load_model
from patchwords.errors import ConfigError
from patchwords.models import build
from patchwords.preprocess import Preprocess

SIZES = {"image_size": (8, 8), "patch_size": (4, 4), "dim": 16, "depth": 1, "num_classes": 2}
VIT = SIZES | {"num_heads": 2, "mlp_dim": 24}
CASES = [
    (ViTConfig(**VIT, attention="local"), "attention=local"),
    (ViTConfig(**VIT, attention="axial"), "attention=axial"),
    (LSTMConfig(**SIZES, hidden_dim=8), "kind=lstm (LSTM)"),
    (BagConfig(**SIZES, mlp_dim=24), "kind=bag (bag of patches)"),
]


def loaded(config) -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(build(config).eval(), ("a", "b"), Preprocess(image_size=(8, 8)), {})


@pytest.mark.parametrize(("config", "reason"), CASES, ids=[reason for _, reason in CASES])
@pytest.mark.parametrize("to", [format.name for format in formats.all_formats() if format.refuses])
def test_is_refused_by_name_in_every_format(config, reason, to, tmp_path):
    what = rf"cannot be written as {to}, which has no word for {re.escape(reason)}\. Choose patchwords"
    with pytest.raises(ConfigError, match=what):
        formats.convert(loaded(config), tmp_path / "out", to)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("config", "reason"), CASES, ids=[reason for _, reason in CASES])
def test_is_written_as_our_own(config, reason, tmp_path):
    model = loaded(config)
    formats.convert(model, tmp_path / "out", "patchwords")
    back = load_model(tmp_path / "out").model
    images = torch.randn(2, 3, 8, 8)
    assert back.config == config and torch.equal(back(images), model.model(images))


def test_a_radius_that_nothing_reads_is_not_in_the_way(tmp_path):
    model = loaded(ViTConfig(**VIT, attention_window=3))
    assert formats.convert(model, tmp_path / "out.npz", "google").count
