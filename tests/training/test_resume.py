"""Never lose work: killed at any moment, the same command ends with the same bits."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchwords import checkpoint
from patchwords.errors import CheckpointError, ConfigError
from patchwords.training import Request, train
from patchwords.training.setup import set_up
from patchwords.training.step import train_step
from tests.conftest import draw_folder

SETTINGS = {
    "model.dim": "32", "model.depth": "2", "model.num_heads": "2", "model.mlp_dim": "64", "model.drop_path": "0.2",
    "model.dropout": "0.1", "train.steps": "40", "train.batch_size": "16", "train.shards": "2",
    "train.ema_decay": "0.9", "train.log_steps": "1", "train.eval_epochs": "2", "train.save_seconds": "0.01",
    "augment.mixup": "0.2", "augment.cutmix": "0.5", "augment.crop": "shift", "augment.shift": "1",
    "train.tensorboard": "false",
}  # fmt: skip
LANES = SETTINGS | {
    "train.precision": "bf16", "train.threads": "2", "model.drop_path": "0", "model.dropout": "0",
    "model.position": "relative", "augment.early_crop": "6", "train.whiten_patches": "true",
}  # fmt: skip
STREAMED = SETTINGS | {"augment.crop": "random_resized", "train.steps": "25"}


def results(out: Path) -> dict[str, str]:
    """Return the sha256 of everything that a run computed: log, measurement, model, and the bits of its state."""
    state = checkpoint.load_state(out)
    names = ("metrics.jsonl", "eval.json", "config.yaml", "data.json", "rejected.jsonl", "model/manifest.json")
    hashes = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    return hashes | {"state": checkpoint.tensors_hash(state.tensors), "step": str(state.step)}


def trained(data: Path, out: Path, **settings: str) -> dict[str, str]:
    train(Request(str(data), settings=SETTINGS | {k.replace("__", "."): v for k, v in settings.items()}), out)
    return results(out)


def test_state_holds_everything(folder, tmp_path):
    """Stop, load into a fresh job and go on: the same bits as without the stop, for each thing a state has."""
    request = Request(str(folder), settings=SETTINGS)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    straight = set_up(request, tmp_path / "a")
    for batch in straight.loader.batches(0, 20):
        train_step(straight.state, straight.shards(batch), lambda: [])
    halves = set_up(request, tmp_path / "b")
    for batch in halves.loader.batches(0, 7):
        train_step(halves.state, halves.shards(batch), lambda: [])
    tensors = {name: tensor.clone() for name, tensor in halves.state.tensors().items()}
    fresh = set_up(request, tmp_path / "b")
    fresh.state.load_tensors(tensors, 7)
    for batch in fresh.loader.batches(7, 20):
        train_step(fresh.state, fresh.shards(batch), lambda: [])
    assert checkpoint.tensors_hash(fresh.state.tensors()) == checkpoint.tensors_hash(straight.state.tensors())
    for part in ("weights", "ema", "optimizer"):
        name = next(name for name in tensors if name.startswith(part))
        with pytest.raises(CheckpointError, match="lacks"):
            rest = {n: t for n, t in tensors.items() if n.rpartition("/")[0] != name.rpartition("/")[0] and n != name}
            fresh.state.load_tensors(rest, 7)
    for job in (straight, halves, fresh):
        job.close()


def test_seed_and_workers(folder, tmp_path):
    first = trained(folder, tmp_path / "a")
    assert trained(folder, tmp_path / "b") == first
    other = trained(folder, tmp_path / "c", train__seed="1")
    assert other["state"] != first["state"]


def test_streamed_pictures_for_any_number_of_workers(folder, tmp_path):
    runs = [trained(folder, tmp_path / n, **STREAMED, data__workers=n) for n in ("0", "1", "4")]
    assert runs[0]["state"] == runs[1]["state"] == runs[2]["state"]
    assert runs[0]["metrics.jsonl"] == runs[1]["metrics.jsonl"] == runs[2]["metrics.jsonl"]


def test_micro_batches_are_the_same_maths(folder, tmp_path):
    """Shards are fixed parts: another number of them is another (equally good) run, close in its loss."""
    settings = {"model__drop_path": "0", "model__dropout": "0", "augment__mixup": "0", "augment__cutmix": "0"}
    losses = []
    for shards in ("1", "2", "4"):
        trained(folder, tmp_path / shards, train__shards=shards, train__steps="5", **settings)
        rows = [json.loads(line) for line in (tmp_path / shards / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows if "loss" in row])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=1e-4)


def test_another_run_is_refused_and_the_same_is_finished(folder, tmp_path):
    first = trained(folder, tmp_path / "a")
    assert trained(folder, tmp_path / "a") == first
    with pytest.raises(ConfigError, match=r"train.epochs was .* now 3"):
        trained(folder, tmp_path / "a", train__epochs="3")


def test_damaged_state_falls_back_to_the_one_before(folder, tmp_path, capsys):
    expected = trained(folder, tmp_path / "a")
    newest = sorted((tmp_path / "a" / "state").glob("step-*"))
    assert len(newest) == 2
    data = bytearray((newest[-1] / "state.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest[-1] / "state.safetensors").write_bytes(data)
    assert trained(folder, tmp_path / "a") == expected
    assert "does not match its sha256" in capsys.readouterr().err
    for path in (tmp_path / "a" / "state").glob("step-*"):
        (path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="every saved state is damaged"):
        trained(folder, tmp_path / "a")


def killed(
    folder: Path, work: Path, settings: dict[str, str], kills: int, seed: int, longest: float
) -> tuple[Path, int]:
    """Train in `work` under `kills` SIGKILLs at random moments; return the run and how many hit."""
    request = work.with_suffix(".json")
    request.write_text(json.dumps({"data": str(folder), "settings": settings}))
    script = Path(__file__).with_name("train_once.py")
    command = [sys.executable, str(script), str(work), str(kills), str(seed), str(longest), str(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return work, int(done.stdout)


@pytest.mark.parametrize("settings", [SETTINGS, LANES], ids=["memory", "lanes"])
def test_a_few_kills(folder, tmp_path, settings):
    train(Request(str(folder), settings=settings), tmp_path / "straight")
    expected = results(tmp_path / "straight")
    work, hits = killed(folder, tmp_path / "killed", settings, 5, 0, 1.0)
    assert results(work) == expected
    assert hits == 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("settings", [SETTINGS, STREAMED, LANES], ids=["memory", "streamed", "lanes"])
def test_a_hundred_kills(tmp_path, settings):
    """100 SIGKILLs over five runs, with mixup, cutmix, drop path, dropout and EMA on.

    In memory, streamed by any number of workers, and in bfloat16 with shards side by side.
    """
    folder = draw_folder(tmp_path / "pictures")
    settings = settings | {"train.steps": "120"}
    train(Request(str(folder), settings=settings), tmp_path / "straight")
    expected, total = results(tmp_path / "straight"), 0
    for seed in range(5):
        work, hits = killed(folder, tmp_path / f"killed{seed}", settings | {"data.workers": str(seed)}, 20, seed, 1.2)
        found = results(work)
        assert {k: v for k, v in found.items() if k != "config.yaml"} == {
            k: v for k, v in expected.items() if k != "config.yaml"
        }
        total += hits
    print(f"{total} kills, every run bit-identical")
    assert total == 100
