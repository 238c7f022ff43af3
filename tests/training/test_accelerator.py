"""What holds where steps are computed elsewhere than on the CPU, checked without such a machine.

torch's "meta" device knows shapes and types and has no numbers: whoever asks it for one fails, as does who mixes it
with the CPU. So what runs there runs on a GPU without waiting for it.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import patchwords as pw
from patchwords import checkpoint
from patchwords.training import Request, train
from patchwords.training.decision import compile_for
from patchwords.training.job import Job
from patchwords.training.setup import build_job, set_up
from patchwords.training.step import TrainState, train_step

SETTINGS = {
    "model.dim": "32", "model.depth": "2", "model.num_heads": "2", "model.mlp_dim": "64", "train.steps": "6",
    "train.batch_size": "16", "train.shards": "2", "train.compile": "off", "train.tensorboard": "false",
}  # fmt: skip
EVERYTHING = SETTINGS | {
    "train.ema_decay": "0.9", "optimizer.clip_norm": "1", "optimizer.name": "muon", "model.dropout": "0.1",
    "augment.mixup": "0.2", "augment.cutmix": "0.5", "augment.flip": "true", "augment.erasing": "0.5",
    "augment.randaugment_layers": "2", "augment.three_augment": "true", "augment.color_jitter": "0.3",
}  # fmt: skip
MEMORY = {"augment.crop": "shift", "augment.shift": "2", "augment.early_crop": "6"}
STREAM = {"augment.crop": "random_resized"}
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Waits(TorchDispatchMode):
    """Collects copies to and from the device that hold up the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation in COPIES and isinstance(args[0], Tensor) and args[0].device != result.device:
            waits = not (kwargs or {}).get("non_blocking")
            self.found += [f"{operation} of {tuple(args[0].shape)}"] * waits
        return result


def job_on(device: str, folder: Path, out: Path, settings: dict[str, str]) -> Job:
    """Return a job as if `device` had been chosen."""
    out.mkdir()
    here = set_up(Request(str(folder), settings=settings), out)
    here.close()
    return build_job(out, here.run, here.manifest, replace(here.decision, device=device))


@pytest.mark.parametrize("pictures", [MEMORY, STREAM], ids=["memory", "stream"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_asks_the_device_for_nothing(folder, tmp_path, monkeypatch, pictures, precision):
    fused = torch.optim.AdamW  # whose kernel knows no device without numbers
    monkeypatch.setattr(torch.optim, "AdamW", lambda *args, **options: fused(*args, **options | {"fused": False}))
    settings = EVERYTHING | pictures | {"train.precision": precision}
    job = job_on("meta", folder, tmp_path / "run", settings)
    for batch in job.loader.batches(0, 6):
        with Waits() as waits:
            result = train_step(job.state, job.shards(batch), list)
        assert result.measured[0].is_meta and not waits.found
    assert job.state.step == 6
    with pytest.raises(RuntimeError):
        assert result.loss
    job.close()


@pytest.mark.parametrize("pictures", [MEMORY, STREAM], ids=["memory", "stream"])
def test_pictures_augmented_on_the_device_are_the_same(folder, tmp_path, pictures):
    """ "cpu:0" is such a device, and this processor."""
    settings = EVERYTHING | pictures
    here, there = (job_on(device, folder, tmp_path / device, settings) for device in ("cpu", "cpu:0"))
    for ours, theirs in zip(here.loader.batches(0, 6), there.loader.batches(0, 6), strict=True):
        assert not torch.equal(ours.images, theirs.images)
        for a, b in zip(here.shards(ours), there.shards(theirs), strict=True):
            assert torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
    here.close()
    there.close()


def test_a_model_compiled_for_a_gpu_trains_as_it_is():
    """Here no graph is recorded, but all else is done that is done there."""
    model = pw.create_model("vit_digits", num_classes=4).train()
    forward = compile_for(model, "cuda")
    for count, side in ((3, 8), (3, 8), (2, 8)):
        images = torch.rand(count, 1, side, side)
        answers = []
        for way in (model, forward):
            logits = way(images)
            answers.append([logits, *torch.autograd.grad(logits.logsumexp(1).sum(), list(model.parameters()))])
        for ours, wanted in zip(*answers, strict=True):
            torch.testing.assert_close(wanted, ours, rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


def test_a_step_that_is_not_finite_is_found_when_it_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainState, "waited_for", False)
    settings = SETTINGS | {"train.steps": "40", "train.log_steps": "4", "train.save_seconds": "1000"}
    with pytest.raises(pw.PatchwordsError, match=r"after step (4|8|12|16) .* is not finite; it was not") as caught:
        train(
            Request(
                str(folder),
                settings=settings | {"optimizer.lr": "10000", "optimizer.name": "sgd", "optimizer.momentum": "0.99"},
            ),
            tmp_path / "run",
        )
    assert caught.value.exit_code == 65
    assert checkpoint.load_state(tmp_path / "run") is None
    assert train(Request(str(folder), settings=settings), tmp_path / "other").steps == 40
