"""CIFAR-10 from a local copy, the cache or a server: checked, resumed, converted without a loss."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from patchwords.data.cifar10 import build_store, download
from patchwords.data.sources import open_source
from patchwords.decode import decode
from patchwords.errors import DataError, ReadError

SHARED = Path(os.environ.get("PATCHWORDS_DATA") or Path(__file__).parents[3] / "shared" / "data")
CLASSES = ["airplane", "automobile", "bird"]
CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Gives CONTENT; breaks off after `limit` bytes; `ranges` says whether it can go on in the middle."""

    content, limit, ranges = CONTENT, 10**9, True
    daemon_threads = True

    def __init__(self):
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        if wanted and start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.limit])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def test_a_download_is_checked_and_reports_its_progress(server, tmp_path):
    steps = []
    download(server.url, tmp_path / "f", SHA256, lambda done, total: steps.append((done, total)))
    assert (tmp_path / "f").read_bytes() == CONTENT and not (tmp_path / "f.part").exists()
    assert steps[-1] == (len(CONTENT), len(CONTENT)) and steps == sorted(steps)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_stopped(server, tmp_path, ranges):
    server.limit, server.ranges = 300_000, ranges
    with pytest.raises(ReadError, match="again goes on from there") as caught:
        download(server.url, tmp_path / "f", SHA256)
    assert caught.value.exit_code == 74 and "\n" not in caught.value.line()
    kept = (tmp_path / "f.part").stat().st_size
    assert kept == 300_000 and not (tmp_path / "f").exists()
    server.limit = 10**9
    download(server.url, tmp_path / "f", SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT and server.asked == [None, f"bytes={kept}-"]


def test_another_file_is_refused_and_removed(server, tmp_path):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match="is another file") as caught:
        download(server.url, tmp_path / "f", SHA256)
    assert caught.value.exit_code == 65 and list(tmp_path.iterdir()) == []
    (tmp_path / "f.part").write_bytes(CONTENT + b"too much")
    with pytest.raises(ReadError):
        download(server.url, tmp_path / "f", SHA256)
    server.content = CONTENT
    download(server.url, tmp_path / "f", SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.delenv("PATCHWORDS_DATA", raising=False)
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATCHWORDS_CIFAR10_URL", "http://127.0.0.1:9/none.tar.gz")
    with pytest.raises(ReadError, match="cannot be downloaded.*PATCHWORDS_DATA"):
        open_source("cifar10")


def test_the_environment_names_another_server_and_the_checksum_still_holds(server, tmp_path, monkeypatch):
    monkeypatch.delenv("PATCHWORDS_DATA", raising=False)
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATCHWORDS_CIFAR10_URL", server.url)
    with pytest.raises(DataError, match="is another file"):
        open_source("cifar10")
    assert server.asked == [None]


def binary_version(path: Path, per_batch: int = 4) -> dict[str, np.ndarray]:
    """Write a small archive of the form of the real one; return the records of each batch file."""
    generator = np.random.default_rng(1)
    batches = {}
    with tarfile.open(path, "w:gz") as archive:
        files = {"batches.meta.txt": ("\n".join(CLASSES) + "\n\n").encode()}
        for name in [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]:
            batches[name] = generator.integers(0, 256, (per_batch, 3073), dtype=np.uint8)
            batches[name][:, 0] %= len(CLASSES)
            files[name] = batches[name].tobytes()
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return batches


def test_the_store_holds_every_pixel_of_the_archive(tmp_path, monkeypatch):
    batches = binary_version(tmp_path / "a.tar.gz")
    monkeypatch.delenv("PATCHWORDS_DATA", raising=False)
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path))
    build_store(tmp_path / "a.tar.gz", tmp_path / "cifar10.zip")
    source = open_source("cifar10")
    assert len(source) == 24 and source.name == "cifar10"
    for name, records in batches.items():
        split, first = ("test", 0) if name == "test_batch.bin" else ("train", 4 * (int(name[11]) - 1))
        for number, record in enumerate(records, start=first):
            path = f"{split}/{CLASSES[record[0]]}/{number:05d}.png"
            pixels = decode(source.read(source.index[path]), 3)
            np.testing.assert_array_equal(pixels, record[1:].reshape(3, 32, 32).transpose(1, 2, 0))
    first = (tmp_path / "cifar10.zip").read_bytes()
    build_store(tmp_path / "a.tar.gz", tmp_path / "cifar10.zip")
    assert (tmp_path / "cifar10.zip").read_bytes() == first


def test_a_wrong_archive_is_refused_and_leaves_nothing(tmp_path):
    binary_version(tmp_path / "a.tar.gz")
    data = (tmp_path / "a.tar.gz").read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"no archive", data[:30] + b"\0\0\0\0" + data[34:]):
        (tmp_path / "b.tar.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="b.tar.gz: is not"):
            build_store(tmp_path / "b.tar.gz", tmp_path / "store.zip")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match="not the binary version"):
        build_store(tmp_path / "b.tar.gz", tmp_path / "store.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "b.tar.gz"}


def test_a_local_copy_comes_first(tmp_path, monkeypatch):
    binary_version(tmp_path / "a.tar.gz")
    monkeypatch.setenv("PATCHWORDS_CIFAR10_URL", "http://127.0.0.1:9/none.tar.gz")
    monkeypatch.setenv("PATCHWORDS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    build_store(tmp_path / "a.tar.gz", tmp_path / "data" / "cifar10.zip")
    monkeypatch.setenv("PATCHWORDS_DATA", str(tmp_path / "data"))
    assert len(open_source("cifar10")) == 24
    monkeypatch.setenv("PATCHWORDS_DATA", str(tmp_path / "data" / "cifar10.zip"))
    assert len(open_source("cifar10")) == 24
    with zipfile.ZipFile(tmp_path / "data" / "cifar10.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    monkeypatch.setenv("PATCHWORDS_DATA", str(tmp_path / "unpacked"))
    assert len(open_source("cifar10")) == 24
    (tmp_path / "unpacked").rename(tmp_path / "cifar10")
    monkeypatch.setenv("PATCHWORDS_DATA", str(tmp_path))
    assert len(open_source("cifar10")) == 24


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10.zip").exists(), reason="no cifar10.zip below PATCHWORDS_DATA")
def test_the_whole_set(monkeypatch):
    from patchwords.config import DataConfig
    from patchwords.data.manifest import make_manifest

    monkeypatch.setenv("PATCHWORDS_DATA", str(SHARED))
    manifest = make_manifest(open_source("cifar10"), DataConfig(image_size=(32, 32), workers=1))
    counts = manifest.counts
    assert {split: set(classes.values()) for split, classes in counts.items()} == {
        "train": {4500},
        "val": {500},
        "test": {1000},
    }
