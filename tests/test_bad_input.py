"""The table of bad input: each row through the command line, one line that names it and the way out, its exit code."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchwords import checkpoint
from patchwords.errors import printable
from tests.command_line import TINY, Answer, assert_one_line, call
from tests.conftest import draw_folder

STRANGE = ("with space", "new\nline", os.fsdecode(b"\xfflatin\xe9"), "\x1b[2Jclear", "snow \u2603")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """WORK/pictures and WORK/run, a finished run on them; rows copy what they damage."""
    work = tmp_path_factory.mktemp("made")
    draw_folder(work / "pictures", per_class=8)
    answer = call("train", work / "pictures", "--out", work / "run", *TINY)
    assert answer.code == 0, answer.err
    return work


@pytest.fixture
def work(made, tmp_path) -> Path:
    for name in ("pictures", "run"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def header_only(columns: int, rows: int) -> bytes:
    """A PNG of a few bytes that says it has that many pixels."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", columns, rows, 1, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(9))))
    chunks = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in (*parts, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def train(work: Path, data: object, *more: object) -> list[object]:
    return ["train", data, "--out", work / "out", *TINY, *more]


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def all_bad(work: Path) -> Path:
    for path in (work / "pictures").rglob("*.png"):
        path.write_bytes(b"<!doctype html><html>Not found")
    return work / "pictures"


def one_class(work: Path) -> Path:
    for name in ("bar", "dot"):
        shutil.rmtree(work / "pictures" / name)
    return work / "pictures"


def one_bad(work: Path) -> Path:
    (work / "pictures/bar/zero.png").touch()
    return work / "pictures"


def other_classes(work: Path) -> Path:
    root = work / "split"
    draw_folder(root / "train", ("bar", "dot"), per_class=4)
    draw_folder(root / "val", ("bar", "elk"), per_class=4)
    return root


def a_file(path: Path, data: bytes = b"hello") -> Path:
    path.write_bytes(data)
    return path


def foreign_folder(work: Path) -> list[object]:
    (work / "out").mkdir()
    a_file(work / "out/thesis.txt")
    return train(work, work / "pictures")


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    os.truncate(path, path.stat().st_size // 2)
    return path


def every_state(work: Path, damage: Callable[[Path], object]) -> list[object]:
    for path in (work / "run/state").glob("*/state.safetensors"):
        damage(path)
    return again(work)


def again(work: Path, *more: object) -> list[object]:
    """The command that made WORK/run (a copy whose pictures lie elsewhere, which is not asked about here)."""
    return ["train", "--out", work / "run", *TINY, *more]


def foreign_model(work: Path) -> Path:
    folder = work / "foreign"
    folder.mkdir()
    a_file(folder / "config.json", b'{"architectures": ["ViTForImageClassification"]}')
    a_file(folder / "model.safetensors", (work / "run/model/model.safetensors").read_bytes())
    return folder


def swapped_weights(work: Path) -> Path:
    """A state's tensors under a model's name."""
    state = next((work / "run/state").glob("step-*"))
    shutil.copy(state / "state.safetensors", work / "run/model/model.safetensors")
    return work / "run"


ROWS: dict[str, tuple[Callable[[Path], list[object]], int, tuple[str, ...]]] = {
    # what is asked for
    "no command like it": (lambda w: ["trian", "digits"], 2, ("trian", "Did you mean train?")),
    "misspelt option": (lambda w: ["train", "digits", "--outt", w / "out"], 2, ("--outt", "Did you mean --out?")),
    "misspelt option of eval": (lambda w: ["eval", w / "run", "--jsn"], 2, ("--jsn", "Did you mean --json?")),
    "misspelt setting": (
        lambda w: train(w, "digits", "--optimizer.lrr", "1"), 2, ("optimizer.lrr", "Did you mean lr?")),
    "misspelt section": (
        lambda w: train(w, "digits", "--optimiser.lr", "1"), 2, ("optimiser", "Did you mean optimizer?")),
    "misspelt preset": (
        lambda w: train(w, "digits", "--preset", "paper_imagenett"), 2, ("Did you mean paper_imagenet?",)),
    "misspelt model": (lambda w: train(w, "digits", "--model", "vit_digit"), 2, ("Did you mean vit_digits",)),
    "misspelt level": (lambda w: train(w, "digits", "--augment", "lite"), 2, ("lite", "light")),
    "misspelt choice": (lambda w: train(w, "digits", "--optimizer.name", "adamm"), 2, ("optimizer.name", "adamw")),
    "not a number": (
        lambda w: train(w, "digits", "--optimizer.lr", "fast"), 2, ("optimizer.lr", "'fast'", "Give a number")),
    "not a whole number": (lambda w: train(w, "digits", "--seed", "1.5"), 2, ("train.seed", "Give a whole number")),
    "not true or false": (
        lambda w: train(w, "digits", "--augment.flip", "maybe"), 2, ("augment.flip", "true or false")),
    "nan": (lambda w: train(w, "digits", "--optimizer.lr", "nan"), 2, ("optimizer.lr", "outside")),
    "negative": (lambda w: train(w, "digits", "--optimizer.lr", "-1"), 2, ("optimizer.lr", "outside")),
    "setting without value": (lambda w: train(w, "digits", "--optimizer.lr"), 2, ("--optimizer.lr", "VALUE")),
    "too many arguments": (lambda w: train(w, "digits", "more"), 2, ("'more'", "--help")),
    "no --out": (lambda w: ["train", "digits"], 2, ("--out", "--help")),
    "no data": (lambda w: ["train", "--out", w / "out"], 2, ("no data set", "digits")),
    "no epochs": (lambda w: ["train", w / "pictures", "--out", w / "out", "--epochs", "0"], 2, ("train.epochs",)),
    "shards": (lambda w: train(w, w / "pictures", "--train.shards", "3"), 2, ("train.shards", "divisor")),
    "patch 3": (lambda w: train(w, w / "pictures", "--model.patch_size", "3"), 2, ("model.patch_size", "image_size")),
    "picture smaller than a patch": (
        lambda w: train(w, w / "pictures", "--model.patch_size", "16"), 2, ("model.patch_size", "image_size")),
    "no cuda here": (lambda w: train(w, w / "pictures", "--device", "mps"), 2, ("train.device", "cpu")),
    "audit of a model": (lambda w: ["audit", w / "pictures", "--model.dim", "3"], 2, ("model", "--data.")),
    # data sets
    "no such path": (lambda w: train(w, w / "nowhere"), 66, ("nowhere",)),
    "no such path, audit": (lambda w: ["audit", w / "nowhere"], 66, ("nowhere",)),
    "empty folder": (lambda w: train(w, emptied(w / "pictures")), 65, ("pictures", "no pictures", "FOLDER/CLASS/")),
    "one class": (lambda w: train(w, one_class(w)), 65, ("one class", "ring", "two classes")),
    "all bad": (lambda w: train(w, all_bad(w)), 65, ("pictures", "none of the", "web page")),
    "strict": (lambda w: train(w, one_bad(w), "--strict"), 65, ("bar/zero.png", "empty", "strict")),
    "val has other classes": (lambda w: train(w, other_classes(w)), 65, ("val has classes", "elk", "train")),
    "a text as data": (lambda w: train(w, a_file(w / "notes.txt")), 65, ("notes.txt",)),
    "a broken zip": (lambda w: train(w, a_file(w / "data.zip", b"PK\3\4 no")), 65, ("data.zip",)),
    # where to write
    "out is a file": (lambda w: ["train", "digits", "--out", a_file(w / "out"), *TINY], 73, ("out", "Give another")),
    "out is foreign": (foreign_folder, 2, ("out", "not a run folder", "another --out")),
    "out is another run": (lambda w: again(w, "--seed", "7"), 2, ("train.seed was 0, now 7", "another --out")),
    "out cannot be made": (lambda w: ["train", "digits", "--out", "/proc/no/run", *TINY], 66, ("/proc/no",)),
    # models
    "no run": (lambda w: ["eval", w / "rum"], 66, ("rum", "Did you mean", "run")),
    "not a run": (lambda w: ["eval", w / "pictures"], 65, ("pictures", "not a run folder", "--out")),
    "a run without model": (lambda w: (shutil.rmtree(w / "run/model"), ["eval", w / "run"])[1], 66, ("no model yet",)),
    "pickle as model": (
        lambda w: ["predict", a_file(w / "m.pt", pickle.dumps({"a": 1})), w / "pictures"], 65,
        ("m.pt", "not a file of tensors", "state_dict")),
    "foreign model folder": (
        lambda w: ["predict", foreign_model(w), w / "pictures"], 65,
        ("foreign", "how many heads", "--model.num_heads")),
    "truncated model": (
        lambda w: ["eval", cut(w / "run/model/model.safetensors").parents[1]], 65,
        ("model.safetensors", "bytes", "copy")),
    "flipped model": (
        lambda w: ["predict", flipped(w / "run/model/model.safetensors").parents[1], w / "pictures"], 65,
        ("model.safetensors", "sha256", "copy")),
    "swapped model": (lambda w: ["eval", swapped_weights(w)], 65, ("model.safetensors",)),
    "model lacks a file": (
        lambda w: ((w / "run/model/preprocessor_config.json").unlink(), ["eval", w / "run"])[1], 65,
        ("preprocessor_config.json", "missing")),
    "truncated states": (lambda w: every_state(w, cut), 65, ("every saved state is damaged", "copy")),
    "flipped states": (lambda w: every_state(w, flipped), 65, ("every saved state is damaged",)),
    "changed config.yaml": (
        lambda w: (a_file(w / "run/config.yaml", b"train: {epochs: 3.0}\n"), again(w))[1], 65, ("config.yaml",)),
    "config.yaml not YAML": (
        lambda w: (a_file(w / "run/config.yaml", b"{{:"), again(w))[1], 65, ("config.yaml", "YAML")),
    "data.json cut": (lambda w: (cut(w / "run/data.json"), again(w))[1], 65, ("data.json",)),
    "env.json cut": (lambda w: (cut(w / "run/env.json"), again(w))[1], 65, ("env.json",)),
    "metrics.jsonl cut": (lambda w: (cut(w / "run/metrics.jsonl"), again(w))[1], 65, ("metrics.jsonl", "Restore")),
    # use
    "no such split": (lambda w: ["eval", w / "run", "--split", "tset"], 2, ("'tset'", "Did you mean test?")),
    "other data's classes": (
        lambda w: ["eval", w / "run", draw_folder(w / "other", ("elk", "yak"), 2)], 65, ("no class", "elk", "bar")),
    "a bare model without data": (lambda w: ["eval", w / "run/model"], 2, ("DATA",)),
    "no picture": (lambda w: ["predict", w / "run"], 2, ("no picture",)),
    "top 0": (lambda w: ["predict", w / "run", w / "pictures", "--top", "0"], 2, ("--top",)),
    "top a": (lambda w: ["predict", w / "run", w / "pictures", "--top", "a"], 2, ("--top", "--help")),
    "no model like it": (lambda w: ["models", "vit_bsae*"], 2, ("vit_bsae*",)),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_bad_input(row, work):
    arguments, code, words = ROWS[row]
    argv = arguments(work)
    assert_one_line(call(*argv), code, *words)
    told = call(*argv, "--json")  # and for machines
    assert told.code == code and told.json()["exit_code"] == code and told.json()["what"]


def test_a_few_rows_in_a_process_of_their_own(work):
    """As a user of a poor terminal has them: LANG=C, no terminal, nothing imported before."""
    for row in ("misspelt option", "no such path", "flipped model", "top a"):
        arguments, code, words = ROWS[row]
        command = [sys.executable, "-m", "patchwords", *map(str, arguments(work))]
        plain = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        done = subprocess.run(command, env=os.environ | plain, capture_output=True, check=False)
        assert_one_line(Answer(done.returncode, done.stdout.decode(), done.stderr.decode("ascii")), code, *words)


def test_what_cannot_begin_leaves_no_run(work):
    """A run that was refused does not take the folder: the mended command starts in it."""
    command = train(work, work / "pictures")
    assert_one_line(call(*[a for a in command if a != "--train.steps=2"], "--epochs=0"), 2, "train.epochs")
    assert call(*command).code == 0


# --- pictures that cannot be used, and pictures that only look odd


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unreadable(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()  # root may read everything: the row is left out


RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
CMYK = Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 7, 4), dtype=np.uint8), "CMYK")
TURNED = Image.Exif()
TURNED[0x0112] = 6
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero.png": (Path.touch, "empty"),
    "cut.jpg": (lambda p: p.write_bytes(saved(RGB, "JPEG")[:-60]), "cut short"),
    "page.jpg": (lambda p: p.write_bytes(b"<!DOCTYPE html><html>"), "a web page"),
    "folder.jpg": (Path.mkdir, ""),
    "fifo.jpg": (fifo, ""),
    "secret.jpg": (unreadable, "ermission"),
    "dangling.jpg": (lambda p: p.symlink_to("nowhere"), ""),
    "loop.jpg": (lambda p: p.symlink_to(p.name), ""),
    "huge.png": (lambda p: p.write_bytes(header_only(10_000, 10_000)), "100.0 million"),
    "bomb.png": (lambda p: p.write_bytes(header_only(2**31 - 1, 2**31 - 1)), "more than the limit"),
}
USABLE: dict[str, bytes] = {
    "a_png.jpg": saved(RGB, "PNG"),
    "cmyk.jpg": saved(CMYK, "JPEG"),
    "deep.png": saved(Image.fromarray(np.full((9, 7), 40_000, np.uint16)), "PNG"),
    "alpha.png": saved(RGB.convert("RGBA"), "PNG"),
    "palette.png": saved(RGB.quantize(8), "PNG"),
    "moving.gif": saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(90)]),
    "turned.jpg": saved(RGB, "JPEG", exif=TURNED),
    "pixel.png": saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
}


@pytest.fixture
def mixed(work) -> Path:
    for name, (make, _) in UNUSABLE.items():
        make(work / "pictures/dot" / name)
    for name, data in USABLE.items():
        (work / "pictures/dot" / name).write_bytes(data)
    (work / "pictures/dot/around").symlink_to(work / "pictures")  # a link that leads back up
    return work / "pictures"


def test_the_rest_goes_on_and_every_file_is_accounted_for(mixed, tmp_path):
    answer = call(*train(tmp_path, mixed))
    assert answer.code == 0, answer.err
    rejected = {row["path"]: row["reason"] for row in map(json.loads, (tmp_path / "out/rejected.jsonl").open())}
    used = {row[0] for row in json.loads((tmp_path / "out/data.json").read_text())["pictures"]}
    assert {f"dot/{name}" for name in USABLE} <= used and not used & rejected.keys()
    listed = {str(p.relative_to(mixed)) for p in mixed.rglob("*") if not (p.is_dir() and p.suffix == "")}
    folders = {"dot/folder.jpg"} - rejected.keys()  # a folder is no picture, whatever it is called: either is right
    assert used | rejected.keys() - {"dot/around"} >= listed - folders - {"dot/around"}
    for name, (_, words) in UNUSABLE.items():
        if f"dot/{name}" in listed - folders:
            assert words in rejected[f"dot/{name}"], (name, rejected[f"dot/{name}"])
    assert f"{len(rejected)} files cannot be used" in answer.err
    strict = call("train", mixed, "--out", tmp_path / "strict", "--strict", *TINY)
    assert_one_line(strict, 65, "dot/")


def test_predict_goes_on_after_a_bad_picture(mixed, work):
    good = work / "pictures/bar/00.png"
    paths = [
        good,
        *(mixed / "dot" / name for name in ("zero.png", "cmyk.jpg", "fifo.jpg", "loop.jpg", "huge.png")),
        good,
    ]
    answer = call("predict", work / "run", *paths)
    assert answer.code == 65 and "Traceback" not in answer.err
    assert [line.split(": ")[1].rsplit("/", 1)[1] for line in answer.errors] == [
        "zero.png",
        "fifo.jpg",
        "loop.jpg",
        "huge.png",
    ]
    assert [line.split(": ")[0] for line in answer.out.splitlines()] == [str(paths[i]) for i in (0, 2, 6)]
    told = call("predict", work / "run", *paths, "--json")
    assert told.code == 65 and [row["path"] for row in told.json()] == [str(path) for path in paths]


def test_classes_that_differ_only_in_case(work):
    draw_folder(work / "twins", ("Bar", "bar", "1", "01"), per_class=4)
    answer = call(*train(work, work / "twins"))
    assert answer.code == 0, answer.err
    assert json.loads((work / "out/data.json").read_text())["classes"] == ["01", "1", "Bar", "bar"]
    assert "Bar" in call("audit", work / "twins").out


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_everywhere(name, tmp_path):
    """As class, as file, as run folder and as data folder: trained on, measured, predicted and audited."""
    data, run = tmp_path / f"data {name}", tmp_path / f"run {name}"
    draw_folder(data, (name, "dot"), per_class=8)
    for path in sorted((data / "dot").iterdir()):
        path.rename(path.with_name(f"{name}{path.name}"))
    (data / "dot" / f"{name}.png").write_bytes(b"")
    answer = call("train", data, "--out", run, *TINY)
    assert answer.code == 0, answer.err
    measured = call("eval", run, data, "--split", "all")
    assert measured.code == 0 and printable(name).encode("ascii", "backslashreplace").decode() in measured.out
    assert "cannot be used and are not measured" in measured.err
    assert call("eval", run, "--json").json()["classes"] == sorted([name, "dot"], key=os.fsencode)
    assert call("audit", data).code == call("audit", data, "--json").code == 0
    first = sorted((data / "dot").glob("*0.png"))[0]
    shown = call("predict", run / "model", first, data)
    assert shown.code == 65 and len(shown.out.splitlines()) == 17 and len(shown.errors) == 1
    if "\n" not in name:
        listed = call("predict", run, "-", "--json", stdin=os.fsencode(first) + b"\n")
        assert listed.code == 0 and listed.json()[0]["path"] == str(first)
    again = call("train", data, "--out", run, *TINY)
    assert again.code == 0 and "this run is finished" in again.err


# --- places that cannot be written


def test_a_run_in_use(work):
    with open(work / "run/.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4242")
        lock.truncate()
        lock.flush()
        assert_one_line(call(*again(work)), 73, "in use by process 4242", "another --out")


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a small file system at the given size; skips where that is not allowed."""
    mounted = []

    def mount(size: str, *options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a file system can only be mounted as root")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_read_only_place(work, tmpfs):
    disk = tmpfs("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert_one_line(call("train", work / "pictures", "--out", disk / "run", *TINY), 77, "disk0/run", "may write")


@pytest.mark.parametrize("free", [0, 20, 150, 300])
def test_full_disk(work, tmpfs, free):
    """73; the state before is whole, nothing temporary stays; with space the same command ends with the same bits."""
    disk = tmpfs("2m")
    more = (
        "--train.steps=12",
        "--train.save_seconds=0",
        "--train.log_steps=1",
        "--model.dim=32",
        "--train.ema_decay=0.9",
    )
    command = lambda out: call("train", work / "pictures", "--out", out, *TINY, *more)  # noqa: E731
    assert command(work / "straight").code == 0
    filler = disk / "filler"
    with open(filler, "wb") as file:
        try:
            for _ in range(2048):
                file.write(bytes(1024))
                file.flush()
        except OSError as full:
            assert full.errno == errno.ENOSPC
    os.truncate(filler, max(filler.stat().st_size - free * 1024, 0))
    assert_one_line(command(disk / "run"), 73, "disk0/run", "Free some space")
    left = list((disk / "run").rglob(".tmp-*")) if (disk / "run").exists() else []
    assert not left
    state = checkpoint.load_state(disk / "run") if (disk / "run").exists() else None
    assert (state is not None) == (free >= 150)
    filler.unlink()
    finished = command(disk / "run")
    assert finished.code == 0, finished.err
    for name in ("metrics.jsonl", "eval.json", "model/model.safetensors", "config.yaml"):
        assert (disk / "run" / name).read_bytes() == (work / "straight" / name).read_bytes(), name
    tensors = [checkpoint.tensors_hash(checkpoint.load_state(p).tensors) for p in (disk / "run", work / "straight")]
    assert tensors[0] == tensors[1]
