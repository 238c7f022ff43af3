"""Promises of exported files: the same answers, from the file alone, for any number of pictures; checked, atomic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch

import patchwords as pw
from patchwords.checkpoint import LoadedModel
from patchwords.export import BOUNDS, Exported, choose, openvino_file, read, write
from patchwords.export.engine import TorchEngine
from patchwords.preprocess import Preprocess

from ..command_line import assert_one_line, call
from ..models.families import EVERY, alive

Files = dict[tuple[str, str], Exported]
KINDS = [("onnx", "fp32"), ("openvino", "bf16"), ("program", "fp32"), ("onnx", "int8")]
QUICK = ("vit_digits", "vit_local_convpool_patch8_32", "cnn", "lstm_both_ways")
every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)


def pictures(preprocess: Preprocess, count: int) -> torch.Tensor:
    """Return (count, C, H, W) uint8 of noise."""
    size = (count, preprocess.channels, *preprocess.image_size)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@every_kind
def test_any_number_of_pictures_is_answered_as_the_model_does(kind, run: Path, exported: Files) -> None:
    loaded, engine = pw.load(run), read(exported[kind].out, trusted=True)
    for count in (1, 3, 3, 9):
        pixels = pictures(loaded.preprocess, count)
        with torch.inference_mode():
            wanted = loaded.model(loaded.preprocess.normalize(pixels))
            found = engine(pixels)
        assert found.dtype == torch.float32 and found.shape == wanted.shape
        bound = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.3}[kind[1]] * wanted.abs().max().clamp_min(1)
        assert (found - wanted).abs().max() < bound


def test_every_thread_answers_for_some_of_many_pictures(run: Path, exported: Files, monkeypatch) -> None:
    loaded, engine = pw.load(run), read(exported["openvino", "bf16"].out)
    pixels = pictures(loaded.preprocess, 23)
    monkeypatch.setattr(engine, "threads", 1)
    wanted = engine(pixels)
    for threads, request in ((2, 10**9), (3, 2 * pixels[0].numel()), (3, 1)):
        engine.__dict__.pop("_apart", None)
        monkeypatch.setattr(engine, "threads", threads)
        monkeypatch.setattr(openvino_file, "REQUEST", request)
        assert (engine(pixels) - wanted).abs().max() <= 0.02 * wanted.abs().max()


@every_kind
def test_the_check_reports_agreement_and_accuracy(kind, exported: Files) -> None:
    found = exported[kind].check
    assert found.top1 >= 0.995 and found.relative_logit <= BOUNDS[kind[1]]
    assert found.mean_logit <= found.largest_logit and found.pictures == 1000
    assert abs(found.accuracy_before - found.accuracy_after) <= 0.005


def test_int8_leaves_out_more_products_until_the_check_passes(run: Path, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("nncf")

    def exported_with(*kept: int) -> Exported:
        monkeypatch.setattr(write, "KEPT", list(kept))
        out = tmp_path / f"{len([*tmp_path.iterdir()])}.xml"
        return pw.export(run, out, to="openvino", precision="int8", check="digits")

    far, near = (exported_with(kept).check.relative_logit for kept in (1, 4))
    assert near < far
    monkeypatch.setitem(BOUNDS, "int8", (near + far) / 2)
    done = exported_with(1, 4)
    assert done.kept == done.as_dict()["kept"] == 4 and done.check.relative_logit == near
    monkeypatch.setitem(BOUNDS, "int8", near / 2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(pw.PatchwordsError, match="logits differ"):
        exported_with(1, 4)
    assert sorted(tmp_path.iterdir()) == before


@every_kind
def test_the_file_alone_says_all(kind, run: Path, exported: Files) -> None:
    said, loaded = read(exported[kind].out, trusted=True).description, pw.load(run)
    assert said.classes == loaded.classes and said.preprocess == loaded.preprocess
    assert said.precision == kind[1] and said.provenance == loaded.provenance
    assert said.model["kind"] == "vit" and len(said.tensors) == 64


def test_eval_and_predict_take_the_file_alone(run: Path, exported: Files, tmp_path: Path) -> None:
    moved = shutil.copy(exported["onnx", "fp32"].out, tmp_path / "other.onnx")
    wanted, found = (call("eval", model, "digits", "--split", "test", "--json").json() for model in (run, moved))
    assert found["correct"] == wanted["correct"] and found["total"] == wanted["total"]
    picture = tmp_path / "picture.png"
    picture.write_bytes(digit())
    wanted, found = (call("predict", model, picture, "--json").json()[0]["labels"] for model in (run, moved))
    assert [label["class"] for label in found] == [label["class"] for label in wanted]
    assert found[0]["probability"] == pytest.approx(wanted[0]["probability"], abs=1e-5)


def digit() -> bytes:
    """Return a PNG of a grey ring of 8x8 pixels."""
    import io

    from PIL import Image

    image = Image.new("L", (8, 8), 0)
    for place in ((2, 1), (5, 1), (1, 3), (6, 3), (1, 5), (6, 5), (3, 6), (4, 6)):
        image.putpixel(place, 230)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("engine", ["onnx", "openvino", "auto"])
def test_engines_answer_as_torch(engine: str, run: Path) -> None:
    wanted = call("eval", run, "--json").json()
    found = call("eval", run, "--engine", engine, "--json").json()
    assert found["correct"] == wanted["correct"] and found["loss"] == pytest.approx(wanted["loss"], abs=1e-5)


def test_torch_in_bfloat16_is_near(run: Path) -> None:
    wanted, found = pw.evaluate(run), pw.evaluate(run, precision="bf16")
    assert found.loss != wanted.loss and found.loss == pytest.approx(wanted.loss, abs=0.02)


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_torch_answers_on_another_device(engine: str, run: Path, monkeypatch) -> None:
    """ "cpu:0" is such a device, and this processor."""
    wanted = pw.evaluate(run, device="cpu")
    monkeypatch.setattr(choose, "choose_device", lambda wanted, where: "cpu:0")
    monkeypatch.setattr(choose, "EXPORT_SECONDS", 0.0)
    monkeypatch.setattr(choose, "_fastest", None)
    moved = []
    monkeypatch.setattr(choose, "TorchEngine", lambda *arguments: moved.append(TorchEngine(*arguments)) or moved[-1])
    assert pw.evaluate(run, engine=engine).as_dict() == wanted.as_dict()
    assert [each.device for each in moved] == ["cpu:0"]


def test_a_device_that_cannot_answer_is_refused(run: Path, exported: Files) -> None:
    assert_one_line(call("eval", run, "--device", "mps"), 2, "--device", "not available", "cpu")
    assert_one_line(call("predict", run, "x.png", "--device", "gpu"), 2, "--device", "not a choice", "cuda")
    for what in ((run, "--engine", "onnx"), (exported["onnx", "fp32"].out, "digits")):
        assert_one_line(call("eval", *what, "--device", "cuda"), 2, "--device", "processor")


def test_what_answers_otherwise_is_not_left_behind(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(BOUNDS, "int8", 1e-9)
    out = tmp_path / "model.onnx"
    answer = call("export", run, "--to", "onnx", "--precision", "int8", "--out", out, "--check", "digits")
    assert_one_line(answer, 3, "logits differ", "int8")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_kept(run: Path, exported: Files) -> None:
    out = exported["onnx", "fp32"].out
    before = out.read_bytes()
    assert_one_line(call("export", run, "--to", "onnx", "--out", out), 2, "exists already")
    assert out.read_bytes() == before


def test_the_files_say_what_is_in_them(exported: Files) -> None:
    done = exported["onnx", "fp32"]
    model = onnx.load(done.out)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["patchwords.classes"]) == [str(number) for number in range(10)]
    assert json.loads(said["patchwords.preprocessor_config"])["image_mean"]
    assert {"patchwords.version", "patchwords.precision", "patchwords.provenance", "patchwords.decode_rule"} <= {*said}
    (pixels,) = model.graph.input
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert not any(str(Path.home()) in value or "/src/" in value for value in map(str, (model.graph.node[0],)))


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--to", "coreml"), 2, "unknown format"),
        (("--to", "onnx", "--precision", "bf16"), 2, "bfloat16"),
        (("--to", "onnx", "--precision", "fp8"), 2, "unknown precision"),
        (("--to", "onnx", "--out", "model.xml"), 2, "do not end so"),
        ((), 2, "needs --to"),
    ],
)
def test_what_cannot_be_is_refused(options, code: int, word: str, run: Path) -> None:
    assert_one_line(call("export", run, *options), code, word)


def test_a_wrong_engine_is_refused(run: Path) -> None:
    assert_one_line(call("eval", run, "--engine", "tensorrt"), 2, "unknown engine")
    assert_one_line(call("eval", run, "--precision", "int8"), 2, "calibrated")


@pytest.mark.parametrize("to", ["onnx", "openvino", "program"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in EVERY]
)
def test_every_model_is_exported(name: str, to: str, tmp_path: Path) -> None:
    config = EVERY[name]
    if not config.num_classes or config.in_channels not in (1, 3):
        config = __import__("dataclasses").replace(config, num_classes=5, in_channels=3)
    values = (0.5,) * config.in_channels
    preprocess = Preprocess(image_size=config.image_size, channels=config.in_channels, mean=values, std=values)
    loaded = LoadedModel(alive(config), tuple("abcde"), preprocess, {})
    out = tmp_path / {"onnx": "m.onnx", "openvino": "m.xml", "program": "m.pt2"}[to]
    done = pw.export(loaded, out, to=to)
    engine = read(done.out, trusted=True)
    for count in (1, 5):
        pixels = pictures(preprocess, count)
        with torch.inference_mode():
            wanted = loaded.model(preprocess.normalize(pixels))
            assert (engine(pixels) - wanted).abs().max() <= 1e-3 * wanted.abs().max().clamp_min(1)
