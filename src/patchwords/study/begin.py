"""The beginning of a study: the pictures are listed, decoded and split, and everything is decided and written down."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from .. import files
from ..config import AugmentConfig, OptimizerConfig, RunConfig, ScheduleConfig, TrainConfig, TransferConfig
from ..cost import cost_of
from ..data.manifest import Manifest, make_manifest_with_pixels
from ..data.sources import open_source
from ..data.survey import Survey, survey
from ..device import choose_device
from ..errors import ConfigError, DataError
from ..preprocess import Preprocess
from ..progress import say, show_progress
from ..training.folder import describe_environment
from ..training.recipe import choose
from ..training.request import Request, apply
from ..transfer.tune import Load, Source, TuneRequest, Tuning
from . import contenders
from .folder import DATA, PIXELS, STARTS, Study, file_hash, open_study, write_pixels, write_plan
from .grid import Subsets
from .plan import Contender, Plan
from .question import Question

EPOCHS, FEWEST, MOST = 10, 30_000, 1_000_000
"""samples seen by default: epochs of the largest size, within bounds"""
LABEL_SMOOTHING = 0.1


def begin(question: Question, out: Path, load: Load) -> Study:
    """Decide everything for a study in the folder `out`, which is held, and write it down.

    Args:
        load: from the name of a checkpoint to the model.

    Raises:
        ConfigError, DataError, MissingError: what was asked for cannot be done.
    """
    if not question.data:
        raise ConfigError("no data set was given", where="--data", fix="Name a folder, or digits, or cifar10")
    source = open_source(question.data)
    looked = survey(source)
    run = common_settings(question, looked)
    early = [contenders.configure(name, run, looked.num_classes, question.scale, question.match)
             for name in question.models]  # fmt: skip
    preprocess = Preprocess.from_data(run.data)
    manifest, pixels = make_manifest_with_pixels(source, run.data, preprocess, show_progress("reading"))
    sizes = check_pictures(question, manifest)
    models = [dataclasses.replace(model, num_classes=len(manifest.classes)) for model in early]
    files.write_json(out / DATA, manifest.to_json())
    write_pixels(out, pixels)
    found = [contenders.scratch(name, model, run, question.match)
             for name, model in zip(question.models, models, strict=True)]  # fmt: skip
    found += [go_on_from(name, question, run, manifest, out, load) for name in question.sources]
    names = [(each.arm, each.name) for each in found]
    if twice := [name for arm, name in names if names.count((arm, name)) > 1]:
        raise ConfigError(f"two checkpoints are called {twice[0]}", where="--from", fix="Rename one of them")
    named = [DATA, PIXELS, *(f"{STARTS}/{each.start}/start/{files.MANIFEST}" for each in found if each.start)]
    plan = Plan(
        question,
        dataclasses.replace(run, model=found[0].model),
        tuple(found),
        sizes,
        question.samples or max(FEWEST, min(MOST, EPOCHS * sizes[-1])),
        {name: file_hash(out / name) for name in named},
        describe_environment()["packages"],
    )
    write_plan(out, plan)
    tell(plan, manifest)
    return open_study(out)


def common_settings(question: Question, looked: Survey) -> RunConfig:
    """Return what is the same for all cells: pictures as `train` would see them, AdamW, a cosine."""
    chosen = choose(looked, "cpu")
    batch = 64 if max(looked.size) <= contenders.SMALL else 128
    run = RunConfig(
        model=chosen.run.model,
        data=dataclasses.replace(chosen.run.data, source=question.data),
        augment=AugmentConfig(),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.05),
        schedule=ScheduleConfig(name="cosine"),
        train=TrainConfig(
            batch_size=batch,
            label_smoothing=LABEL_SMOOTHING,
            compile="off",
            device=choose_device("auto"),
            threads=1,
            save_seconds=30.0,
            tensorboard=False,
        ),
    )
    settings = {**question.settings, "train.precision": question.precision}
    return apply(Request(settings=settings), run)


def check_pictures(question: Question, manifest: Manifest) -> tuple[int, ...]:
    """Return the sizes of the grid, ascending.

    Raises:
        DataError: there are no validation or test pictures. ConfigError: there are fewer training pictures.
    """
    for split in ("val", "test"):
        if not len(manifest.split(split)):
            fix = f"Add some, or leave out --data.{split}_fraction 0"
            raise DataError(f"has no {split} pictures", where=manifest.source, fix=fix)
    pool = manifest.split("train")
    subsets = Subsets(manifest.labels[pool], [manifest.pictures[i].sha256 for i in pool.tolist()], manifest.classes)
    sizes = sorted({len(pool) if size == "all" else int(size) for size in question.sizes})
    if len(sizes) < len(question.sizes):
        raise ConfigError(f"all is {len(pool)}, which is given too", where="--sizes", fix="Leave out one of the two")
    for size in sizes:
        subsets.require(size, question.disjoint or 1)
    return tuple(sizes)


def tell(plan: Plan, manifest: Manifest) -> None:
    """Say what was decided."""
    counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in ("train", "val", "test"))
    say(f"data      {len(manifest)} pictures in {len(manifest.classes)} classes: {counts}")
    counted = [each.parameters for each in plan.contenders]
    if plan.question.match == "params" and max(counted) > 1.1 * min(counted):
        say(f"note: the models have {min(counted):,} to {max(counted):,} parameters: they are not matched")
    for each in plan.contenders:
        seen = ", ".join(f"{plan.samples(each, size):.0f}" for size in dict.fromkeys(plan.sizes))
        if plan.question.match != "epochs":
            seen = f"{plan.samples(each, plan.sizes[0]):.0f}"
        say(f"model     {each.name}: {each.model.summary}, {each.parameters:,} parameters, "
            f"{each.flops / 1e6:.1f} MFLOPs a sample, sees {seen} samples a cell")  # fmt: skip


def go_on_from(name: str, question: Question, run: RunConfig, manifest: Manifest, out: Path, load: Load) -> Contender:
    """Return a model that goes on from a checkpoint, its weights adapted to the pictures and kept in the study."""
    request = TuneRequest(name, question.data, question.tune)
    start = Tuning(request, Source(name, load))
    loaded = start.source.loaded
    label = Path(name).name or "checkpoint"
    folder = out / STARTS / re.sub(r"[^A-Za-z0-9_.+]", "_", label)
    with files.faults_named(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
    wanted = dataclasses.replace(loaded.model.config, image_size=run.data.image_size, in_channels=run.data.channels)
    transfer = TransferConfig(checkpoint=name, tune=question.tune)
    adapted = start.write(folder, dataclasses.replace(run, model=wanted, transfer=transfer), manifest)
    cost = cost_of(adapted.model)
    seconds = contenders.measured_seconds(adapted.model, run) if question.match == "time" else 0.0
    normalisation = adapted.data.mean, adapted.data.std
    return Contender(
        label, "transfer", adapted.model, cost.parameters, cost.step_flops, seconds, folder.name, normalisation
    )
