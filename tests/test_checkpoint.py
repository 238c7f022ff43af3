"""Run folders: round trips, what a model folder is enough for, and bits that are flipped."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

import patchwords as pw
from patchwords import checkpoint
from patchwords.checkpoint import SavedState, load_model, load_state, save_model, save_state, tensors_hash
from patchwords.config import ViTConfig
from patchwords.errors import CheckpointError, PatchwordsError
from patchwords.models import build
from patchwords.preprocess import Preprocess
from tests.command_line import TINY, call
from tests.conftest import draw_folder

SMALL = ViTConfig(
    image_size=(8, 12), patch_size=(4, 4), in_channels=1, dim=16, depth=1, num_heads=2, mlp_dim=16, num_classes=3
)
GREY = Preprocess(image_size=(8, 12), channels=1, mean=(0.25,), std=(0.5,), resize="squash")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("made")
    draw_folder(work / "pictures", per_class=6)
    answer = call("train", work / "pictures", "--out", work / "run", *TINY, "--train.save_seconds=0")
    assert answer.code == 0, answer.err
    return work / "run"


def test_model_round_trip(tmp_path):
    torch.manual_seed(0)
    model = build(SMALL).eval()
    classes = ("a", "\udcff b\n", "\u2603")
    save_model(tmp_path / "model", SMALL, model.state_dict(), classes, GREY, {"data": "x\udcff"})
    loaded, names, preprocess = load_model(tmp_path / "model")
    assert names == classes and preprocess == GREY and loaded.config == SMALL and not loaded.training
    assert tensors_hash(loaded.state_dict()) == tensors_hash(model.state_dict())
    images = torch.randn(2, 1, 8, 12)
    assert torch.equal(loaded(images), model(images))
    card = (tmp_path / "model/README.md").read_text()
    assert "8x12 pixels" in card and card.startswith("---\n")
    (tmp_path / "model/README.md").write_text("my own words")  # the card is people's to edit
    assert load_model(tmp_path / "model").classes == classes


def test_state_round_trip_and_two_generations(tmp_path):
    assert load_state(tmp_path) is None
    for step in (1, 5, 30):
        tensors = {
            "w": torch.full((3,), float(step)),
            "half": torch.ones(2, dtype=torch.bfloat16),
            "n": torch.tensor(step),
        }
        save_state(tmp_path, SavedState(step, tensors, {"log_length": step}))
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["step-00000005", "step-00000030"]
    state = load_state(tmp_path)
    assert state.step == 30 and state.meta["log_length"] == 30 and tensors_hash(state.tensors) == tensors_hash(tensors)


def test_hash_sees_names_types_shapes_and_bits():
    base = {"a": torch.zeros(4)}
    others = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": -torch.zeros(4)},
    ]
    assert len({tensors_hash(tensors) for tensors in (base, *others)}) == 5
    assert tensors_hash({"a": torch.zeros(4, 2).T}) == tensors_hash({"a": torch.zeros(2, 4)})


def test_a_model_folder_alone_is_enough(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "elsewhere")
    picture = run.parent / "pictures/bar/00.png"
    whole, alone = (call("predict", path, picture, "--json") for path in (run, tmp_path / "elsewhere"))
    assert whole.code == alone.code == 0 and whole.out == alone.out
    data = run.parent / "pictures"
    assert call("eval", tmp_path / "elsewhere", data, "--json").out == call("eval", run, data, "--json").out
    model, classes, preprocess = pw.load(tmp_path / "elsewhere")
    pixels = preprocess.pixels(picture.read_bytes())[None]
    logits = model(preprocess.normalize(pixels)).detach()
    answer = pw.load(run).predict([picture], top=3)[0]
    assert classes[int(logits.argmax())] == answer[0][0] and sum(p for _, p in answer) == pytest.approx(1, abs=1e-6)


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flips(run: Path, count: int) -> tuple[int, list[str]]:
    """Flip one bit at a time in a state or the model; return how many were tried and which were accepted."""
    state = sorted((run / "state").glob("step-*"))[-1]
    targets = [path for part in (state, run / "model") for path in sorted(part.iterdir()) if path.name != "README.md"]
    draws, accepted = random.Random(0), []
    for number in range(count):
        path = targets[number % len(targets)]
        data = path.read_bytes()
        bit = draws.randrange(8 * len(data))
        path.write_bytes(flip(data, bit))
        try:
            if path.parent == state:
                contents = load_state(run)
                if contents is None or contents.step == int(state.name.removeprefix("step-")):
                    accepted.append(f"{path} bit {bit}")
            else:
                load_model(run)
                accepted.append(f"{path} bit {bit}")
        except CheckpointError as fault:
            assert str(path.parent) in fault.line()
        finally:
            path.write_bytes(data)
    load_model(run)
    assert load_state(run).step == 2
    return count, accepted


def test_no_flipped_bit_is_accepted(run):
    assert flips(run, 300) == (300, [])


@pytest.mark.slow
def test_no_flipped_bit_of_a_thousand_is_accepted(run):
    assert flips(run, 1000) == (1000, [])


@pytest.mark.parametrize("name", ["config.yaml", "data.json", "env.json"])
def test_flips_beside_the_state_are_refused_or_harmless(run, tmp_path, name):
    """Resumed with a flipped bit in what was decided: 65 and one line, or the same bits as without."""
    work = tmp_path / "run"
    shutil.copytree(run, work)
    expected = tensors_hash(load_state(run).tensors)
    data, draws, refused = (work / name).read_bytes(), random.Random(name), 0
    command = ("train", "--out", work, "--train.tensorboard=false")
    for _ in range(25):
        (work / name).write_bytes(flip(data, draws.randrange(8 * len(data))))
        answer = call(*command)
        assert answer.code in (0, 65) and "Traceback" not in answer.err, answer.err
        assert len(answer.errors) == (answer.code != 0)
        refused += answer.code == 65
        if answer.code == 0:
            assert name == "env.json" and tensors_hash(load_state(work).tensors) == expected
    assert refused == 25 if name != "env.json" else refused > 0
    (work / name).write_bytes(data)
    assert call(*command).code == 0


@pytest.mark.parametrize("name", ["config.yaml", "data.json", "env.json"])
def test_flips_before_the_first_state(run, tmp_path, name):
    """With nothing saved yet, what was decided is still not taken over with a flipped bit."""
    work = tmp_path / "run"
    shutil.copytree(run, work)
    shutil.rmtree(work / "state")
    data, draws = (work / name).read_bytes(), random.Random(name)
    where = data.index(b'"decision"') if name == "env.json" else 0
    for _ in range(25):
        bit = draws.randrange(8 * where, 8 * (where + 60 if where else len(data)))
        (work / name).write_bytes(flip(data, bit))
        answer = call("train", "--out", work, "--train.tensorboard=false")
        assert answer.code == 65 and len(answer.errors) == 1 and "Traceback" not in answer.err, (bit, answer)


@pytest.mark.parametrize(
    "manifest",
    ["", "null", "[]", '{"files": ["config.json"]}', '{"files": {"../x": {}}}', '{"files": {"\\ud800": {}}}', "\xff"],
)
def test_foreign_manifests(run, tmp_path, manifest):
    shutil.copytree(run / "model", tmp_path / "model")
    (tmp_path / "model/manifest.json").write_bytes(manifest.encode("latin-1"))
    with pytest.raises(CheckpointError, match="manifest.json: is damaged|is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "damage", ["not json", "no model", "unknown setting", "other format", "fewer names", "other weights"]
)
def test_a_sound_folder_with_strange_content(run, tmp_path, damage):
    """The sha256 fit, the content does not: written by another program or version."""
    import json

    from patchwords import files

    contents = files.read_folder(run / "model")
    config = json.loads(contents["config.json"])
    if damage == "not json":
        contents["config.json"] = b"{"
    elif damage == "other weights":
        contents["model.safetensors"] = contents["model.safetensors"][:-4]
    else:
        change = {
            "no model": lambda: config.pop("model"),
            "unknown setting": lambda: config["model"].update(widht=3),
            "other format": lambda: config.update(format=9),
            "fewer names": lambda: config["id2label"].pop("1"),
        }
        change[damage]()
        contents["config.json"] = json.dumps(config).encode()
    files.write_folder(tmp_path / "model", contents)
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path)
    assert isinstance(caught.value, PatchwordsError) and "model/" in caught.value.line()
    assert checkpoint.model_folder(tmp_path) == tmp_path / "model"
