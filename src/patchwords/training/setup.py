"""Set-up of a run: everything that is decided, read and built before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint, files
from ..config import DataConfig, RunConfig
from ..data.augment import Augment
from ..data.loader import Loader, MemoryLoader, StreamLoader
from ..data.manifest import Manifest, Pictures, load_pixels, make_manifest
from ..data.mixing import Mixer
from ..data.plan import Plan
from ..data.sources import Source, open_source
from ..data.survey import survey
from ..device import choose_device
from ..errors import CheckpointError, ConfigError
from ..models import build
from ..overrides import from_dict, parse_settings, to_dict
from ..preprocess import Preprocess
from ..progress import say, show_progress
from ..randomness import derived_seed
from . import folder
from .decision import Decision, compile_for, compile_pays, decide
from .initial import WHITENED_FROM, whiten_patches
from .job import Job
from .lanes import Lanes, choose_lanes
from .request import Request, reapply, resolve
from .start import Start, load_start
from .step import Shard, TrainState, weighted_loss


def set_up(request: Request, out: Path, start: Start | None = None) -> Job:
    """Return the Job for `request` in `out`: a new run, or the one that is there where it stopped.

    Raises:
        ConfigError, DataError, MissingError, CheckpointError: as the parts do.
    """
    stored = folder.read_config(out)
    if stored is None:
        return start_run(request, out, start)
    require_same_kind(out, stored, start)
    reopened = reopen_run(request, out, stored)
    if start:
        start.require_same(out, stored)
    job = build_job(out, *reopened)
    resume(job)
    return job


def require_same_kind(out: Path, stored: RunConfig, start: Start | None) -> None:
    """Raise ConfigError when one of `stored` and `start` goes on from another model and the other does not."""
    if start is None and stored.transfer.tune:
        fix = f"Go on with it: patchwords tune {stored.transfer.checkpoint} DATA --out {out}"
        raise ConfigError("is a run of `patchwords tune`", where=str(out), fix=fix)
    if start is not None and not stored.transfer.tune:
        raise ConfigError("is a run of `patchwords train`", where=str(out), fix="Give another --out")


def build_job(out: Path, run: RunConfig, manifest: Manifest, decision: Decision) -> Job:
    """Return the Job of complete settings, its state before the first step."""
    preprocess = Preprocess.from_data(run.data)
    pictures = Pictures(open_source(run.data.source), manifest)
    pixels = None
    if in_memory(run, manifest):
        pixels = load_pixels(pictures, preprocess, run.data.workers, show_progress("reading"))
    plan = Plan(run.train.seed, len(manifest.split("train")), run.train.batch_size)
    loader = build_loader(run, decision.device, pictures, pixels, plan, preprocess, rejected_to(out))
    mixer = Mixer(run.augment, len(manifest.classes), run.train.label_smoothing, run.train.seed)
    state = build_state(run, decision, plan, loader, preprocess, out)
    return Job(run, out, decision, manifest, preprocess, pictures, pixels, loader, mixer, state)


def build_state(
    run: RunConfig, decision: Decision, plan: Plan, loader: Loader, preprocess: Preprocess, out: Path
) -> TrainState:
    """Return the state before the first step: initial weights drawn from the seed, or those of RUN/start."""
    torch.set_num_threads(decision.threads)
    torch.manual_seed(derived_seed(run.train.seed, "init"))
    model = load_start(out, run.transfer) if run.transfer.tune else build(run.model)
    if run.train.whiten_patches:
        batches = loader.batches(0, -(-WHITENED_FROM // run.train.batch_size))
        images = [loader.on_device(batch, slice(None))[0].cpu() for batch in batches]
        whiten_patches(model, preprocess.normalize(torch.cat(images)))
    model = model.to(decision.device).train()
    model.set_windows(run.augment.early_crop > 0)
    model.set_checkpointing(run.train.checkpoint_activations)
    state = TrainState(model, run, *count_steps(run, plan), decision.dtype)
    if decision.compile:
        state.forward = compile_for(model, decision.device)
    state.lanes = lanes_of(run, decision)
    return state


def restarted(job: Job, run: RunConfig) -> Job:
    """Return the job before its first step, with other settings of what the weights do; the pictures stay open."""
    job.state.lanes.close()
    state = build_state(run, job.decision, job.loader.plan, job.loader, job.preprocess, job.out)
    return replace(job, run=run, state=state)


def lanes_of(run: RunConfig, decision: Decision) -> Lanes:
    """Return the lanes in which shards are computed; compiled code and accelerators take one after another."""
    alone = decision.device != "cpu" or decision.compile
    return Lanes(1 if alone else choose_lanes(run, decision.threads))


def in_memory(run: RunConfig, manifest: Manifest) -> bool:
    """Return whether all pictures are kept as uint8: they fit, and no crop is cut out before they are resized."""
    rows, columns = run.data.image_size
    megabytes = len(manifest) * rows * columns * run.data.channels / 2**20
    return run.augment.crop != "random_resized" and megabytes <= run.data.memory_limit_mb


def reopen_run(request: Request, out: Path, stored: RunConfig) -> tuple[RunConfig, Manifest, Decision]:
    """Return settings, pictures and decisions of the run that is in `out`."""
    environment = folder.read_start(out)
    wanted = reapply(request, stored)  # differs from `stored` in what does not decide the result, such as workers
    folder.require_same_run(out, stored, wanted)
    versions = folder.describe_environment()["packages"]
    if versions != environment["packages"]:
        say("note: package versions changed since this run started; its bits may differ from an uninterrupted one")
    manifest = Manifest.from_json(files.read_json(out / folder.DATA), str(out / folder.DATA))
    return wanted, manifest, Decision(**environment["decision"])


def start_run(request: Request, out: Path, start: Start | None) -> Job:
    """Choose everything for a new run, say what and why, and write it down."""
    if not request.data:
        raise ConfigError("no data set was given", where="patchwords train", fix="Name a folder, or digits, or cifar10")
    source = open_source(request.data)
    looked = survey(source)
    device = choose_device(parse_settings(request.settings).get("train", {}).get("device", "auto"))
    choice = resolve(request, looked, device, start.choose if start else None)
    run = replace(choice.run, data=replace(choice.run.data, source=request.data))
    manifest = start.list_pictures(source, run.data) if start else list_pictures(source, run.data)
    if start:
        run = start.write(out, run, manifest)
    run = from_dict(to_dict(replace(run, model=replace(run.model, num_classes=len(manifest.classes)))))
    decision = decide(run)
    torch.set_num_threads(decision.threads)
    count_steps(run, Plan(run.train.seed, len(manifest.split("train")), run.train.batch_size))
    if run.train.compile == "auto" and run.transfer.tune != "probe":
        decision = measure_compile(run, decision, len(manifest.split("train")))
    counts = ", ".join(f"{len(manifest.split(s))} {s}" for s in ("train", "val", "test") if len(manifest.split(s)))
    say(f"data      {len(manifest)} pictures in {len(manifest.classes)} classes: {counts}")
    if manifest.rejected:
        say(f"          {len(manifest.rejected)} files cannot be used; see {out / folder.REJECTED}")
    for line in replace(choice, run=run).reasons(looked):
        say(line)
    say(f"machine   {', '.join(decision.reasons)}")
    rows = [files.json_line({"path": rejected.path, "reason": rejected.reason}) for rejected in manifest.rejected]
    files.write_atomic(out / folder.REJECTED, "".join(f"{row}\n" for row in rows))
    files.write_json(out / folder.DATA, manifest.to_json())
    job = build_job(out, run, manifest, decision)
    if start:
        job = restarted(job, start.settle(job))
    folder.write_start(out, job.run, folder.describe_environment() | {"decision": asdict(decision)})
    return job


def list_pictures(source: Source, data: DataConfig) -> Manifest:
    """Return the pictures of `source`, each read and decoded once, with all splits."""
    return make_manifest(source, data, show_progress("checking"))


def build_loader(
    run: RunConfig,
    device: str,
    pictures: Pictures,
    pixels: Tensor | None,
    plan: Plan,
    preprocess: Preprocess,
    on_rejected: Callable[[str, str], None],
) -> Loader:
    """Return the training batches: from memory when the pictures are there, else decoded when they are due."""
    train = pictures.manifest.split("train")
    labels = torch.from_numpy(pictures.manifest.labels[train])
    augment = Augment(run.augment, run.train.seed, run.data.interpolation)
    if pixels is not None:
        return MemoryLoader(pixels, labels, plan, augment, rows=torch.from_numpy(train), device=device)
    paths = [pictures.manifest.pictures[i].path for i in train.tolist()]
    workers = run.data.workers
    return StreamLoader(
        pictures, train.tolist(), paths, labels, plan, preprocess, augment, workers=workers, on_rejected=on_rejected,
        scaled_decode=run.data.scaled_decode, device=device,
    )  # fmt: skip


def count_steps(run: RunConfig, plan: Plan) -> tuple[int, int]:
    """Return (steps of the run, steps of its warm-up); the only place where epochs become steps."""
    if run.transfer.tune == "probe":  # the head is solved, not trained
        return 0, 0
    steps = run.train.steps or round(run.train.epochs * plan.steps_per_epoch)
    warmup = run.schedule.warmup_steps or round(run.schedule.warmup_epochs * plan.steps_per_epoch)
    if steps < 1:
        raise ConfigError(f"{run.train.epochs:g} epochs are not one step", where="train.epochs", fix="Give more")
    return steps, min(warmup, steps - 1)


def measure_compile(run: RunConfig, decision: Decision, num_train: int) -> Decision:
    """Return `decision` with compilation on or off, as steps of this very model show."""
    model = build(run.model).to(decision.device, decision.dtype).train()
    size = run.train.batch_size // run.train.shards
    shape = (size, run.model.in_channels, *run.model.image_size)
    images = torch.zeros(shape, device=decision.device, dtype=decision.dtype)
    targets = torch.full((size, run.model.num_classes), 1.0 / run.model.num_classes, device=decision.device)
    shards = [Shard(images, targets, torch.ones(size, device=decision.device))] * run.train.shards
    lanes = lanes_of(run, decision)

    def passes(forward: Callable[[Tensor], Any], side_by_side: Lanes) -> None:
        def one(shard: Shard) -> None:
            loss = weighted_loss(forward(shard.images), shard)
            torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)

        list(side_by_side.map(one, shards))

    steps, _ = count_steps(run, Plan(run.train.seed, num_train, run.train.batch_size))
    eager, fast = partial(passes, model, lanes), partial(passes, compile_for(model, decision.device), Lanes(1))
    pays, reason = compile_pays(eager, fast, decision.device, steps)
    lanes.close()
    return replace(decision, compile=pays, reasons=(*decision.reasons, reason))


def resume(job: Job) -> None:
    """Put back the newest saved state, when there is one, and say so."""
    saved = checkpoint.load_state(job.out)
    if saved is None:
        return
    for name, own in (("config", job.config_hash), ("data", job.manifest.hash)):
        if saved.meta.get(name) != own:
            raise CheckpointError(
                f"was saved with another {name}",
                where=str(checkpoint.state_folder(job.out, saved.step)),
                fix="Restore config.yaml and data.json, or give another --out",
            )
    length = saved.meta["log_length"]
    log = job.out / folder.METRICS
    if not log.exists() or log.stat().st_size < length:
        raise CheckpointError("is shorter than when the state was saved", where=str(log), fix="Restore it")
    job.state.load_tensors(saved.tensors, saved.step)
    job.log_length = length
    done = saved.step == job.state.steps
    say("this run is finished" if done else f"going on  after step {saved.step} of {job.state.steps}")


def rejected_to(out: Path) -> Callable[[str, str], None]:
    """Return a function that notes a picture which broke while training in rejected.jsonl."""

    def note(path: str, reason: str) -> None:
        ledger = out / folder.REJECTED
        line = files.json_line({"path": path, "reason": reason})
        known = files.read_bytes(ledger).decode() if ledger.exists() else ""
        if line not in known.splitlines():
            files.write_atomic(ledger, known + line + "\n")
            say(f"warning: {path}: {reason}; it is left out")

    return note
