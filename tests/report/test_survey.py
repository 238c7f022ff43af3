"""`inspect` end to end: every exhibit of every kind of model, the same numbers everywhere, one folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import patchwords as pw
from patchwords import inspection
from patchwords.checkpoint import LoadedModel, tensors_hash
from patchwords.errors import CheckpointError, ConfigError, DataError, WriteError
from patchwords.report.exhibits import EXHIBITS
from tests.command_line import assert_one_line, call
from tests.inspection.tiny import tiny_cnn
from tests.report.tiny import KINDS, Parsed, draw_pictures, tiny

MISSING = {
    "no positions": {"position": "no positions"},
    "no head": {"attribution": "no head", "lens": "no head"},
    "attention pooling": {"lens": "cannot read single tokens"},
    "every token answers": {
        "attribution": "one vector of classes",
        "lens": "cannot read single tokens",
        "nearest": "no single vector",
    },
}
"""kind -> exhibit -> words of why it does not apply"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_exhibit_of_every_kind_has_numbers_or_says_why_not(kind, pictures):
    found = pw.inspect(tiny(kind), pictures)
    assert [outcome.exhibit.name for outcome in found.outcomes] == list(EXHIBITS)
    for outcome in found.outcomes:
        why = MISSING.get(kind, {}).get(outcome.exhibit.name, "")
        assert why in outcome.why and bool(why) == bool(outcome.why), (outcome.exhibit.name, outcome.why)
        assert bool(outcome.finding) != bool(outcome.why)
        if outcome.finding:
            finding = outcome.finding
            assert finding.results and finding.drawings and finding.says and all(finding.says)
            for result in finding.results.values():
                assert result.rows() and any(array.size for array in inspection.results.arrays(result).values())
            assert not any("nan" in sentence for sentence in finding.says), finding.says


def test_the_same_numbers_as_the_functions_give(pictures):
    loaded = tiny()
    pixels = [loaded.preprocess.pixels(path.read_bytes()) for path in pictures]
    images = loaded.preprocess.normalize(torch.stack(pixels))
    found = pw.inspect(loaded, pictures, only=["distance", "similarity", "norms", "lens"])
    wanted = inspection.attention_distance(loaded.model, images)
    np.testing.assert_allclose(found["distance"].distance_px, wanted.distance_px, rtol=1e-5)
    assert found["distance"].pictures == len(pictures)
    np.testing.assert_allclose(
        found["similarity"].cka, inspection.measure_similarity(loaded.model, images).cka, atol=1e-5
    )
    np.testing.assert_allclose(found["norms"].ratio, inspection.measure_norms(loaded.model, images).ratio, rtol=1e-4)
    np.testing.assert_array_equal(found["lens"].answers[-1], loaded.model(images).argmax(1).numpy())


def test_the_folder_has_everything(looked, run):
    out, answer = looked
    names = {path.name for path in out.iterdir()}
    index = json.loads((out / "index.json").read_text())
    assert index["model"]["sha256"] == tensors_hash(pw.load(run).model.state_dict())
    assert [each["name"] for each in index["exhibits"]] == list(EXHIBITS)
    wanted = {"index.json", "report.html", "pictures.csv"}
    for each in index["exhibits"]:
        assert each["why_not"] == "", each
        wanted |= {f"{name}{end}" for name in each["figures"] for end in (".png", ".svg")}
        wanted |= {f"{name}{end}" for name in each["tables"] for end in (".csv", ".npz")}
    assert names == wanted
    assert all((out / name).stat().st_size > 100 for name in names)
    assert (out / "report.html").stat().st_size < 15e6
    for name in EXHIBITS:
        assert f"\n{name} " in f"\n{answer.out}"
    assert f"report       {out}/report.html" in answer.out


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_npz_and_page_say_the_same(looked):
    out, answer = looked
    table = rows_of(out / "distance.csv")
    arrays = np.load(out / "distance.npz")
    page = Parsed((out / "report.html").read_text())
    shown = page.tables["Every head, the furthest of each layer first"][1:]
    assert len(table) == len(shown) == arrays["distance_px"].size
    by_head = {(row[0], row[1]): row for row in shown}
    for row in table:
        place = int(row["layer"]) - 1, int(row["head"]) - 1
        assert float(row["distance_px"]) == pytest.approx(float(arrays["distance_px"][place]), rel=1e-7)
        assert by_head[row["layer"], row["head"]][2] == row["distance_px"]
    first = [row for row in table if row["layer"] == "1"]
    furthest = max(first, key=lambda row: float(row["distance_px"]))
    assert shown[0][:3] == [furthest[name] for name in ("layer", "head", "distance_px")]
    assert f"In layer 1 head {furthest['head']} looks furthest" in page.text
    layers = page.tables["Layer by layer"]
    assert layers[1][2] == furthest["head"] and layers[1][3] == furthest["distance_px"]


def test_key_numbers_of_index_and_page_agree(looked):
    out, _ = looked
    index = json.loads((out / "index.json").read_text())
    rows = Parsed((out / "report.html").read_text()).tables["Key numbers"]
    shown = {(name.strip(), value) for name, value in ((row[0], row[1]) for row in rows)}
    for exhibit in index["exhibits"]:
        for each in exhibit["numbers"]:
            value = each["value"]
            text = "nan" if value is None else str(value) if isinstance(value, int) else f"{value:.9g}"
            assert (each["name"], text) in shown, each


def test_a_run_brings_its_own_pictures_and_a_second_look_is_the_same(run, tmp_path):
    answers = []
    for _ in range(2):
        answers.append(call("inspect", run, "--out", tmp_path / "seen", "--only", "distance,nearest"))
        assert answers[-1].code == 0, answers[-1].err
        answers.append({path.name: path.read_bytes() for path in (tmp_path / "seen").iterdir()})
    assert answers[1] == answers[3]
    index = json.loads(answers[1]["index.json"])
    assert "test pictures of pictures" in index["pictures"]["what"] and index["pictures"]["count"] == 12
    assert "training pictures" in (tmp_path / "seen" / "report.html").read_text()
    assert {row["class"] for row in rows_of(tmp_path / "seen" / "pictures.csv")} == {"bar", "dot", "ring"}


def test_a_sample_is_drawn_by_seed(run):
    def paths(**options):
        return pw.inspect(run, only=["distance"], count=5, **options).subject.paths

    assert len(paths()) == 5 and paths() == paths() and paths(seed=1) != paths()
    assert "5 of the 12 test pictures" in pw.inspect(run, only=["distance"], count=5).pictures


def test_without_pictures_only_what_needs_none(run, tmp_path):
    answer = call("inspect", run / "model", "--out", tmp_path / "seen")
    assert answer.code == 0 and "note: no pictures are given: only exhibits that need none are shown" in answer.err
    index = json.loads((tmp_path / "seen/index.json").read_text())
    there = {each["name"] for each in index["exhibits"] if not each["why_not"]}
    assert there == {"filters", "position"}
    text = Parsed((tmp_path / "seen/report.html").read_text()).text
    assert "It needs pictures, and none were given." in text and "What does not apply" in text


def test_a_damaged_picture_is_named_and_the_rest_goes_on(run, tmp_path):
    paths = draw_pictures(tmp_path / "some", 5)
    paths[2].write_bytes(b"no picture")
    answer = call("inspect", run, *paths, "--out", tmp_path / "seen", "--only", "distance")
    assert answer.code == 65 and len(answer.errors) == 1 and "2.png" in answer.errors[0]
    index = json.loads((tmp_path / "seen/index.json").read_text())
    assert index["pictures"]["count"] == 4 and "2.png" in json.dumps(index["pictures"]["faults"])
    assert "2.png" in Parsed((tmp_path / "seen/report.html").read_text()).text
    with pytest.raises(DataError, match="2.png"):
        pw.inspect(run, [paths[2]], only=["distance"])


def test_a_data_set_brings_labels(run):
    found = pw.inspect(run, run.parent / "pictures", only=["lens"])
    assert len(found.subject.labels) == 60 and np.isfinite(found["lens"].accuracy).all()
    assert "the 60 pictures of pictures" in found.pictures
    assert pw.inspect(run, draw_pictures(run.parent / "plain", 4), only=["lens"]).subject.labels is None


def test_what_inspect_did_not_write_is_not_replaced(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.json").write_text('{"written_by": "me"}')
    assert_one_line(call("inspect", run, "--out", tmp_path / "mine"), 73, "mine", "did not write", "Give another --out")
    assert (tmp_path / "mine/index.json").read_text() == '{"written_by": "me"}'
    (tmp_path / "empty").mkdir()
    assert call("inspect", run, "--out", tmp_path / "empty", "--only", "filters").code == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        pw.inspect(run, out=tmp_path / "file", only=["filters"])


def test_only_names_the_nearest_before_any_work(run, tmp_path):
    answer = call("inspect", run, "--only", "distence", "--out", tmp_path / "seen")
    assert_one_line(answer, 2, "'distence'", "Did you mean distance?", "rollout")
    assert not (tmp_path / "seen").exists()
    assert_one_line(call("inspect", run, "--only", ",", "--out", tmp_path / "seen"), 2, "--only", "--list")
    assert_one_line(call("inspect", run, "--pictures", 0, "--out", tmp_path / "seen"), 2, "--pictures")
    assert_one_line(call("inspect", tmp_path / "none", "--out", tmp_path / "seen"), 66, "none")
    with pytest.raises(ConfigError, match="Did you mean rollout"):
        pw.inspect(run, only=["rolout"])


def test_list_needs_no_checkpoint():
    answer = call("inspect", "--list")
    assert answer.code == 0 and all(f"{name} " in answer.out for name in EXHIBITS)


def test_json(run, tmp_path):
    answer = call("inspect", run, "--out", tmp_path / "seen", "--only", "distance", "--json")
    found = answer.json()
    assert found["out"] == str(tmp_path / "seen") and found["exhibits"][0]["name"] == "distance"
    stored = json.loads((tmp_path / "seen/index.json").read_text())
    assert {name: found[name] for name in stored} == stored


def test_a_second_model_is_shown_the_same_pictures(pictures, tmp_path):
    first, second = tiny(), tiny("averaged, relative", seed=1)
    found = pw.inspect(first, pictures, other=second)
    names = {"distance_other", "rollout_other", "filters_overlap", "attribution_other", "curves_other"}
    assert (
        names | {"similarity_other", "similarity_between", "position_other", "receptive_other"} <= found.results.keys()
    )
    assert found["position_other"].bias.ndim == 4
    assert found.as_dict()["other"]["config"]["position"] == "relative"
    pw.inspect(first, pictures, other=second, only=["distance", "position"], out=tmp_path / "seen")
    drawn = {"distance", "distance_other", "position", "position_other"}
    assert drawn == {path.stem for path in (tmp_path / "seen").glob("*.svg")}
    same = pw.inspect(first, pictures, other=first, only=["similarity", "filters"])
    np.testing.assert_allclose(np.diag(same["similarity_between"].cka)[1:], 1, atol=1e-6)
    assert same["filters_overlap"].overlap_share == pytest.approx(1)


def test_nothing_is_written_or_drawn_without_a_folder(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = pw.inspect(tiny(), pictures, only=["distance"])
    assert not list(tmp_path.iterdir()) and not found.outcomes[0].images


def test_a_cnn_beside_a_vit(tmp_path):
    loaded = tiny("rectangle")
    cnn = LoadedModel(tiny_cnn(image_size=(12, 20), classes=3), loaded.classes, loaded.preprocess, {})
    paths = draw_pictures(tmp_path / "pictures")
    found = pw.inspect(cnn, paths, out=tmp_path / "seen", only=["distance", "rollout", "filters", "receptive", "norms"])
    told = {outcome.exhibit.name: outcome.why for outcome in found.outcomes}
    assert "has no attention to look at" in told["distance"] and "has no attention" in told["rollout"]
    assert not told["receptive"] and not told["filters"]
    assert "has no attention to look at" in Parsed((tmp_path / "seen/report.html").read_text()).text
    both = pw.inspect(loaded, paths, other=cnn)
    assert {"receptive_other", "similarity_between", "attribution_other", "distance"} <= both.results.keys()
    assert "distance_other" not in both.results
    notes = [note for outcome in both.outcomes if outcome.finding for note in outcome.finding.notes]
    assert any("no attention" in note for note in notes) and all("Traceback" not in note for note in notes)


def test_a_model_that_diverged_is_refused(pictures):
    loaded = tiny()
    with torch.no_grad():
        loaded.model.pos_embed[0, 1, 2] = float("nan")
    with pytest.raises(CheckpointError, match="not finite; the first is pos_embed"):
        pw.inspect(loaded, pictures)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_model_of_zeros_and_a_single_picture_have_their_page(pictures, tmp_path):
    loaded = tiny()
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.zero_()
    assert all(outcome.finding for outcome in pw.inspect(loaded, pictures).outcomes)
    found = pw.inspect(tiny(), pictures[:1])
    why = {outcome.exhibit.name: outcome.why for outcome in found.outcomes if outcome.why}
    assert why.keys() == {"nearest", "similarity"} and "4 pictures or more, and 1 is given" in why["similarity"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_of_every_kind_is_drawn(kind, pictures, tmp_path):
    found = pw.inspect(tiny(kind), pictures, out=tmp_path / "seen")
    for outcome in found.outcomes:
        for image in outcome.images:
            assert len(image.png) > 2000 and b"<svg" in image.svg and b"<svg" in image.narrow
            assert (tmp_path / "seen" / f"{image.drawing.name}.png").read_bytes() == image.png
        assert bool(outcome.images) == bool(outcome.finding)
    page = Parsed((tmp_path / "seen/report.html").read_text())
    assert sum(name == "figure" for name, _ in page.elements) == sum(len(each.images) for each in found.outcomes)
