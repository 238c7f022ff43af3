"""What a run leaves on disk: `model/`, complete alone, and `state/`, two generations, to go on from."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from . import files
from .architecture import TITLES, Architecture, architecture_of
from .errors import CheckpointError, ConfigError, MissingError, PatchwordsError, printable, suggestion
from .overrides import to_dict, with_fields
from .preprocess import Preprocess
from .tensorfile import TensorFile

if TYPE_CHECKING:
    from .formats.report import Report

FORMAT = 1
WEIGHTS, CONFIG, PREPROCESS, CARD = "model.safetensors", "config.json", "preprocessor_config.json", "README.md"
STATE, META = "state.safetensors", "meta.json"
GENERATIONS = 2


@dataclass(frozen=True)
class LoadedModel:
    """A model with everything that belongs to it: `model, classes, preprocess = pw.load("RUN")`."""

    model: nn.Module
    """in evaluation mode, float32"""
    classes: tuple[str, ...]
    """class names in the order of the logits"""
    preprocess: Preprocess
    """picture bytes to pixels, pixels to the model's input"""
    provenance: dict[str, Any]
    """where the weights came from: data, run, versions, results"""
    report: Report | None = None
    """what became of every tensor of the file"""

    def __iter__(self):
        return iter((self.model, self.classes, self.preprocess))

    def predict(self, paths: list[str | Path] | str | Path, top: int = 5) -> list[list[tuple[str, float]]]:
        """Return for each picture the `top` most probable (class, probability), most probable first.

        Raises:
            MissingError, DataError: a file is not there or is not a picture; names it.
        """
        paths = [paths] if isinstance(paths, str | Path) else list(paths)
        pixels = [self.preprocess.pixels(files.read_bytes(path), str(path)) for path in paths]
        if not pixels:
            return []
        probabilities = predict_probabilities(self, torch.stack(pixels))
        return [ranked(row, self.classes, top) for row in probabilities]


def predict_probabilities(loaded: LoadedModel, pixels: Tensor) -> Tensor:
    """Return class probabilities (batch, class) of uint8 pixels (batch, channel, row, column)."""
    with torch.inference_mode():
        return loaded.model(loaded.preprocess.normalize(pixels)).float().softmax(dim=-1)


def ranked(probabilities: Tensor, classes: tuple[str, ...], top: int) -> list[tuple[str, float]]:
    """Return the `top` (class, probability) of one row of probabilities, most probable first."""
    values, indices = probabilities.topk(min(top, len(classes)))
    return [(classes[index], value) for value, index in zip(values.tolist(), indices.tolist(), strict=True)]


def save_model(
    folder: Path,
    config: Architecture,
    weights: dict[str, Tensor],
    classes: tuple[str, ...],
    preprocess: Preprocess,
    provenance: dict[str, Any],
) -> None:
    """Write the folder one shares: architecture, weights, class names, preprocessing, provenance, model card.

    The layout is Hugging Face's (config.json, model.safetensors, preprocessor_config.json, README.md), with a
    sha256 manifest beside them.
    """
    description = {
        "library_name": "patchwords",
        "format": FORMAT,
        "architectures": [config.kind],
        "model": to_dict(config),
        "num_labels": len(classes),
        "id2label": {str(index): name for index, name in enumerate(classes)},
        "label2id": {name: index for index, name in enumerate(classes)},
        "provenance": provenance,
    }
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}
    contents = {
        CONFIG: _json_bytes(description),
        PREPROCESS: _json_bytes(preprocess.to_json()),
        WEIGHTS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
        CARD: _card(config, classes, provenance).encode(),
    }
    files.write_folder(folder, contents)


def load_model(path: str | Path) -> LoadedModel:
    """Load a run folder or a `model/` folder; every byte is checked against its sha256.

    Raises:
        MissingError: nothing there. CheckpointError: damaged, incomplete, or of another kind; names the file.
    """
    folder, entries = files.open_folder(model_folder(Path(path)))
    _require_listed(folder, entries, (CONFIG, PREPROCESS, WEIGHTS))
    contents = {name: files.read_checked(folder / name, entries[name]) for name in (CONFIG, PREPROCESS)}
    weights = TensorFile(folder / WEIGHTS).read_checked(entries[WEIGHTS])
    try:
        return _loaded(contents, weights, folder)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        detail = error.line() if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"does not describe a model ({detail})", where=str(folder / CONFIG), fix="Use a matching patchwords"
        ) from error


def _require_listed(folder: Path, entries: dict[str, files.Entry], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in entries:
            raise CheckpointError("is missing", where=str(folder / name), fix="Use a copy of the folder")


def _loaded(contents: dict[str, bytes], weights: dict[str, Tensor], folder: Path) -> LoadedModel:
    where = str(folder / CONFIG)
    description = json.loads(contents[CONFIG])
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"is of format {description.get('format')!r}, not {FORMAT}", where=where, fix="Use a matching patchwords"
        )
    from .models import build_empty

    config = with_fields(architecture_of(description["model"].get("kind", "vit")), description["model"])
    model = build_empty(config)
    _fill(model, weights, str(folder / WEIGHTS))
    classes = tuple(description["id2label"][str(index)] for index in range(description["num_labels"]))
    preprocess = Preprocess.from_json(json.loads(contents[PREPROCESS]))
    return LoadedModel(model.eval(), classes, preprocess, description["provenance"])


def model_folder(path: Path) -> Path:
    """Return the `model/` folder of a run folder, or `path` itself when it is one.

    Raises:
        MissingError: nothing there, or a run that has not written a model yet. CheckpointError: something else.
    """
    if (path / "model").is_dir():
        return path / "model"
    if (path / files.MANIFEST).exists():
        return path
    if (path / "config.yaml").exists():
        raise MissingError("has no model yet", where=str(path), fix="Finish its training: run the same command again")
    if path.exists():
        raise CheckpointError(
            "is not a run folder or a model folder", where=str(path), fix="Give the --out folder of `patchwords train`"
        )
    siblings = [str(path.parent / entry.name) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = suggestion(str(path), siblings).strip()
    raise MissingError("no such file or folder", where=str(path), fix=hint or "Give the --out folder of a run")


def _fill(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put `tensors` into `model`, whose own are on the meta device; each must be there, with its shape."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{len(wrong)} tensors do not fit, first {name}: has {found.get(name)}, needs {expected.get(name)}",
            where=where,
            fix="The weights belong to another architecture",
        )
    model.load_state_dict(tensors, strict=True, assign=True)


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _card(config: Architecture, classes: tuple[str, ...], provenance: dict[str, Any]) -> str:
    shown = ", ".join(map(printable, classes[:20])) + (", ..." if len(classes) > 20 else "")
    lines = [
        "---",
        "library_name: patchwords",
        "pipeline_tag: image-classification",
        "---",
        f"# {TITLES[config.kind][0].upper()}{TITLES[config.kind][1:]} for {len(classes)} classes",
        "",
        f"Pictures of {config.image_size[0]}x{config.image_size[1]} pixels; {config.summary}.",
        "",
        f"Classes: {shown}.",
        "",
        "```python",
        "import patchwords as pw",
        'pw.load("THIS FOLDER").predict(["picture.jpg"])',
        "```",
        "",
        "## Where it comes from",
        "",
        *(f"- {name}: {json.dumps(value)}" for name, value in provenance.items()),
    ]
    return "\n".join(lines) + "\n"


# Training state --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedState:
    """One generation of training state."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def state_folder(run: Path, step: int) -> Path:
    """Return the folder of the state after `step` steps."""
    return run / "state" / f"step-{step:08d}"


def save_state(run: Path, state: SavedState) -> None:
    """Write one generation of training state and remove all but the last two."""
    folder = state_folder(run, state.step)
    with files.faults_named(folder, "write"):
        folder.parent.mkdir(exist_ok=True)
    contents = {
        META: _json_bytes({"format": FORMAT, "step": state.step} | state.meta),
        STATE: safetensors.torch.save({name: tensor.detach().cpu() for name, tensor in state.tensors.items()}),
    }
    files.write_folder(folder, contents)
    for old in _generations(run)[GENERATIONS:]:
        files.remove_folder(old)


def load_state(run: Path) -> SavedState | None:
    """Return the newest state that is whole, or None when the run has not saved one.

    A damaged generation is named on standard error and the one before it is taken.

    Raises:
        CheckpointError: there are states and every one is damaged.
    """
    if not (run / "state").is_dir():
        return None
    files.remove_temporaries(run / "state")
    faults: list[PatchwordsError] = []
    for folder in _generations(run):
        try:
            return _saved_state(*files.open_folder(folder))
        except PatchwordsError as fault:
            faults.append(fault)
            print(f"warning: {fault.line()}; taking the state saved before it", file=sys.stderr)
    if faults:
        raise CheckpointError(
            "every saved state is damaged",
            where=str(run / "state"),
            fix="Restore a copy, or remove the run folder to start again",
        )
    return None


def _saved_state(folder: Path, entries: dict[str, files.Entry]) -> SavedState:
    """Return the training state in `folder`, every byte checked."""
    _require_listed(folder, entries, (META, STATE))
    meta = json.loads(files.read_checked(folder / META, entries[META]))
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"is of format {meta.get('format')!r}, not {FORMAT}", where=str(folder / META))
    return SavedState(int(meta["step"]), TensorFile(folder / STATE).read_checked(entries[STATE]), meta)


def _generations(run: Path) -> list[Path]:
    """Return the state folders of a run, newest first."""
    return sorted((run / "state").glob("step-*"), reverse=True)


def tensors_hash(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 of names, types, shapes and bytes: equal exactly when the tensors are bit-identical."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
