"""`pack` and shards: nothing is lost, nothing changes, and damage is said in one line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchwords.cli import main
from patchwords.config import AugmentConfig, DataConfig
from patchwords.data import open_source
from patchwords.data.augment import Augment
from patchwords.data.loader import StreamLoader
from patchwords.data.manifest import Pictures, make_manifest
from patchwords.data.pack import PackOptions, pack
from patchwords.data.plan import Plan
from patchwords.data.shards import rejoined
from patchwords.decode import decode
from patchwords.errors import ConfigError, DataError, MissingError, PatchwordsError
from patchwords.preprocess import Preprocess


def picture_bytes(value: int, size: tuple[int, int] = (6, 5), kind: str = "PNG") -> bytes:
    """Return a picture of (columns, rows) whose content is a function of `value`."""
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def noisy_set() -> dict[str, bytes]:
    """Return 24 pictures of about 180 kB, so that 1 MB of shard holds a few."""
    return {
        f"{name}/{i:02d}.png": picture_bytes(100 * n + i, (300, 200)) for n, name in enumerate("ab") for i in range(12)
    }


def content(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def test_shards_are_the_same_data_set(make_tree, tmp_path):
    root = make_tree(noisy_set() | {"a/bad.png": b"\x89PNG\r\n\x1a\n not", "a/notes.txt": b"x"})
    source = open_source(root)
    result = pack(source, tmp_path / "out" / "s.tar", PackOptions(shard_size=1))
    assert len(result.shards) > 3 and (result.packed, [path for path, _ in result.rejected]) == (24, ["a/bad.png"])
    plain = make_manifest(source, DataConfig())
    last = len(result.shards) - 1
    for spec in (result.index, str(tmp_path / "out"), str(tmp_path / "out" / f"s-{{000000..{last:06d}}}.tar")):
        packed = open_source(spec)
        manifest = make_manifest(packed, DataConfig())
        assert manifest.hash == plain.hash and manifest.rejected[0].path == "a/bad.png"
        assert [packed.read(i) for i in reversed(range(24))] == [
            source.read(source.index[entry.path]) for entry in reversed(packed.entries)
        ]
    one = open_source(result.shards[1])
    assert 0 < len(one) < 24 and all(
        one.read(i) == source.read(source.index[e.path]) for i, e in enumerate(one.entries)
    )


def test_members_are_in_the_order_of_webdataset(make_tree, tmp_path, small_set):
    """A sample is consecutive members of one base name up to the first dot; read here by tarfile alone."""
    result = pack(open_source(make_tree({f"train/{path}": data for path, data in small_set.items()})), tmp_path / "s")
    with tarfile.open(result.shards[0]) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive]
    assert len(members) == 3 * 24
    for place in range(0, len(members), 3):
        (picture, data), (number, label), (text, values) = members[place : place + 3]
        assert {name.split(".")[0] for name in (picture, number, text)} == {f"{place // 3:09d}"}
        assert [name.split(".")[1] for name in (picture, number, text)] == ["png", "cls", "json"]
        said = json.loads(values)
        assert small_set[said["path"].removeprefix("train/")] == data and said["split"] == "train"
        assert ["cat", "dog"][int(label)] == said["label"] == said["path"].split("/")[1]


def test_webdataset_reads_what_is_packed(make_tree, tmp_path, small_set):
    webdataset = pytest.importorskip("webdataset")
    result = pack(open_source(make_tree(small_set)), tmp_path / "s", PackOptions(raw=True))
    rows = list(webdataset.WebDataset(result.shards[0], shardshuffle=False).decode())
    assert len(rows) == 24
    for row in rows:
        assert np.array_equal(row["npy"], decode(small_set[row["json"]["path"]])) and row["cls"] in (0, 1)


def test_resized_pictures(make_tree, tmp_path):
    root = make_tree({"a/1.png": picture_bytes(1, (60, 40)), "b/2.png": picture_bytes(2, (10, 12))})
    raw = open_source(pack(open_source(root), tmp_path / "raw", PackOptions(resize=20, raw=True)).index)
    assert [decode(raw.read(i)).shape for i in range(2)] == [(20, 30, 3), (12, 10, 3)]
    assert np.array_equal(decode(raw.read(1)), decode(picture_bytes(2, (10, 12))))
    jpeg = open_source(pack(open_source(root), tmp_path / "jpg", PackOptions(resize=20)).index)
    assert jpeg.read(0)[:2] == b"\xff\xd8" and decode(jpeg.read(0)).shape == (20, 30, 3)


def test_a_stopped_call_goes_on_to_the_same_bytes(make_tree, tmp_path):
    source = open_source(make_tree(noisy_set()))
    (tmp_path / "whole").mkdir()
    pack(source, tmp_path / "whole" / "s", PackOptions(shard_size=1), workers=1)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 14:
            raise Stop

    with pytest.raises(Stop):
        pack(source, tmp_path / "parts" / "s", PackOptions(shard_size=1), progress=stop)
    first = tmp_path / "parts" / "s-000000.tar"
    inode = first.stat().st_ino
    assert not (tmp_path / "parts" / "s.index.json").exists()
    pack(source, tmp_path / "parts" / "s", PackOptions(shard_size=1))
    assert first.stat().st_ino == inode  # taken over, not written again
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    with pytest.raises(ConfigError, match="is there already"):
        pack(source, tmp_path / "parts" / "s")


@pytest.mark.slow
def test_a_killed_call_goes_on(make_tree, tmp_path):
    root = make_tree(noisy_set())
    command = [sys.executable, "-m", "patchwords", "pack", root, str(tmp_path / "k" / "s"), "--shard-size", "1"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while running.poll() is None and not (tmp_path / "k" / "s-000001.tar").exists():
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    subprocess.run(command, check=running.returncode != 0, capture_output=True)
    pack(open_source(root), tmp_path / "w" / "s", PackOptions(shard_size=1))
    assert content(tmp_path / "k") == content(tmp_path / "w")


def test_damage_is_one_line(make_tree, tmp_path, small_set):
    index = pack(open_source(make_tree(small_set)), tmp_path / "s").index
    shard, whole, text = tmp_path / "s-000000.tar", (tmp_path / "s-000000.tar").read_bytes(), Path(index).read_bytes()
    shard.write_bytes(whole[:-3000])
    with pytest.raises(DataError, match="cut short"):
        open_source(index)
    shard.write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    with pytest.raises(DataError, match="checksum"):
        open_source(index).read(0)
    shard.unlink()
    with pytest.raises(MissingError):
        open_source(index)
    shard.write_bytes(whole)
    for place in range(0, len(text), 7):
        with open(index, "wb") as file:
            file.write(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        with pytest.raises(PatchwordsError):
            open_source(index)


@pytest.mark.parametrize("name", ["../s-000000.tar", "/etc/passwd"])
def test_an_index_names_only_what_lies_beside_it(make_tree, tmp_path, small_set, name):
    from patchwords.data.shards import ShardIndex

    index = pack(open_source(make_tree(small_set)), tmp_path / "s").index
    values = json.loads(Path(index).read_bytes())
    forged = ShardIndex([(name, values["shards"][0][1])], [], [], {})
    Path(index).write_text(forged.to_json())
    with pytest.raises(DataError, match="not an index"):
        open_source(index)


def foreign(path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_shards_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    first = {"x/1.jpg": picture_bytes(1, kind="JPEG"), "x/1.cls": b"3", "../2.png": picture_bytes(2), "../2.cls": b"1"}
    foreign(folder / "p-0000.tar", first)
    label = json.dumps({"label": "dog", "split": "validation"}).encode()
    second = foreign(folder / "p-0001.tar", {"1.png": picture_bytes(3), "1.json": label, "2.png": picture_bytes(4)})
    for spec in (str(folder), str(folder / "p-{0000..0001}.tar")):
        for _ in range(2):  # listed, then from the cache
            source = open_source(spec)
            assert [(e.path, e.label, e.split) for e in source.entries] == [
                ("p-0000/x/1.jpg", "3", ""),
                ("p-0001/1.png", "dog", "val"),
            ]
            assert source.read(1) == picture_bytes(3)
            assert [path for path, _ in source.refused][-1] == "p-0001/2.png" and len(source.refused) == 3
    assert len(os.listdir(tmp_path / "cache" / "shards")) == 1  # one list for the same shards
    with open(second, "r+b") as file:
        file.truncate(700)
    with pytest.raises(DataError, match="cut short"):
        open_source(str(folder))


def test_arguments_that_the_shell_listed_are_one_data_set():
    assert rejoined(["train", "s-0000.tar", "s-0001.tar", "--out", "r"]) == [
        "train",
        "s-{0000..0001}.tar",
        "--out",
        "r",
    ]
    for apart in (["s-0000.tar"], ["s-0000.tar", "s-0002.tar"], ["a-0000.tar", "b-0001.tar"], ["1.tar", "2.tar"]):
        assert rejoined(apart) == apart


def test_training_batches_are_the_same_for_any_number_of_threads(make_tree, tmp_path):
    """From the folder and from shards, scaled decoding on."""
    tree = {
        f"{name}/{i}.jpg": picture_bytes(10 * n + i, (70, 60), "JPEG") for n, name in enumerate("ab") for i in range(6)
    }
    root = make_tree(tree)
    index = pack(open_source(root), tmp_path / "s").index
    preprocess = Preprocess(image_size=(16, 16))
    found = []
    for spec, workers in ((root, 0), (root, 2), (index, 1), (index, 3)):
        source = open_source(spec)
        manifest = make_manifest(source, DataConfig(val_fraction=0, test_fraction=0))
        pictures, labels = Pictures(source, manifest), torch.from_numpy(manifest.labels)
        augment = Augment(AugmentConfig(crop="random_resized", flip=True, erasing=0.5), 7)
        paths = [picture.path for picture in manifest.pictures]
        with StreamLoader(
            pictures, range(12), paths, labels, Plan(7, 12, 5), preprocess, augment, workers=workers, scaled_decode=True
        ) as loader:
            found.append(torch.stack([batch.images for batch in loader.batches(0, 4)]))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.slow
def test_training_on_shards_gives_the_same_weights(make_tree, tmp_path, small_set):
    """Bit for bit, with pictures decoded when they are due."""
    root = make_tree({path: picture_bytes(n, (40, 36), "JPEG") for n, path in enumerate(small_set)})
    index = pack(open_source(root), tmp_path / "s").index
    values = {"train.steps": 3, "train.batch_size": 8, "train.compile": "off", "data.image_size": "16,16"}
    values |= {
        "augment.crop": "random_resized",
        "model.image_size": "16,16",
        "model.patch_size": "8",
        "augment.early_crop": 0,
    }
    settings = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    for spec, run in ((root, "one"), (index, "two")):
        assert main(["train", spec, "--out", str(tmp_path / run), *settings]) == 0
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("one", "two")]
    assert weights[0] == weights[1]


def test_pack_command(make_tree, tmp_path, small_set, capsys):
    root = make_tree(small_set | {"cat/bad.png": b""})
    assert main(["pack", root, str(tmp_path / "s.tar"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["listed"], said["packed"], len(said["rejected"])) == (25, 24, 1)
    for wrong in (["--quality", "101"], ["--shard-size", "0"], ["--raw", "--quality", "5"]):
        assert main(["pack", root, str(tmp_path / "t"), *wrong]) == 2


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: d.replace(b"|u1", b"|i1")])
def test_stored_pixels_that_are_not_right_are_refused(change):
    file = io.BytesIO()
    pixels = np.asarray(Image.open(io.BytesIO(picture_bytes(3))))
    np.lib.format.write_array(file, pixels, version=(1, 0))
    assert np.array_equal(decode(file.getvalue()), pixels)
    with pytest.raises(DataError):
        decode(change(file.getvalue()))
