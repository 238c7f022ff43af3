"""The manifest: listed = used + rejected, labels by name, splits made by content, the same on every day."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from patchwords.config import DataConfig
from patchwords.data import sources
from patchwords.data.manifest import (
    Manifest,
    Pictures,
    load_pixels,
    make_manifest,
    make_manifest_with_pixels,
    scan,
)
from patchwords.data.pack import pack
from patchwords.data.sources import open_source
from patchwords.data.splits import make_splits
from patchwords.errors import CheckpointError, DataError, MissingError
from patchwords.preprocess import Preprocess

CONFIG = DataConfig(image_size=(8, 8), workers=0, val_fraction=0.25, test_fraction=0.25)


def splits_of(manifest: Manifest) -> dict[str, str]:
    return {picture.path: picture.split for picture in manifest.pictures}


def test_every_listed_picture_is_used_or_rejected(make_tree, small_set):
    bad = {"cat/cut.png": small_set["cat/00.png"][:60], "dog/empty.png": b"", "dog/page.jpg": b"<html></html>"}
    source = open_source(make_tree(small_set | bad | {"top.png": b"x"}))
    manifest = make_manifest(source, CONFIG)
    assert {picture.path for picture in manifest.pictures} == set(small_set)
    assert [(item.path, bool(item.sha256)) for item in manifest.rejected] == [
        ("cat/cut.png", True),
        ("dog/empty.png", False),
        ("dog/page.jpg", True),
        ("top.png", False),
    ]
    assert all(item.reason for item in manifest.rejected)
    for picture in manifest.pictures:
        data = small_set[picture.path]
        assert (picture.size, picture.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert manifest.classes[picture.label] == picture.path.split("/")[0]
    assert manifest.counts == {
        "train": {"cat": 7, "dog": 7},
        "val": {"cat": 2, "dog": 2},
        "test": {"cat": 3, "dog": 3},
    }
    assert manifest.made == ("train", "val", "test")
    parts = [manifest.split(name) for name in ("train", "val", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(manifest)))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)


def test_the_manifest_is_the_same_wherever_the_pictures_lie(make_tree, small_set, tmp_path):
    manifest = make_manifest(open_source(make_tree(small_set)), CONFIG)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", make_tree(small_set))
    for other, workers in ((make_tree(dict(reversed(small_set.items())), "other"), 0), (archive, 3)):
        again = make_manifest(open_source(other), replace(CONFIG, workers=workers))
        assert again.hash == manifest.hash and again.pictures == manifest.pictures


def test_the_hash_sees_every_change(make_tree, small_set, make_picture):
    first = make_manifest(open_source(make_tree(small_set)), CONFIG)
    changes = {
        "content": small_set | {"cat/00.png": make_picture(999)},
        "name": {path.replace("cat/00", "cat/99"): data for path, data in small_set.items()},
        "class": {path.replace("cat/00", "dog/99"): data for path, data in small_set.items()},
        "class name": {path.replace("cat/", "cow/"): data for path, data in small_set.items()},
        "fewer": {path: data for path, data in small_set.items() if path != "dog/11.png"},
    }
    hashes = {make_manifest(open_source(make_tree(files, name)), CONFIG).hash for name, files in changes.items()}
    hashes.add(make_manifest(open_source(make_tree(small_set)), replace(CONFIG, split_seed=1)).hash)
    assert len(hashes | {first.hash}) == len(changes) + 2


def test_the_manifest_says_how_to_open_its_source_again(make_tree, small_set, monkeypatch):
    root = make_tree(small_set)
    rows = "".join(f"{path},{path[:3]}\n" for path in small_set)
    make_tree({"table.csv": b"file_name,label\n" + rows.encode()})
    monkeypatch.chdir(root)
    for spec in (".", "table.csv", "../set"):
        source = open_source(spec)
        manifest = make_manifest(source, CONFIG)
        assert source.name == spec and os.path.isabs(manifest.source)
        monkeypatch.chdir("/")
        assert Pictures(open_source(manifest.source), manifest).read(0) == small_set["cat/00.png"]
        monkeypatch.chdir(root)
    assert source.where(0) == "../set/cat/00.png" and open_source("table.csv").where(0) == "cat/00.png"
    assert make_manifest(open_source("digits"), CONFIG).source == "digits"


def test_json_both_ways(make_tree, small_set):
    odd = os.fsdecode(b"dog/\xff\n.png")
    files = small_set | {odd: small_set["dog/00.png"] + b"\0", "cat/bad.png": b"?"}
    manifest = make_manifest(open_source(make_tree(files)), CONFIG)
    text = json.dumps(manifest.to_json())
    assert text.isascii() and Manifest.from_json(text) == manifest == Manifest.from_json(json.loads(text))
    assert Manifest.from_json(text).hash == manifest.hash
    for damage in (text.replace('"cat"', '"cow"', 1), text[:-20], "[]", "{}", '"test"'.join(text.rsplit('"train"', 1))):
        with pytest.raises(CheckpointError, match=r"RUN/data.json: ") as caught:
            Manifest.from_json(damage, "RUN/data.json")
        assert caught.value.exit_code == 65


def test_given_splits_are_kept_and_only_missing_ones_are_made(make_tree, make_picture):
    files = {
        f"{split}/{label}/{i}.png": make_picture(1000 * s + 100 * n + i)
        for s, split in enumerate(("train", "test"))
        for n, label in enumerate("ab")
        for i in range(8)
    }
    manifest = make_manifest(open_source(make_tree(files)), CONFIG)
    assert manifest.made == ("val",)
    assert manifest.counts == {"train": {"a": 6, "b": 6}, "val": {"a": 2, "b": 2}, "test": {"a": 8, "b": 8}}
    assert all(split == "test" for path, split in splits_of(manifest).items() if path.startswith("test"))
    none = make_manifest(open_source(make_tree(files)), replace(CONFIG, val_fraction=0.0))
    assert none.made == () and len(none.split("val")) == 0


def test_made_splits_are_stratified_seeded_and_by_content():
    generator = np.random.default_rng(0)
    labels = generator.choice(["a", "b", "c"], 1000, p=[0.7, 0.25, 0.05]).tolist()
    hashes = [hashlib.sha256(str(i // 3).encode()).hexdigest() for i in range(1000)]  # in threes
    labels = [labels[i - i % 3] for i in range(1000)]
    fractions = {"test": 0.2, "val": 0.1}
    splits = make_splits(hashes, labels, [""] * 1000, fractions, 0)
    by_hash = {}
    for digest, split in zip(hashes, splits, strict=True):
        assert by_hash.setdefault(digest, split) == split
    for label in "abc":
        count = labels.count(label)
        found = Counter(split for split, name in zip(splits, labels, strict=True) if name == label)
        assert abs(found["test"] - 0.2 * count) <= 3 and abs(found["val"] - 0.1 * 0.8 * count) <= 3
    order = generator.permutation(1000).tolist()
    moved = make_splits([hashes[i] for i in order], [labels[i] for i in order], [""] * 1000, fractions, 0)
    assert moved == [splits[i] for i in order]
    assert make_splits(hashes, labels, [""] * 1000, fractions, 1) != splits
    assert make_splits(hashes, labels, ["train"] * 1000, fractions, 0) == splits
    # another class more changes nothing for the rest
    more = make_splits([*hashes, "f" * 64], [*labels, "d"], [""] * 1001, fractions, 0)
    assert more[:1000] == splits and more[1000] == "train"


def test_identical_pictures_never_straddle_splits_even_with_two_labels(make_tree, small_set):
    copies = {path.replace("cat/", "dog/copy"): data for path, data in small_set.items() if path.startswith("cat")}
    for seed in range(5):
        config = replace(CONFIG, split_seed=seed)
        manifest = make_manifest(open_source(make_tree(small_set | copies)), config)
        found: dict[str, set[str]] = {}
        for picture in manifest.pictures:
            found.setdefault(picture.sha256, set()).add(picture.split)
        assert all(len(splits) == 1 for splits in found.values()) and len(manifest) == 36


def test_the_smallest_classes_keep_a_picture_for_training(make_tree, make_picture):
    files = {f"{label}/{i}.png": make_picture(10 * n + i) for n, label in enumerate("abc") for i in range(n + 1)}
    manifest = make_manifest(open_source(make_tree(files)), CONFIG)
    assert all(count >= 1 for count in manifest.counts["train"].values())


def test_labels_do_not_depend_on_hash_seeds_or_the_order_of_folders(make_tree, make_picture):
    names = ["1", "01", "001", "Cat", "cat", "é", "e\u0301", "_", " "]
    root = make_tree({f"{name}/{i}.png": make_picture(10 * n + i) for n, name in enumerate(names) for i in range(3)})
    code = (
        "import sys; from patchwords.data.sources import open_source; from patchwords.data.manifest import *;"
        "from patchwords.config import DataConfig;"
        "m = make_manifest(open_source(sys.argv[1]), DataConfig(workers=0)); print(ascii(m.classes), m.hash)"
    )
    found = set()
    for seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("77", "POSIX")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": locale}
        found.add(subprocess.check_output([sys.executable, "-c", code, root], env=environment))
    assert len(found) == 1
    assert found.pop().startswith(ascii(tuple(sorted(names, key=os.fsencode))).encode())


# --- what is refused


def refusal(files: dict[str, bytes], make_tree, config: DataConfig = CONFIG) -> str:
    with pytest.raises(DataError) as caught:
        make_manifest(open_source(make_tree(files, f"set{len(files)}")), config)
    assert caught.value.exit_code == 65 and "\n" not in caught.value.line() and caught.value.fix
    return caught.value.line()


def test_empty_and_single_class(make_tree, make_picture, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: there are no pictures in it. Put pictures into"):
        make_manifest(open_source(tmp_path / "empty"), CONFIG)
    assert "there are no pictures in it" in refusal({"a/notes.txt": b"x"}, make_tree)
    line = refusal({"cat/1.png": make_picture(1), "cat/2.png": make_picture(2)}, make_tree)
    assert "has one class only, cat. There is nothing to tell apart" in line
    line = refusal({"1.png": make_picture(1), "2.png": make_picture(2), "3.png": make_picture(3)}, make_tree)
    assert "none of its 3 pictures can be used; the first is 1.png: does not lie in a class folder" in line


def test_classes_that_train_lacks_are_named(make_tree, make_picture):
    files = {f"train/{name}/{i}.png": make_picture(10 * n + i) for n, name in enumerate("ab") for i in range(3)}
    assert "val has classes (1) that train lacks: B" in refusal(files | {"val/B/1.png": make_picture(70)}, make_tree)
    files |= {"test/x/1.png": make_picture(80), "test/y/1.png": make_picture(81)}
    assert "test has classes (2) that train lacks: x, y" in refusal(files, make_tree)
    only_val = {"val/a/1.png": make_picture(1), "val/b/1.png": make_picture(2)}
    assert "has no pictures for training, only val. Put" in refusal(only_val, make_tree)


def test_a_class_that_val_lacks_shifts_no_label(make_tree, make_picture):
    files = {f"train/{name}/{i}.png": make_picture(10 * n + i) for n, name in enumerate("abc") for i in range(3)}
    manifest = make_manifest(open_source(make_tree(files | {"val/c/1.png": make_picture(99)})), CONFIG)
    assert manifest.labels[manifest.split("val")].tolist() == [2]


def test_classes_that_differ_only_in_case_are_two(make_tree, make_picture):
    files = {
        f"{name}/{i}.png": make_picture(10 * n + i) for n, name in enumerate(("cat", "Cat", "CAT")) for i in range(3)
    }
    assert make_manifest(open_source(make_tree(files)), CONFIG).classes == ("CAT", "Cat", "cat")


def test_strict_and_the_limit_on_what_is_rejected(make_tree, small_set):
    files = small_set | {"cat/x.png": b""}
    line = refusal(files, make_tree, replace(CONFIG, strict=True))
    assert "1 of 25 pictures cannot be used; the first is cat/x.png: the file is empty" in line and "strict" in line
    files = dict(list(small_set.items())[9:15]) | {f"cat/x{i}.png": b"" for i in range(7)}
    assert "7 of 13 pictures cannot be used" in refusal(files, make_tree)
    assert len(make_manifest(open_source(make_tree(files)), replace(CONFIG, max_rejected=0.6)).rejected) == 7


def test_a_data_set_for_evaluation_is_taken_as_it_is(make_tree, make_picture):
    files = {"only/1.png": make_picture(1), "only/2.png": make_picture(2)}
    manifest = make_manifest(open_source(make_tree(files)), CONFIG, complete=False)
    assert manifest.classes == ("only",) and manifest.split("test").tolist() == [0, 1] and manifest.made == ()


# --- pixels


def test_pixels_come_with_the_manifest_or_later(make_tree, small_set):
    source = open_source(make_tree(small_set | {"cat/005.png": b"bad"}))
    preprocess = Preprocess(image_size=(8, 8))
    steps = []
    manifest, pixels = make_manifest_with_pixels(source, CONFIG, preprocess, lambda *step: steps.append(step))
    assert manifest == make_manifest(source, CONFIG) and steps[-1] == (25, 25)
    assert pixels.shape == (24, 3, 8, 8) and pixels.dtype == torch.uint8
    for i, picture in enumerate(manifest.pictures):
        assert torch.equal(pixels[i], preprocess.pixels(small_set[picture.path]))
    for workers in (0, 2):
        assert torch.equal(load_pixels(Pictures(source, manifest), preprocess, workers), pixels)


def test_pictures_that_were_changed_or_removed_are_named(make_tree, small_set):
    root = make_tree(small_set)
    manifest = make_manifest(open_source(root), CONFIG)
    pictures = Pictures(open_source(root), manifest)
    assert len(pictures) == 24 and pictures.read(3) == small_set[manifest.pictures[3].path]
    with open(os.path.join(root, "cat/03.png"), "ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match="cat/03.png: was changed since the run began"):
        pictures.read(3)
    os.remove(os.path.join(root, "cat/04.png"))
    with pytest.raises(MissingError, match="cat/04.png"):
        pictures.read(4)
    os.remove(os.path.join(root, "cat/03.png"))
    with pytest.raises(MissingError, match="cat/0[34].png"):
        load_pixels(pictures, Preprocess(image_size=(8, 8)), 2)
    with pytest.raises(DataError, match="2 pictures that were there are gone; the first is cat/03.png"):
        Pictures(open_source(root), manifest)
    make_tree({"cat/03.png": small_set["cat/03.png"], "cat/04.png": small_set["cat/04.png"], "cat/new.png": b"new"})
    assert Pictures(open_source(root), manifest).read(23) == small_set["dog/11.png"]


def test_findings_do_not_depend_on_threads_and_an_interrupt_ends_the_scan(make_tree, small_set):
    source = open_source(make_tree(small_set | {f"cat/b{i}.png": b"x" * i for i in range(200)}))
    assert scan(source, 0)[0] == scan(source, 4)[0]

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(source, 2, progress=interrupt)


def test_a_hash_is_not_taken_again_of_a_file_that_was_not_written_to(make_tree, small_set, tmp_path, monkeypatch):
    """Of a folder and of shards; any later write is noticed, also one that keeps length and time of change."""
    root, hashed, plain = make_tree(small_set), [], hashlib.sha256
    index = pack(open_source(root), tmp_path / "s").index
    for spec, path in ((root, os.path.join(root, sorted(small_set)[3])), (index, str(tmp_path / "s-000000.tar"))):
        source = open_source(spec)
        pictures = Pictures(source, make_manifest(source, DataConfig(val_fraction=0, test_fraction=0)))
        number = [picture.path for picture in pictures.manifest.pictures].index(sorted(small_set)[3])
        hashed.clear()
        monkeypatch.setattr(hashlib, "sha256", lambda data: hashed.append(1) or plain(data))
        wanted = pictures.read(number)
        assert pictures.read(number) == wanted and len(hashed) == 2  # written a moment ago
        monkeypatch.setattr(sources, "_SETTLED", 0)
        assert {pictures.read(number) for _ in range(4)} == {wanted} and len(hashed) == 3
        status, data = os.stat(path), bytearray(Path(path).read_bytes())
        data[data.index(wanted) + 20] ^= 1
        Path(path).write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(DataError, match="was changed since the run began"):
            pictures.read(number)
        monkeypatch.undo()
