"""MLP-Mixer: a block by einsum, timm's block, what the places know, sizes of the paper."""

import dataclasses
import subprocess

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from patchwords.architecture import MixerConfig
from patchwords.bench import peers
from patchwords.errors import ConfigError
from patchwords.models import build, create_model

from ..conftest import REPOSITORY
from .families import OTHERS, alive, pictures

CONFIG = OTHERS["mixer"]
PYTHON = peers.python()  # in the cache of the user, not in that of the tests


def normed(z, norm):
    """Return the LayerNorm of tokens (B, T, D)."""
    centred = z - z.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def test_a_block_by_einsum():
    """Equation 1 of 2105.01601: columns of the table of tokens, then its rows."""
    block = alive(CONFIG, torch.float64).blocks[0]
    z, record = torch.randn(3, 6, 16, dtype=torch.float64), {}
    tokens, channels = block.mlp_tokens, block.mlp_channels
    inner = F.gelu(torch.einsum("btd,ht->bhd", normed(z, block.norm1), tokens.fc1.weight) + tokens.fc1.bias[:, None])
    mixed = torch.einsum("bhd,th->btd", inner, tokens.fc2.weight) + tokens.fc2.bias[:, None]
    middle = z + mixed
    inner = F.gelu(torch.einsum("btd,hd->bth", normed(middle, block.norm2), channels.fc1.weight) + channels.fc1.bias)
    added = torch.einsum("bth,dh->btd", inner, channels.fc2.weight) + channels.fc2.bias
    torch.testing.assert_close(block(z, record), middle + added, rtol=0, atol=1e-12)
    wanted = {"block00/mix": mixed, "block00/+mix": middle, "block00/mlp": added}
    assert record.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(record[name], value, rtol=0, atol=1e-12)


def test_against_timm(tmp_path):
    """timm's MlpMixer takes our weights with the patch matrix renamed, and gives our answer."""
    if not PYTHON.exists():
        pytest.skip("needs the peers: `patchwords bench step --peers` makes them")
    config = dataclasses.replace(CONFIG, image_size=(8, 8), tokens_dim=8, mlp_dim=64)
    model, images, record = alive(config), pictures(config), {}
    renamed = {name.replace("patch_embed.proj", "stem.proj"): value for name, value in model.state_dict().items()}
    save_file(renamed, tmp_path / "weights.st")
    save_file({"images": images}, tmp_path / "pictures.st")
    command = [str(PYTHON), "tests/models/peer_mixer.py", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=200)
    model(images, record)
    theirs = load_file(tmp_path / "answers.st")
    for name, ours in (("logits", "logits"), ("encoded", "encoded"), ("block", "block00/+mlp")):
        torch.testing.assert_close(record[ours].detach(), theirs[name], rtol=0, atol=1e-5)


def test_places_are_known_by_their_weights_alone():
    """Patches in another order give another answer; the same weights in that order give the same."""
    model, images = alive(CONFIG, torch.float64), pictures(CONFIG, dtype=torch.float64)
    tokens, order = model.embed(images), torch.tensor([3, 0, 5, 1, 4, 2])

    def answer(z):
        for block in model.blocks:
            z = block(z)
        return model.encode(z).mean(dim=1)

    wanted = answer(tokens)
    assert not torch.allclose(answer(tokens[:, order]), wanted)
    with torch.no_grad():
        for block in model.blocks:
            fc1, fc2 = block.mlp_tokens.fc1, block.mlp_tokens.fc2
            fc1.weight.copy_(fc1.weight[:, order])
            fc2.weight.copy_(fc2.weight[order])
            fc2.bias.copy_(fc2.bias[order])
    torch.testing.assert_close(answer(tokens[:, order]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "millions"),  # 2105.01601, table 1, without the head
    [("mixer_small_patch32_224", 19), ("mixer_small_patch16_224", 18), ("mixer_base_patch32_224", 60)]
    + [("mixer_base_patch16_224", 59), ("mixer_large_patch16_224", 207), ("mixer_huge_patch14_224", 431)],
)
def test_parameters_of_the_paper(name, millions):
    with torch.device("meta"):
        model = create_model(name, num_classes=0)
    assert int(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == pytest.approx(millions, abs=1)


def test_other_sizes_are_refused():
    model = build(CONFIG)
    with pytest.raises(ConfigError) as caught:
        model(torch.zeros(1, 3, 16, 24))
    assert "the model reads 8x12 only" in caught.value.line()
    with pytest.raises(ConfigError, match="cannot be cut into patches"):
        MixerConfig(image_size=(30, 32))
