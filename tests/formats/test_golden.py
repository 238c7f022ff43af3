"""Every case gives the other library's numbers, and goes to every format that can express it and back, bit for bit."""

import itertools
import json

import numpy as np
import pytest
import torch

import patchwords as pw
from patchwords.errors import ConfigError
from patchwords.formats import all_formats
from patchwords.formats.flax import newer
from patchwords.formats.read import weights_in
from patchwords.formats.tensors import open_tensors

from . import goldens
from .goldens import close

WRITTEN = [format.name for format in all_formats() if format.refuses]


@pytest.fixture(params=goldens.PATHS)
def case(request):
    if not goldens.there(request.param):
        pytest.skip(f"no {request.param}: too large to be kept here; set PATCHWORDS_GOLDEN")
    return request.param


def load(case, **options):
    return pw.load(goldens.path(case), **goldens.SAID.get(case, {}), **options)


def recorded(model, images):
    record = {}
    with torch.no_grad():
        answer = model(torch.from_numpy(images))
        model(torch.from_numpy(images), record)
    return answer, record


def test_same_answers(case):
    loaded, seen = load(case), goldens.seen(case)
    answer, record = recorded(loaded.model, seen["images"])
    if "logits" in seen:
        close(answer, seen["logits"])
        close(record["logits"], seen["logits"])
    for theirs, ours in (("last_hidden_state", "encoded"), ("features", "encoded"), ("encoder_output", "encoded")):
        if theirs in seen:
            close(record[ours], seen[theirs])
    if "pooler_output" in seen:
        close(answer, seen["pooler_output"])
    if "pre_logits" in seen and not loaded.model.config.pre_logits:
        close(record["features"], seen["pre_logits"])


def test_every_case_says_where_it_is_from(case):
    source = json.loads((goldens.folder(case) / "meta.json").read_text())["source"]
    assert source


def test_same_hidden_states_and_attention(case):
    loaded, seen = load(case), goldens.seen(case)
    _, record = recorded(loaded.model, seen["images"])
    depth = loaded.model.config.depth
    states = [record["embed"], *(record[f"block{i:02d}/+mlp"] for i in range(depth))]
    for i in range(depth):
        if f"block_{i}_output" in seen:
            close(states[i + 1], seen[f"block_{i}_output"], np.abs(seen[f"block_{i}_output"]).max())
        if "attentions" in seen:
            close(record[f"block{i:02d}/attn/weights"], seen["attentions"][:, i])
    if "hidden_states" in seen:
        for i, state in enumerate(states):
            close(state, seen["hidden_states"][:, i], np.abs(seen["hidden_states"][:, i]).max())


def test_same_answers_at_another_size(case):
    seen = goldens.seen(case)
    if "resized_logits" not in seen:
        pytest.skip("the case has no second size")
    rows, columns = seen["resized_images"].shape[-2:]
    loaded = load(case)
    answer, _ = recorded(loaded.model, seen["resized_images"])
    close(answer, seen["resized_logits"])
    resized = load(case, image_size=(rows, columns))
    assert resized.model.config.image_size == resized.preprocess.image_size == (rows, columns)
    close(recorded(resized.model, seen["resized_images"])[0], seen["resized_logits"])
    changed = [line.name for line in resized.report.lines if "resampled" in line.how]
    assert changed == ["pos_embed"]


def test_every_tensor_is_accounted_for(case):
    report = load(case).report
    assert report.counts["new"] == 0
    assert all(line.how for line in report.lines if line.status in ("adapted", "unused"))
    path = goldens.path(case)
    names = set(open_tensors(path if path.is_file() else path / "model.safetensors"))
    assert {source for line in report.lines for source in line.source} == names


def arrays(path):
    tensors = open_tensors(weights_in(path) if path.is_dir() else path)
    named = {newer(name): name for name in tensors}  # the paper's code has two numberings, one for each age
    return {name: tensors.read(named[name]) for name in named}


@pytest.mark.parametrize("to", WRITTEN)
def test_there_and_back_is_the_same_bits(case, to, tmp_path):
    source, loaded = case.split("/")[0], load(case)
    try:
        there = pw.convert(loaded, tmp_path / "there", to, checked=True, allow=("activation", "norm_eps"))
    except ConfigError as fault:
        assert f"cannot be written as {to}, which has no word for" in fault.line()
        pytest.skip(fault.what)
    heads = {"num_heads": loaded.model.config.num_heads}
    back = pw.load(there.out, **heads)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], tensor), name
    kept = (back.model.config.activation, back.model.config.norm_eps)
    if kept != (loaded.model.config.activation, loaded.model.config.norm_eps):
        assert there.notes  # what this format does not carry was said
    home = pw.convert(back, tmp_path / "home", source, allow=("activation", "norm_eps"))
    before, after = arrays(goldens.path(case)), arrays(home.out)
    unused = {newer(line.source[0]) for line in loaded.report.lines if line.status == "unused"}
    assert before.keys() - unused <= after.keys()
    assert after.keys() - before.keys() == set()  # a mask token, say, is written as zeros: the library asks for one
    for name in before.keys() - unused:
        assert torch.equal(after[name], before[name]), name


def test_a_case_goes_to_at_least_one_other_format():
    """Guards the test above, which skips what is refused."""
    expressed = {
        ("timm/vit_token", "google"), ("timm/vit_token", "big_vision"), ("timm/vit_token", "transformers"),
        ("timm/vit_token", "torchvision"), ("timm/vit_registers", "transformers"), ("timm/vit_gap_fcnorm", "timm"),
        ("timm/deit_distilled", "transformers"), ("transformers/vit", "timm"), ("transformers/vit", "google"),
        ("transformers/deit_distilled", "timm"), ("transformers/dinov2_registers", "transformers"),
        ("transformers/dinov3_rope", "transformers"), ("transformers/siglip_map", "timm"),
        ("google/vit_token", "timm"), ("google/vit_gap", "timm"), ("google/vit_token", "torchvision"),
        ("google/vit_token_representation", "torchvision"), ("torchvision/vit", "transformers"),
        ("torchvision/vit_representation", "google"),
    }  # fmt: skip
    formats = {format.name: format for format in all_formats()}
    for name, to in expressed:
        assert formats[to].refuses(load(name).model.config) == [], (name, to)


def test_refusals_name_what_cannot_be_said(tmp_path):
    reasons = {
        ("timm/vit_registers", "google"): "num_registers",
        ("timm/vit_qknorm_layerscale", "torchvision"): "qk_norm",
        ("transformers/dinov3_rope", "google"): "position",
        ("timm/deit_distilled", "google"): "distillation",
    }
    for (name, to), word in reasons.items():
        with pytest.raises(ConfigError, match=word):
            pw.convert(load(name), tmp_path / "out", to)
        assert not (tmp_path / "out").exists()


def test_pairs_name_every_parameter_once():
    for name, format in itertools.product(goldens.PATHS, all_formats()):
        if goldens.there(name) and format.refuses and not format.refuses(config := load(name).model.config):
            ours = [pair.ours for pair in format.pairs(None, config)]
            assert len(ours) == len(set(ours))
