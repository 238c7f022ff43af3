"""The one writer: old or new at every instant, nothing damaged ever accepted."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchwords import files
from patchwords.errors import CheckpointError, MissingError, PermissionFault, WriteError

CONTENTS = {"config.json": b'{"a": 1}\n', "model.safetensors": bytes(range(256)) * 4, "README.md": b"card"}

WRITER = """
import sys
from pathlib import Path
from patchwords import files
folder, letter = Path(sys.argv[1]), sys.argv[2].encode()
sys.stdin.readline() if len(sys.argv) > 3 else None
files.write_folder(folder, {"one": letter * 5000, "two": letter * 3})
"""


def test_folder_round_trip_and_replacement(tmp_path):
    folder = tmp_path / "model"
    files.write_folder(folder, CONTENTS)
    files.write_folder(folder, CONTENTS | {"config.json": b"{}"})
    assert files.read_folder(folder) == {"config.json": b"{}", "model.safetensors": CONTENTS["model.safetensors"]}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_every_flipped_bit_is_refused(tmp_path):
    folder = tmp_path / "model"
    files.write_folder(folder, CONTENTS)
    paths = [p for p in sorted(folder.iterdir()) if p.name not in files.UNCHECKED]
    random = np.random.default_rng(0)
    accepted = 0
    for _ in range(1000):
        path = paths[random.integers(len(paths))]
        data = path.read_bytes()
        bit = int(random.integers(len(data) * 8))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            files.read_folder(folder)
            accepted += 1
        except CheckpointError as fault:
            assert fault.exit_code == 65 and str(folder) in fault.where
        path.write_bytes(data)
    assert accepted == 0
    files.read_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json"])
def test_missing_and_truncated_files_are_named(tmp_path, name):
    folder = tmp_path / "model"
    files.write_folder(folder, CONTENTS)
    data = (folder / name).read_bytes()
    for length in (0, 1, len(data) - 1):
        (folder / name).write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=name):
            files.read_folder(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        files.read_folder(folder)


def test_the_card_may_be_edited(tmp_path):
    files.write_folder(tmp_path / "model", CONTENTS)
    (tmp_path / "model" / "README.md").write_text("mine")
    assert "README.md" not in files.read_folder(tmp_path / "model")


def test_manifest_cannot_name_a_file_outside(tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    files.write_folder(tmp_path / "model", {"a": b"x"})
    manifest = (tmp_path / "model" / files.MANIFEST).read_text().replace('"a"', '"../secret"')
    (tmp_path / "model" / files.MANIFEST).write_text(manifest)
    with pytest.raises(CheckpointError):
        files.read_folder(tmp_path / "model")


def test_no_such_folder(tmp_path):
    with pytest.raises(MissingError):
        files.read_folder(tmp_path / "none")


class FailingCalls:
    """Make the Nth of the calls that change the disk fail with an error number."""

    NAMES = ("open", "write", "fsync", "rename", "mkdir")

    def __init__(self, monkeypatch, number, code):
        self.left = number
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name), code))

    def wrap(self, call, code):
        def failing(*arguments, **options):
            self.left -= 1
            if self.left == 0:
                raise OSError(code, os.strerror(code), str(arguments[0]) if arguments else "")
            return call(*arguments, **options)

        return failing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_every_failing_call_leaves_old_or_new(tmp_path, code):
    """SQLite's method: fail the Nth call for N = 1, 2, ... until the whole write goes through."""
    folder, tried = tmp_path / "model", 0
    files.write_folder(folder, {"one": b"a" * 5000, "two": b"aaa"})
    while True:
        tried += 1
        with pytest.MonkeyPatch.context() as patch:
            calls = FailingCalls(patch, tried, code)
            try:
                files.write_folder(folder, {"one": b"b" * 5000, "two": b"bbb"})
            except (WriteError, PermissionFault, files.ReadError) as fault:
                assert fault.exit_code in (73, 74, 77)
        content = files.read_folder(folder)
        assert content["one"][:1] * 3 == content["two"]
        if calls.left > 0:
            break
    assert tried > 12
    assert content["two"] == b"bbb"
    files.remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_full_disk_keeps_the_old_file_and_removes_the_temporary(tmp_path):
    path = tmp_path / "a.json"
    files.write_atomic(path, "old")
    for number in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(WriteError, match="No space left"):
            FailingCalls(patch, number, errno.ENOSPC)
            files.write_atomic(path, "new")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


SYSCALLS = ("openat", "write", "fsync", "close", "rename", "mkdir", "unlinkat", "rmdir", "getdents64", "newfstatat")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to inject signals")
@pytest.mark.slow
def test_kill_at_every_system_call_of_a_save(tmp_path):
    """SIGKILL on entry of every system call that a save makes on the folder; the old or the new must load."""
    source = str(Path(files.__file__).parent.parent)
    points = 0
    for call in SYSCALLS:
        for number in range(1, 200):
            work = tmp_path / f"{call}{number}"
            work.mkdir()
            folder = work / "model"
            files.write_folder(folder, {"one": b"a" * 5000, "two": b"aaa"})
            trace = [
                "strace", "-f", "-qq", "-o", "/dev/null", "-P", str(work), "-P", str(folder),
                *[f for n in (".tmp-model", ".tmp-old-model", ".tmp-gone-model", ".tmp-gone-.tmp-old-model")
                  for f in ("-P", str(work / n))],
                *[f for n in (".tmp-model", "model", ".tmp-old-model", ".tmp-gone-.tmp-old-model")
                  for m in ("one", "two", "manifest.json") for f in ("-P", str(work / n / m))],
                "-e", f"inject={call}:signal=SIGKILL:when={number}",
            ]  # fmt: skip
            done = subprocess.run(
                [
                    *trace,
                    sys.executable,
                    "-S",
                    "-c",
                    f"import sys; sys.path.insert(0, {source!r})\n{WRITER}",
                    folder,
                    "b",
                ],
                capture_output=True,
                check=False,
            )
            content = files.read_folder(folder)
            assert content["one"][:1] * 3 == content["two"], f"mixed after {call} {number}"
            files.remove_temporaries(work)
            assert files.read_folder(folder) == content
            assert [path.name for path in work.iterdir()] == ["model"]
            if done.returncode == 0:
                assert content["two"] == b"bbb"
                break
            points += 1
    assert points > 20
    print(f"{points} kill points, old or new at each")


def test_json_error_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CheckpointError, match="a.json"):
        files.read_json(tmp_path / "a.json")
    assert json.loads(files.json_line({"p": "\udcff"})) == {"p": "\udcff"}
