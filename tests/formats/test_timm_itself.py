"""timm loads what we write, we load what timm saves, and both give one answer; needs the peers of `bench`."""

import json
import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from patchwords.bench import peers
from patchwords.formats import timm
from patchwords.formats.write import write

from ..conftest import REPOSITORY
from .test_timm import VARIANTS, made, read

PYTHON = peers.python()  # in the cache of the user, not in that of the tests
HERE = "tests/formats/peer_timm.py"
SMALL = {"img_size": [16, 24], "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
SMALL |= {"num_classes": 5}
WANTED = [
    ("vit_tiny_patch16_224", {"reg_tokens": 3}),
    ("vit_tiny_patch16_224", {"reg_tokens": 3, "class_token": False, "global_pool": "avg"}),
    ("vit_tiny_patch16_224", {"global_pool": "map", "in_chans": 1, "mlp_ratio": 2.1}),
    ("vit_base_patch16_clip_quickgelu_224", {}),
    ("vit_base_patch16_siglip_224", {}),
    ("deit3_small_patch16_224", {}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("vit_giant_patch14_dinov2", {"mlp_ratio": 4.0}),
    ("vit_small_patch14_reg4_dinov2", {}),
    ("vit_small_plus_patch16_dinov3_qkvb", {}),
    ("vit_base_patch16_dinov3", {"global_pool": "token", "rope_temperature": 50.0}),
    ("vit_small_patch16_lingbot", {}),
    ("eva_giant_patch14_224", {}),
    ("beit_base_patch16_224", {}),
    ("beitv2_base_patch16_224", {"num_classes": 0, "global_pool": "token"}),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder where timm has written its models and answered for ours."""
    if not PYTHON.exists():
        pytest.skip("needs the peers: `patchwords bench step --peers` makes them")
    folder = tmp_path_factory.mktemp("compared")
    (folder / "ours").mkdir()
    for number, name in enumerate(VARIANTS):
        write(made(**VARIANTS[name]), folder / "ours" / f"{number:02d}", "timm", [timm.FORMAT])
    (folder / "wanted.json").write_text(json.dumps([(name, SMALL | more) for name, more in WANTED]))
    done = subprocess.run(
        [PYTHON, HERE, folder], cwd=REPOSITORY, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def same(model, answers):
    with torch.no_grad():
        ours = model(answers["images"])
    assert ours.shape == answers["logits"].shape
    assert (ours - answers["logits"]).abs().max() <= 1e-5 * max(1.0, answers["logits"].abs().max().item())


@pytest.mark.parametrize("number", range(len(VARIANTS)), ids=VARIANTS)
def test_timm_loads_ours(number, compared):
    loaded = read(compared / "ours" / f"{number:02d}")
    same(loaded.model, load_file(compared / "answers" / f"{number:02d}.safetensors"))


@pytest.mark.parametrize("number", range(len(WANTED)))
def test_we_load_timms(number, compared):
    folder = compared / "theirs" / str(number)
    loaded = read(folder)
    assert not loaded.report.assumed
    same(loaded.model, load_file(folder / "answers.st"))
