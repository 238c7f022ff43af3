"""From a wish to a survey: gather the pictures, show them to one model or two, say how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import figures
from ..architecture import in_range
from ..checkpoint import LoadedModel
from ..errors import CheckpointError, PatchwordsError
from ..progress import Progress, say
from .exhibits import choose_exhibits
from .pictures import Sample, named_pictures, numbered, pictures_of_run, read_sample
from .subject import Gallery, Subject
from .survey import Survey, check_folder, survey_model

GALLERY = 1024
"""training pictures of a run among which the nearest are looked for"""
MOST_GFLOP = 1500.0
"""10^9 operations that going through them may cost"""


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    pictures: Sequence[str | Path]
    only: tuple[str, ...]
    count: int
    seed: int
    out: Path | None
    draw: bool = False
    """draw figures also where nothing is written"""

    def check(self) -> None:
        """Raise what is wrong with it, before any work is done.

        Raises:
            ConfigError: no such exhibit or count; matplotlib is not installed. WriteError: the folder holds something
            else.
        """
        choose_exhibits(self.only)
        in_range("--pictures", self.count, 1, 100_000)
        in_range("--seed", self.seed, 0, 2**32 - 1)
        if self.out is not None:
            check_folder(self.out)
            figures.new_figure()  # says what to install before anything is measured


def look_inside(models: Sequence[tuple[LoadedModel, str]], request: Request) -> Survey:
    """Look at a model (and a second one beside it), write the folder where one is named, and return what was seen.

    Args:
        models: each with its name as the user wrote it.

    Raises:
        ConfigError: no such exhibit or count. WriteError: the folder holds something else. DataError: no picture can be
        read. CheckpointError: a model that is not made of numbers.
    """
    request.check()
    chosen, (_, name) = choose_exhibits(request.only), models[0]
    needs = any("pictures" in exhibit.needs for exhibit in chosen)
    sample, notes = _sample(models, request) if needs else (None, [])
    subjects = [_subject(model, each, sample, number, request.seed) for number, (model, each) in enumerate(models)]
    if sample and any(exhibit.name == "nearest" for exhibit in chosen):
        subjects[0] = _with_gallery(subjects[0], name, request)
    progress = _Shown("inspecting")
    found = survey_model(
        subjects[0],
        subjects[1] if len(subjects) > 1 else None,
        request.only,
        sample.what if sample else "none",
        notes=notes,
        faults=sample.faults if sample else (),
        draw=request.draw or request.out is not None,
        progress=progress,
    )
    progress.close()
    if request.out is not None:
        found.write(request.out)
    return found


def _sample(models: Sequence[tuple[LoadedModel, str]], request: Request) -> tuple[Sample | None, list[str]]:
    """Return the pictures to look at, and what to say where there are none."""
    loaded, name = models[0]
    if request.pictures:
        candidates, told = named_pictures(request.pictures, loaded.classes)
    else:
        try:
            candidates, told = pictures_of_run(Path(name))
        except PatchwordsError as fault:
            candidates, told = [], f"the run's own pictures cannot be read ({fault.line()})"
        if not candidates:
            note = f"{told or 'no pictures are given'}: only exhibits that need none are shown"
            say(f"note: {note}")
            return None, [f"{note[:1].upper()}{note[1:]}."]
    progress = _Shown("reading pictures")
    preprocesses = [model.preprocess for model, _ in models]
    sample = read_sample(
        candidates, told, preprocesses, request.count, request.seed, lambda done, total: progress(done, total, "")
    )
    progress.close()
    return sample, []


def _subject(loaded: LoadedModel, name: str, sample: Sample | None, number: int, seed: int) -> Subject:
    _require_finite(loaded, name)
    channels, size = loaded.preprocess.channels, loaded.preprocess.image_size
    shown = _short(name)
    if sample is None:
        return Subject(shown, loaded, torch.zeros((0, channels, *size), dtype=torch.uint8), seed=seed)
    labels = numbered(sample.labels, loaded.classes)
    known = labels if (labels >= 0).any() else None
    return Subject(shown, loaded, sample.pixels[number], sample.paths, known, None, seed)


def _require_finite(loaded: LoadedModel, name: str) -> None:
    wrong = [each for each, values in loaded.model.named_parameters() if not values.isfinite().all()]
    if wrong:
        what = f"{len(wrong)} of its parameters hold numbers that are not finite; the first is {wrong[0]}"
        raise CheckpointError(what, where=name, fix="Use a checkpoint from before its training diverged")


def _short(name: str) -> str:
    """Return the last two parts of a path: what a person calls a model."""
    parts = Path(name).parts
    return "/".join(parts[-2:]) if parts[-1:] == ("model",) else (parts[-1] if parts else name)


def _with_gallery(subject: Subject, name: str, request: Request) -> Subject:
    """Return `subject` with a sample of the training pictures of its run, where it has any."""
    from dataclasses import replace

    try:
        candidates, told = pictures_of_run(Path(name), ("train",))
        if not candidates:
            return subject
        count = max(64, min(GALLERY, int(MOST_GFLOP / max(subject.gflop, 1e-9))))
        preprocess = [subject.loaded.preprocess]
        nothing: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
        sample = read_sample(candidates, told, preprocess, count, request.seed, nothing, "gallery")
    except PatchwordsError:
        return subject
    labels = numbered(sample.labels, subject.classes)
    return replace(subject, gallery=Gallery(sample.what, sample.pixels[0], sample.paths, labels))


class _Shown:
    """A progress that appears with the first thing that is done."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        """Say that `done` of `total` are done, and what goes on."""
        if self._bar is None:
            self._bar = Progress(self.label, total)
        self._bar.update(done, what)

    def close(self) -> None:
        """End it."""
        if self._bar is not None:
            self._bar.close()
