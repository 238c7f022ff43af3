"""Damaged checkpoints: each is refused in one line or accounted for in full; none leaves a tensor silently random."""

import functools
import io
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

import patchwords as pw
from patchwords.errors import PatchwordsError
from patchwords.formats.tensors import open_tensors

from . import goldens

CASES = [name for name in goldens.PATHS if name != "google/hybrid_resnet"]


def drop(arrays, rng):
    name = rng.choice(list(arrays))
    del arrays[name]
    return {name}


def add(arrays, rng):
    name = f"{rng.choice(list(arrays))}{rng.choice(['.extra', '_2', '.0', '/copy'])}"
    arrays[name] = torch.zeros(tuple(rng.integers(1, 5, size=2)))
    return {name}


def transpose(arrays, rng):
    matrices = [name for name, array in arrays.items() if array.ndim >= 2 and array.shape[0] != array.shape[-1]]
    name = rng.choice(matrices)
    arrays[name] = arrays[name].transpose(0, -1).contiguous()
    return {name}


def rename(arrays, rng):
    name = str(rng.choice(list(arrays)))
    at = rng.integers(len(name))
    other = name[:at] + rng.choice(list("abcxyz0149._/")) + name[at + 1 :]
    if other in arrays:
        return set()
    arrays[other] = arrays.pop(name)
    return {name, other}


def swap(arrays, rng):
    one, other = rng.choice(list(arrays), size=2, replace=False)
    arrays[one], arrays[other] = arrays[other], arrays[one]
    return {one, other}


def spoil(arrays, rng):
    name = rng.choice(list(arrays))
    array = arrays[name] = arrays[name].clone()
    array.view(-1)[rng.integers(array.numel())] = rng.choice([np.nan, np.inf, -np.inf])
    return {name}


def grow(arrays, rng):
    name = rng.choice(list(arrays))
    arrays[name] = torch.cat([arrays[name], arrays[name][:1]])
    return {name}


def retype(arrays, rng):
    name = rng.choice(list(arrays))
    arrays[name] = arrays[name].to(rng.choice([torch.int64, torch.int8, torch.bool]))
    return {name}


MUTATIONS = (drop, add, transpose, rename, swap, spoil, grow, retype)


def write(arrays, name, folder):
    """Write arrays under the file name of a case, as its library does."""
    file = folder / (goldens.PATHS[name] or "model.safetensors")
    if file.suffix == ".npz":
        np.savez(file, **{key: value.numpy() for key, value in arrays.items()})
    elif file.suffix == ".pth":
        torch.save(arrays, file)
    else:
        safetensors.torch.save_file(arrays, file)
        for beside in goldens.folder(name).glob("*.json"):
            if beside.name != "meta.json":
                shutil.copy(beside, folder)
    return file


@functools.cache
def used(name):
    """Return the names in a case's file that the model needs: damage to others changes nothing."""
    report = pw.load(goldens.path(name), **goldens.SAID.get(name, {})).report
    return {source for line in report.lines if line.status != "unused" for source in line.source}


def damaged(name, folder, rng):
    """Write a damaged copy of a case; return what `load` takes, and the name of the damage."""
    original = goldens.path(name) if goldens.PATHS[name] else goldens.path(name) / "model.safetensors"
    tensors = open_tensors(original)
    arrays = {key: tensors.read(key) for key in tensors if key in used(name)}
    kind = rng.integers(len(MUTATIONS) + 3)
    if kind < len(MUTATIONS):
        MUTATIONS[kind](arrays, rng)
        return write(arrays, name, folder), MUTATIONS[kind].__name__
    file = write(arrays, name, folder)
    data = bytearray(file.read_bytes())
    if kind == len(MUTATIONS):
        file.write_bytes(data[: rng.integers(len(data))])
        return file, "cut"
    config = folder / "config.json"
    if kind == len(MUTATIONS) + 1 and config.exists():
        values = json.loads(config.read_text())
        held = values.get("model_args", values) if rng.integers(2) else values
        key = rng.choice(list(held))
        held[key] = [None, -1, 0, 7, "x", [], {}, 10**12, 1e400, True][rng.integers(10)]
        config.write_text(json.dumps(values))
        return file, "config"
    for at in rng.integers(min(len(data), 4000), size=8):
        data[at] ^= 1 << rng.integers(8)
    file.write_bytes(data)
    return file, "header"


def outcome(file, name):
    """Load a damaged file; return "refused" or "loaded", and check that nothing in it is silent."""
    said = goldens.SAID.get(name, {})
    try:
        loaded = pw.load(file if goldens.PATHS[name] else file.parent, **said)
    except PatchwordsError as fault:
        assert "\n" not in fault.line() and fault.exit_code in (2, 65, 66)
        assert "this is a bug" not in fault.line()
        return "refused"
    report = loaded.report
    assert report.counts["new"] == 0
    assert all(line.how for line in report.lines if line.status in ("adapted", "unused"))
    assert {source for line in report.lines for source in line.source} == set(open_tensors(file))
    held = {line.name: line.source for line in report.lines if line.name}
    tensors, state = open_tensors(file), loaded.model.state_dict()
    assert held.keys() == state.keys()
    for name, sources in held.items():  # every number of the model is one of those in the file
        mine, theirs = state[name].flatten(), torch.cat([tensors.read(s).float().flatten() for s in sources])
        assert torch.isin(mine, theirs).all(), name
    without = [name for name, how in report.assumed.items() if "the file has none" in how]
    return "loaded without a bias, said so" if without else "loaded"


def survive(count, tmp_path, seed):
    counts = {}
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = CASES[number % len(CASES)]
        folder = tmp_path / str(number)
        folder.mkdir()
        file, kind = damaged(name, folder, rng)
        key = (kind, outcome(file, name))
        counts[key] = counts.get(key, 0) + 1
        shutil.rmtree(folder)
    return counts


def test_some_damaged_checkpoints(tmp_path):
    counts = survive(150, tmp_path, seed=1)
    assert sum(counts.values()) == 150
    for kind in ("drop", "transpose", "spoil", "grow", "retype", "cut"):
        assert (kind, "loaded") not in counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_two_thousand_damaged_checkpoints(tmp_path, capsys, seed):
    counts = survive(200, tmp_path, seed)
    with capsys.disabled():
        print(f"\nseed {seed}:", *(f"{kind} {result} {count};" for (kind, result), count in sorted(counts.items())))
    assert sum(counts.values()) == 200
    for kind in ("drop", "transpose", "spoil", "grow", "retype", "cut"):
        assert (kind, "loaded") not in counts


class Planted:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ("planted", "w"))


def test_no_code_runs_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Planted()}, "pickle.pth")
    np.savez("objects.npz", **{"embedding/kernel": np.array([Planted()], dtype=object)})
    for name, word in (("pickle.pth", "io.open"), ("objects.npz", "Python objects")):
        with pytest.raises(PatchwordsError, match=word):
            pw.load(name)
    assert not (tmp_path / "planted").exists()


def test_a_bag_of_options_in_a_training_checkpoint_is_read(tmp_path):
    import argparse

    weights = torch.load(goldens.path("torchvision/vit"), weights_only=True)
    file = tmp_path / "full.pth"
    torch.save({"model": weights, "args": argparse.Namespace(lr=1.0), "epoch": 3}, file)
    loaded = pw.load(file, num_heads=3)
    assert loaded.report.assumed["part"] == "model"
    buffer = io.BytesIO()
    torch.save({"model": weights, "ema": {key: value * 0 for key, value in weights.items()}}, buffer)
    file.write_bytes(buffer.getvalue())
    assert pw.load(file, num_heads=3, part="model").model.state_dict()["norm.weight"].any()
    assert not pw.load(file, num_heads=3, part="ema").model.state_dict()["norm.weight"].any()
