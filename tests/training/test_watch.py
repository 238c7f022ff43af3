"""Watching changes nothing: the same bits with and without it, looks at the right steps, kills at any moment."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwords import checkpoint, inspection
from patchwords.config import ViTConfig
from patchwords.errors import ConfigError
from patchwords.models import build
from patchwords.report.watched import FOLDER, read_watched, take_look
from patchwords.training import Request, train
from tests.training import test_resume
from tests.training.test_resume import killed, results

SETTINGS, LANES = (each | {"train.compile": "off"} for each in (test_resume.SETTINGS, test_resume.LANES))
WATCHED = {"train.watch_epochs": "2", "train.watch_pictures": "3"}
STEPS = [0, 6, 11, 16, 21, 27, 32, 37, 40]
"""looks of 40 steps, 2.625 in an epoch"""


def trained(folder: Path, out: Path, settings: dict[str, str]) -> dict[str, str]:
    train(Request(str(folder), settings=settings), out)
    return {name: digest for name, digest in results(out).items() if name != "config.yaml"}


def looks(out: Path) -> dict[str, str]:
    """Return the sha256 of every file in RUN/watch."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((out / FOLDER).iterdir())}


def names(steps: list[int]) -> list[str]:
    return ["pictures.npz", *(f"step-{step:09d}.npz" for step in steps)]


@pytest.mark.parametrize("settings", [SETTINGS, LANES], ids=["dropout", "lanes"])
def test_the_same_bits_with_and_without(folder, tmp_path, settings):
    """Dropout, drop path, mixup and averaged weights are on: a number drawn by a look would be seen."""
    expected = trained(folder, tmp_path / "unwatched", settings)
    assert trained(folder, tmp_path / "watched", settings | WATCHED) == expected
    assert sorted(looks(tmp_path / "watched")) == names(STEPS)
    assert not (tmp_path / "unwatched" / FOLDER).exists()


def test_kills_in_the_middle_of_looks(folder, tmp_path):
    """With a look after every step most of the time goes into looks, and so do most of the kills."""
    expected = trained(folder, tmp_path / "unwatched", SETTINGS)
    every = SETTINGS | {"train.watch_epochs": "0.3", "train.watch_pictures": "6"}
    assert trained(folder, tmp_path / "straight", every) == expected
    assert sorted(looks(tmp_path / "straight")) == names(list(range(41)))
    work, hits = killed(folder, tmp_path / "killed", every, 6, 3, 1.5)
    assert hits == 6
    assert {name: digest for name, digest in results(work).items() if name != "config.yaml"} == expected
    assert looks(work) == looks(tmp_path / "straight")


def test_what_is_missing_or_half_written_when_a_run_goes_on(folder, tmp_path):
    expected = trained(folder, tmp_path / "run", SETTINGS | WATCHED)
    before = looks(tmp_path / "run")
    (tmp_path / "run" / FOLDER / "step-000000040.npz").unlink()
    (tmp_path / "run" / FOLDER / ".tmp-step-000000040.npz").write_bytes(b"half")
    assert trained(folder, tmp_path / "run", SETTINGS | WATCHED) == expected
    assert looks(tmp_path / "run") == before


def test_watching_may_begin_and_change_when_a_run_goes_on(folder, tmp_path):
    expected = trained(folder, tmp_path / "run", SETTINGS)
    assert trained(folder, tmp_path / "run", SETTINGS | WATCHED) == expected
    assert sorted(looks(tmp_path / "run")) == names([40])
    assert (
        trained(folder, tmp_path / "run", SETTINGS | {"train.watch_epochs": "7", "train.watch_pictures": "5"})
        == expected
    )
    assert (
        read_watched(tmp_path / "run").pictures == 3
    )  # the look that is there is kept; the first pictures are the same


def test_the_last_look_is_what_inspection_says_of_the_saved_model(folder, tmp_path):
    trained(folder, tmp_path / "run", SETTINGS | WATCHED)
    found = read_watched(tmp_path / "run")
    assert [look.step for look in found.looks] == STEPS and not found.faults
    assert [look.epoch for look in found.looks[:3]] == [0, 2.2857, 4.1905]
    assert found.probes.split == "val" and found.pictures == 3
    loaded, look = checkpoint.load_model(tmp_path / "run" / "model"), found.looks[-1]
    pixels = [loaded.preprocess.pixels((folder / name).read_bytes(), name) for name in found.probes.names.tolist()]
    assert np.array_equal(torch.stack(pixels).numpy(), found.probes.pixels)
    images = loaded.preprocess.normalize(torch.stack(pixels))
    with torch.no_grad():
        answers = loaded.model(images).softmax(dim=-1).numpy()
    np.testing.assert_allclose(look.probability, answers, atol=1e-6)
    rollout = inspection.attention_rollout(loaded.model, images)
    np.testing.assert_allclose(look.rollout, rollout.maps[-1], atol=1e-6)
    seen = inspection.attention_maps(loaded.model, images)
    np.testing.assert_allclose(look.attention, seen.mean_maps, atol=1e-6)
    heads = inspection.attention_distance(loaded.model, images)
    np.testing.assert_allclose(look.distance_px, heads.distance_px, atol=1e-4)
    assert look.uniform_px == heads.uniform_px
    np.testing.assert_allclose(look.components, inspection.filter_components(loaded.model, 8).components, atol=1e-5)
    labels = [Path(name).parent.name for name in found.probes.names.tolist()]
    assert [found.probes.classes[label] for label in found.probes.labels] == labels


@pytest.mark.parametrize("settings", [{"position": "none"}, {"position": "relative"}, {"pool": "map"}, {"depth": 0}])
def test_models_of_every_kind(settings):
    config = ViTConfig(
        **{"image_size": (8, 12), "patch_size": (4, 4), "num_classes": 3, "dim": 16, "depth": 2, "num_heads": 2}
        | {"mlp_dim": 16} | settings
    )  # fmt: skip
    model = build(config).eval()
    look = take_look(model, torch.zeros(2, 3, 8, 12), np.array([4, 1]), 5, 0.5)
    attends = config.depth > 0
    assert (look.rollout is not None) == (look.attention is not None) == (look.distance_px is not None) == attends
    assert bool(look.position) == (config.position != "none") and look.components.shape[1:] == (3, 4, 4)
    assert (look.pooling is not None) == (config.pool == "map")
    if attends:
        assert look.attention.shape == (2, 2, 2, 3) and look.rollout.shape == (2, 2, 3)


def test_report_at_the_end(folder, tmp_path):
    pytest.importorskip("matplotlib")
    expected = trained(folder, tmp_path / "a", SETTINGS)
    assert not (tmp_path / "a" / "report.html").exists()
    assert trained(folder, tmp_path / "b", SETTINGS | {"train.report": "true"}) == expected
    page = (tmp_path / "b" / "report.html").read_text()
    assert page.startswith("<!doctype html>") and 'id="rollout"' in page and "Written at the end of training" in page


def test_report_without_matplotlib_is_refused_before_the_first_step(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"train.report: needs matplotlib.*train.report false"):
        trained(folder, tmp_path / "run", SETTINGS | {"train.report": "true"})
    assert not (tmp_path / "run" / "model").exists()
    trained(folder, tmp_path / "run", SETTINGS | {"train.report": "false", "train.watch_epochs": "9"})
