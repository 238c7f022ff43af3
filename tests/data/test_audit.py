"""The audit names what is wrong with a data set and says what will be done; it finds nothing where nothing is."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from patchwords.config import DataConfig
from patchwords.data.audit import AuditReport, audit
from patchwords.data.sources import open_source

CONFIG = DataConfig(workers=0)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def audited(spec: str, config: DataConfig = CONFIG) -> AuditReport:
    report = audit(open_source(spec), config)
    assert report.listed == report.used + len(report.unusable)
    assert json.loads(json.dumps(report.as_dict()))["used"] == report.used
    assert all("\n" not in line and line.isprintable() for line in report.lines())
    return report


def test_a_clean_set_is_clean(make_tree, make_picture):
    files = {f"{label}/{i}.png": make_picture(100 * n + i, (20, 30)) for n, label in enumerate("ab") for i in range(12)}
    report = audited(make_tree(files))
    assert report.clean and report.used == 24 and report.classes == {"": {"a": 12, "b": 12}} and not report.odd
    assert len(report.lines()) == 3 and report.lines()[-1] == "training can start"


def test_every_finding_is_named(make_tree, make_picture):
    p = {n: make_picture(n, (20, 30)) for n in range(60)}
    files = {f"train/cat/{n}.png": p[n] for n in range(12)} | {f"train/dog/{n}.png": p[n] for n in range(20, 23)}
    files |= {
        "train/cat/copy.png": p[0],
        "train/dog/mistake.png": p[1],
        "val/cat/leak.png": p[2],
        "train/Dog/40.png": p[40],
        "train/cat/cut.png": p[5][:50],
        "val/cat/41.png": p[41],
        "notes.txt": b"hello",
    }
    report = audited(make_tree(files))
    assert report.duplicate == [["train/cat/0.png", "train/cat/copy.png"]]
    assert report.conflicting == [["train/cat/1.png", "train/dog/mistake.png"]]
    assert report.leaking == [["train/cat/2.png", "val/cat/leak.png"]]
    assert report.case_twins == [["Dog", "dog"]]
    assert report.tiny_classes == {"Dog": 1, "dog": 4}
    assert report.missing_classes == {"val": ["Dog", "dog"]}
    assert [path for path, _ in report.unusable] == ["train/cat/cut.png"] and report.ignored == {".txt": 1}
    text = "\n".join(report.lines())
    for words in ("same picture in different splits: 1 (", "Dog / dog", "left out;", "1 .txt", "training can start"):
        assert words in text
    assert not report.clean


def test_accents_encoded_in_two_ways_are_twins(make_tree, make_picture):
    files = {f"{name}/{i}.png": make_picture(ord(name[-1]) + i) for name in ("\u00e9", "e\u0301") for i in range(3)}
    assert audited(make_tree(files)).case_twins == [["e\u0301", "\u00e9"]]


def test_what_stops_training_is_said_and_not_raised(make_tree, make_picture, tmp_path):
    one = audited(make_tree({"cat/1.png": make_picture(1)}, "one"))
    assert "has one class only, cat" in one.stops and one.lines()[-1].startswith("training cannot start: ")
    (tmp_path / "empty").mkdir()
    assert "there are no pictures in it" in audited(str(tmp_path / "empty")).stops
    files = {f"train/{c}/{i}.png": make_picture(ord(c) * 10 + i) for c in "ab" for i in range(3)}
    assert (
        "val has classes (1) that train lacks: c" in audited(make_tree(files | {"val/c/1.png": make_picture(7)})).stops
    )


def odd_pictures() -> dict[str, tuple[str, bytes]]:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 4), dtype=np.uint8)
    rgb = Image.fromarray(noise[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "cmyk": ("a.jpg", saved(Image.fromarray(noise, "CMYK"), "JPEG")),
        "16-bit": ("a.png", saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 200))),
        "floating point": ("a.tif", saved(Image.fromarray(noise[..., 0].astype(np.float32) / 255), "TIFF")),
        "alpha": ("a.png", saved(Image.fromarray(noise))),
        "palette": ("a.png", saved(rgb.quantize(8))),
        "1-bit": ("a.png", saved(rgb.convert("1"))),
        "animated": ("a.webp", saved(rgb, "WEBP", save_all=True, append_images=[Image.new("RGB", (20, 20))])),
        "turned": ("a.jpg", saved(rgb, "JPEG", exif=exif)),
        "very small": ("a.png", saved(rgb.crop((0, 0, 12, 20)))),
        "very large": ("a.png", saved(Image.new("L", (9000, 2000)))),
        "very long": ("a.png", saved(Image.new("L", (400, 40)))),
        "other format": ("a.jpg", saved(rgb, "PNG")),
    }


@pytest.mark.parametrize("kind", odd_pictures())
def test_odd_pictures_are_used_and_reported(kind, make_tree, make_picture):
    name, data = odd_pictures()[kind]
    others = {f"{label}/{i}.png": make_picture(i + 100 * n, (20, 20)) for n, label in enumerate("ab") for i in range(3)}
    report = audited(make_tree(others | {f"a/{name}": data}))
    assert report.odd == {kind: [f"a/{name}"]} and report.used == 7
    assert any(line.startswith(f"odd: {kind}: 1 (") for line in report.lines())


def test_names_are_escaped_and_long_lists_cut(make_tree, small_set):
    bad = {os.fsdecode(b"cat/\xff\x1b[31m\n%02d.png" % i): b"" for i in range(15)}
    lines = audited(make_tree(small_set | bad)).lines()
    assert r"  cat/\xff\x1b[31m\n00.png: the file is empty (0 bytes)" in lines
    assert "  ... and 5 more (--json names all)" in lines


def test_the_report_does_not_depend_on_threads(make_tree, small_set):
    root = make_tree(small_set | {"cat/copy.png": small_set["cat/00.png"], "dog/x.gif": b"GIF89a"})
    assert audited(root) == audited(root, DataConfig(workers=3))
