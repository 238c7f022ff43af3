"""Studies from question to results: who learns from what, how it stops and goes on, and that the bytes stay."""

from __future__ import annotations

import dataclasses
import json
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

import patchwords as pw
from patchwords.cli import main
from patchwords.errors import CheckpointError, ConfigError, MissingError, NonFiniteError, Stopped
from patchwords.study import cell as cell_module
from patchwords.study.cell import compute, drawn, job_of, read_outcome, shift_consistency, shifted
from patchwords.study.folder import Study, open_study
from patchwords.study.run import compare, gathered
from patchwords.study.tasks import TRIAL_SEED, Task, cells, steps_of, tasks, trials_of
from patchwords.study.work import chosen_rate
from patchwords.study.worker import work_alone
from patchwords.use import load

from .small import ASKED, asked, begun, work_here

RESULTS = ("results.json", "results.npz", "results.csv")


class After:
    """A reason to stop that comes after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> str:
        self.looks -= 1
        return "a test" if self.looks < 0 else ""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study whose cells are all done."""
    made = begun(tmp_path_factory.mktemp("study"))
    work_here(made)
    return made


@pytest.fixture
def first(study: Study) -> Task:
    return cells(study.plan)[0]


def test_results_are_the_same_bytes_with_one_worker_and_with_two(tmp_path: Path) -> None:
    both = [tmp_path / "one", tmp_path / "two"]
    for workers, out in enumerate(both, start=1):
        told = pw.compare(**ASKED, out=out, workers=workers)
        assert len(told.results.cells) == 4
    for name in (*RESULTS, "report.html"):
        assert (both[0] / name).read_bytes() == (both[1] / name).read_bytes(), name
    assert {path.suffix for path in (both[1] / "cells").iterdir()} == {".npz"}


@pytest.mark.slow  # submitit starts its jobs here where there is no Slurm
@pytest.mark.parametrize("launch", ["submitit", "ray"])
def test_other_launchers_give_the_same_bytes(launch: str, study: Study, tmp_path: Path) -> None:
    pytest.importorskip(launch)
    told = pw.compare(**ASKED, out=tmp_path / "study", workers=2, launch=launch)
    assert len(told.results.cells) == 4
    gathered(study).write(study.out)
    for name in RESULTS:
        assert (tmp_path / "study" / name).read_bytes() == (study.out / name).read_bytes(), name


def test_every_cell_has_its_own_rate_and_sees_as_many_samples(study: Study) -> None:
    results = gathered(study)
    assert [cell.key for cell in results.cells] == sorted(cell.key for cell in results.cells)
    assert {cell.samples_seen for cell in results.cells} == {10 * 40, 384 // 64 * 64}
    for task in cells(study.plan):
        tried = [read_outcome(study.cell(trial.name)) for trial in trials_of(task, study.plan)]
        assert [outcome.lr for outcome in tried] == [1e-3, 3e-3]
        assert chosen_rate(study, task) == read_outcome(study.cell(task.name)).lr
        best = max(outcome.val_top1 for outcome in tried)
        assert chosen_rate(study, task) == min(outcome.lr for outcome in tried if outcome.val_top1 == best)
        assert all(outcome.votes is None and outcome.steps < steps_of(task, study.plan) for outcome in tried)


def test_answers_are_those_of_all_test_pictures(study: Study) -> None:
    labels = study.manifest.labels[study.manifest.split("test")]
    for cell in gathered(study).cells:
        assert np.array_equal(cell.correct, cell.votes == labels)
        assert 0 <= cell.shift_consistency <= 1 and len(cell.curve) == min(8, cell.steps)
        assert cell.curve[-1][:2] == (cell.samples_seen, cell.val_top1)


def test_training_knows_no_test_picture_and_learns_from_no_validation_picture(study: Study) -> None:
    apart = {split: set(study.manifest.split(split).tolist()) for split in ("val", "test")}
    for task in tasks(study.plan):
        chosen = drawn(study, task)
        assert len(chosen) == task.size and not apart["val"] & set(chosen.tolist())
        job = job_of(study, task, 1e-3, Path("nowhere"))
        known = {picture.sha256 for picture in job.manifest.pictures}
        assert known.isdisjoint(study.manifest.pictures[number].sha256 for number in apart["test"])
        assert "test" not in job.manifest.counts
        job.close()


def test_trials_draw_pictures_of_their_own(study: Study, first: Task) -> None:
    trial = trials_of(first, study.plan)[0]
    assert trial.seed == TRIAL_SEED and set(drawn(study, trial)) != set(drawn(study, first))


def test_a_cell_that_stops_goes_on_to_the_same_outcome(study: Study, first: Task, tmp_path: Path) -> None:
    whole, steps = read_outcome(study.cell(first.name)), 0
    while True:
        try:
            outcome = compute(study, first, whole.lr, tmp_path, After(3), {})
            break
        except Stopped:
            steps += 1
    assert steps > 1
    assert np.array_equal(outcome.votes, whole.votes)
    plain = [dataclasses.replace(each, seconds=0.0, votes=None) for each in (outcome, whole)]
    assert plain[0] == plain[1]


def test_a_damaged_state_starts_the_cell_again(study: Study, first: Task, tmp_path: Path) -> None:
    whole = read_outcome(study.cell(first.name))
    with pytest.raises(Stopped):
        compute(study, first, whole.lr, tmp_path, After(2), {})
    for path in (tmp_path / "state").glob("*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(compute(study, first, whole.lr, tmp_path, After(1000), {}).votes, whole.votes)


def test_a_finished_study_is_reported_again_without_its_data_or_any_work(study: Study, capfd) -> None:
    assert main(["compare", "--out", str(study.out)]) == 0
    told = capfd.readouterr().out
    assert "report" in told and "bag" in told
    assert main(["compare", "--out", str(study.out), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["test_pictures"] == 359


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (40, 121)}, "--sizes was 40,120, now 40,121"),
        ({"samples": 385}, "--samples was 384, now 385"),
        ({"rates": (1e-3,)}, "--lrs was 0.001,0.003, now 0.001"),
        ({"settings": {"augment.flip": "true"}}, "--settings was nothing, now --augment.flip true"),
    ],
)
def test_another_question_in_the_same_folder_is_refused_by_name(study: Study, changes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        compare(asked(**changes), study.out, load)
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("vit", "cn")}, "Did you mean cnn"),
        ({"models": ()}, "no model was given"),
        ({"models": ("vit_micro_patch4_23",)}, "Did you mean vit_micro_patch4_32"),
        ({"sizes": ("5x",)}, "is not a number of pictures"),
        ({"sizes": (40, 40)}, "40 is given twice"),
        ({"sizes": (40, 5000)}, "there are 1293 training pictures"),
        ({"sizes": (1293, "all")}, "all is 1293"),
        ({"sizes": (5,)}, "cannot hold 10 classes"),
        ({"augment": ("hard",)}, "is not a level"),
        ({"settings": {"optimizer.lr": "1"}}, "Give --lrs"),
        ({"settings": {"model.dim": "3"}}, "cannot be set for a study"),
        ({"epochs": 3.0}, "needs --match epochs"),
        ({"data": "nowhere"}, "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises((ConfigError, MissingError), match=words) as caught:
        begun(tmp_path, **changes)
    assert "\n" not in caught.value.line() and not (tmp_path / "study.yaml").exists()


def test_a_folder_that_is_no_study_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty and not a study"):
        compare(asked(), tmp_path, load)
    with pytest.raises(MissingError, match="there is no study"):
        work_alone(str(tmp_path))
    with pytest.raises(MissingError, match="no study to go on with"):
        compare(None, tmp_path, load)


def test_matching_says_how_many_samples_are_seen(tmp_path: Path) -> None:
    flops = begun(tmp_path / "flops", match="flops").plan
    spent = [flops.samples(each, 40) * each.flops for each in flops.contenders]
    assert spent[0] == pytest.approx(spent[1]) and flops.samples(flops.contenders[0], 40) == 384
    epochs = begun(tmp_path / "epochs", match="epochs", samples=0, epochs=5.0).plan
    assert [epochs.samples(epochs.contenders[1], size) for size in epochs.sizes] == [200, 600]
    timed = begun(tmp_path / "time", match="time").plan
    lasted = [timed.samples(each, 40) * each.seconds for each in timed.contenders]
    assert lasted[0] == pytest.approx(lasted[1]) and lasted[0] > 0
    assert open_study(tmp_path / "time").plan == timed


def test_more_draws_levels_and_a_checkpoint_are_cells_too(study: Study, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pw.train("digits", run, model="vit_digits", train__steps=2, train__compile="off", train__tensorboard=False)
    more = begun(
        tmp_path / "study", sizes=(40,), models=("mlp",), rates=(1e-3,), samples=128, augment=("none", "light"),
        bootstrap=2, disjoint=2, sources=(str(run),),
    )  # fmt: skip
    work_here(more)
    found = gathered(more).cells
    assert {(cell.arm, cell.model) for cell in found} == {("scratch", "mlp"), ("transfer", "run")}
    assert {cell.augment for cell in found} == {"none", "light"}
    assert {(cell.draw, cell.seed) for cell in found} == {("subset", 0), ("bootstrap", 0), ("bootstrap", 1),
                                                          ("disjoint", 0), ("disjoint", 1)}  # fmt: skip
    assert {cell.lr for cell in found if cell.arm == "transfer"} == {1e-4}
    answers = {cell.key: cell.votes.tobytes() for cell in found}
    assert len(set(answers.values())) > len(found) // 2


def test_a_rate_at_which_training_breaks_down_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = begun(tmp_path, sizes=(40,), models=("mlp",), samples=64, rates=(1e-3, 90.0))
    honest = cell_module.train_steps

    def breaking(job, stops) -> None:
        if job.run.optimizer.lr > 1:
            raise NonFiniteError("the loss is not a finite number", where="training")
        honest(job, stops)

    monkeypatch.setattr(cell_module, "train_steps", breaking)
    work_here(study)
    assert [cell.lr for cell in gathered(study).cells] == [1e-3]


def test_shifts_move_pictures_by_one_pixel_and_copy_the_edge() -> None:
    picture = torch.arange(6).reshape(1, 1, 2, 3)
    assert shifted(picture, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert shifted(picture, 0, -1)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5]]


def test_shift_consistency_is_the_share_of_answers_that_stay() -> None:
    pixels = torch.zeros(2, 1, 3, 3)
    pixels[0, 0, 0, 1] = 1  # its middle row and column are dark, until it moves down

    def logits(moved: torch.Tensor) -> np.ndarray:
        middle = moved[:, 0, 1, 1].numpy()
        return np.stack([1 - middle, middle], axis=1)

    votes = np.argmax(logits(pixels), axis=1)
    assert shift_consistency(votes, pixels, logits) == pytest.approx(7 / 8)


def test_damaged_files_are_named(study: Study, first: Task, tmp_path: Path) -> None:
    copy = tmp_path / "cell.npz"
    whole = study.cell(first.name).read_bytes()
    for content in (b"", whole[:-50], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        copy.write_bytes(content)
        with pytest.raises(CheckpointError, match="is damaged"):
            read_outcome(copy)


@pytest.mark.parametrize("name", ["submitit", "ray"])
def test_a_launcher_that_is_not_installed_is_refused_by_name(tmp_path: Path, name: str) -> None:
    if util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(ConfigError, match=f"pip install {name}"):
        compare(asked(), tmp_path / "study", load, launch=name)
    assert not (tmp_path / "study").exists()
