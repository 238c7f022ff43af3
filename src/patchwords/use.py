"""The public verbs: train, load, evaluate, predict; each command of the same name is one call of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .answers import Prediction as Prediction
from .answers import evaluate as evaluate
from .answers import predict as predict
from .checkpoint import LoadedModel
from .export.command import export as export  # verbs of this module too


def train(data: str, out: str | Path, *, model: str = "", preset: str = "", augment: str = "", **settings: Any):
    """Train on `data` in the folder `out`, or go on with the run that is there.

    Args:
        data: as for `patchwords train`.
        out: folder of the run.
        model, preset, augment: names; "": chosen from the data.
        settings: `train__epochs=10` is `--train.epochs 10`.

    Returns:
        TrainResult.
    """
    from .training import Request
    from .training import train as train_request

    texts = {name.replace("__", "."): _text(value) for name, value in settings.items()}
    return train_request(Request(str(data), model, preset, augment, texts), out)


def tune(
    checkpoint: str | Path,
    data: str,
    out: str | Path,
    *,
    tune: str = "auto",
    image_size: int | tuple[int, int] | None = None,
    preset: str = "",
    augment: str = "",
    options: Mapping[str, Any] | None = None,
    **settings: Any,
):
    """Tune `checkpoint` to `data` in the folder `out`, or go on with the run that is there.

    Args:
        checkpoint: anything that `load` reads; the run keeps a copy, and goes on without it.
        data: as for `patchwords train`; its classes become those of the model.
        out: folder of the run.
        tune: probe, head, lora, last-K, all; auto: what validates best of probe, lora and all.
        image_size: pixels, one number for a square or (rows, columns); None: those of the checkpoint.
        preset, augment: names; "": chosen from model and data.
        options: as for `load`: what the file of the checkpoint does not say.
        settings: `train__epochs=10` is `--train.epochs 10`.

    Returns:
        TuneResult.

    Raises:
        ConfigError: what was asked for cannot be done with this checkpoint. And as `load` and `train`.
    """
    from .transfer.ladder import tune as tune_model
    from .transfer.tune import TuneRequest

    read = partial(load, **(options or {}))
    size = "" if image_size is None else _text(image_size)
    texts = {name.replace("__", "."): _text(value) for name, value in settings.items()}
    return tune_model(TuneRequest(str(checkpoint), str(data), tune, size, preset, augment, texts), out, read)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def load(path: str | Path, **options: Any) -> LoadedModel:
    """Load any Vision Transformer: a run or model folder, another library's file or folder, `hf:owner/name[@revision]`.

    The format is told from the names of the tensors; see docs/formats.md. What became of each is in `.report`.

    Args:
        path: where it is.
        options:
            image_size, patch_size: pixels (one number for a square) to which the model is resized.
            channels: 1 or 3, to which the patch matrix is changed.
            position_resize: by whose rule positions are resized: timm, google, transformers, torchvision, dinov2;
                that of the file's own library when it is not given.
            merge, merge_schedule: settings of ViTConfig: alike patches that become one in each block (ToMe).
            new: patterns of parameters that may start at random when the file lacks them.
            unused: patterns of tensors in the file that may be left out.
            part: which entry of a training checkpoint is meant, such as "model_ema".
            grid: patches (rows, columns) of the file, where they are no square.
            any other: settings of ViTConfig that the file does not say, such as num_heads=6.

    Returns:
        LoadedModel: unpacks to `model, classes, preprocess`; has `.predict(paths)` and `.report`.

    Raises:
        MissingError: nothing there. CheckpointError: damaged, of no known format, or it does not say what it must;
        UnaccountedError (one of these): tensors are missing or left over; it has the whole `.report`.
    """
    from .formats import load as load_any

    return load_any(path, **options)


def convert(
    checkpoint: LoadedModel | str | Path,
    out: str | Path,
    to: str,
    *,
    checked: bool = False,
    allow: Sequence[str] = (),
    **options: Any,
):
    """Write a checkpoint as another library would have written it.

    Args:
        checkpoint: anything that `load` reads, or what it returned.
        out: new file or folder.
        to: google, big_vision, timm, transformers, torchvision or patchwords.
        checked: read it back and compare the logits.
        allow: settings that may take the fixed value of that library although logits move.
        options: as for `load`.

    Returns:
        Converted.

    Raises:
        ConfigError: the format cannot express the model; says what of it. CheckError: what was read back differs.
    """
    from .formats import convert as convert_model

    loaded = checkpoint if isinstance(checkpoint, LoadedModel) else load(checkpoint, **options)
    return convert_model(loaded, Path(out), to, checked=checked, allow=allow)


def inspect(
    checkpoint: LoadedModel | str | Path,
    pictures: Iterable[str | Path] | str | Path = (),
    *,
    out: str | Path | None = None,
    only: Iterable[str] = (),
    count: int = 128,
    other: LoadedModel | str | Path | None = None,
    seed: int = 0,
    **options: Any,
):
    """Look inside a model: every figure of the paper and more, as numbers, pictures and one page.

    Args:
        checkpoint: anything that `load` reads, or what it returned.
        pictures: files, folders, archives or data sets; none: a fixed sample of the run's own test pictures.
        out: folder to write; one that this wrote before is replaced; None: nothing is drawn or written.
        only: names of exhibits, such as distance; none: all.
        count: pictures that sets are measured over; of more, a sample is drawn, a function of `seed`.
        other: a second model, shown the same pictures: before and after tuning, or a ViT beside a CNN.
        options: as for `load`, of `checkpoint`.

    Returns:
        Survey: `.results["distance"].distance_px`, `.outcomes`, `.as_dict()`, `.write(folder)`.

    Raises:
        ConfigError: no such exhibit. WriteError: `out` holds something else. DataError: no picture can be read.
    """
    from .report.looking import Request, look_inside

    named = [pictures] if isinstance(pictures, str | Path) else list(pictures)
    request = Request(named, tuple(only), count, seed, None if out is None else Path(out))
    request.check()
    models = [(_loaded(checkpoint, **options), _name_of(checkpoint, "model"))]
    if other is not None:
        models.append((_loaded(other), _name_of(other, "other")))
    return look_inside(models, request)


def _loaded(checkpoint: LoadedModel | str | Path, **options: Any) -> LoadedModel:
    return checkpoint if isinstance(checkpoint, LoadedModel) else load(checkpoint, **options)


def _name_of(checkpoint: LoadedModel | str | Path, unnamed: str) -> str:
    return unnamed if isinstance(checkpoint, LoadedModel) else str(checkpoint)


def probe(
    checkpoint: LoadedModel | str | Path, data: str | Path, *, options: Mapping[str, Any] | None = None, **settings: Any
):
    """Measure how good the frozen features of a checkpoint are on labelled pictures, with few of them and with all.

    Args:
        checkpoint: anything that `load` reads, or what it returned.
        data: as for `train`; its classes need not be those of the checkpoint.
        options: as for `load`.
        settings: fields of ProbeSettings, such as shots=(1, 5, "all"), repeats=10; and of the data, such as
            data__split_seed=1.

    Returns:
        Probe.

    Raises:
        ConfigError: a setting is wrong. DataError: there is nothing to tell apart or to measure on.
        NonFiniteError: the model gives features that are not finite numbers.
    """
    from .transfer.probe import probe_model

    run = None if isinstance(checkpoint, LoadedModel) else Path(checkpoint)
    loaded = checkpoint if isinstance(checkpoint, LoadedModel) else load(checkpoint, **(options or {}))
    return probe_model(loaded, str(data), settings, run)


def compare(
    data: str,
    models: Iterable[str],
    sizes: Iterable[int | str] = ("all",),
    seeds: int = 3,
    *,
    out: str | Path,
    workers: int = 0,
    launch: str = "local",
    options: Mapping[str, Any] | None = None,
    **asked: Any,
):
    """Train models on growing parts of a data set, all in the same way, and say which one wins with how much data.

    The same call goes on with a study that was stopped.

    Args:
        data: as for `train`.
        models: kinds (vit, cnn, mlp, ...) or names of `list_models()`.
        sizes: training pictures, "all" for every one; smaller sets are parts of larger ones.
        seeds: trainings of each model at each size.
        out: folder of the study.
        workers: processes; 0: one for each core.
        launch: local, submitit or ray: who starts them.
        options: as for `load`, of the checkpoints in `sources`.
        asked: other fields of `study.question.Question`, such as match="flops", samples=100_000, sources=(path,);
            and settings for all cells alike: `augment__flip=True` is `--augment.flip true`.

    Returns:
        StudyResult: `.results.cells`, `.summary`, `.out`.

    Raises:
        ConfigError: what was asked for cannot be done, or `out` holds a study of another question. And as `train`.
    """
    from .study.question import Question
    from .study.run import compare as run_study

    settings = {name.replace("__", "."): _text(value) for name, value in asked.items() if "__" in name}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items()
              if "__" not in name}  # fmt: skip
    question = Question(
        data=str(data), models=tuple(models), sizes=tuple(sizes), seeds=seeds, settings=settings, **fields
    )
    return run_study(question, out, partial(load, **(options or {})), workers=workers, launch=launch)
