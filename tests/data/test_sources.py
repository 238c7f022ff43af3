"""Where pictures come from: every layout and container gives the same entries, and nothing hangs or is lost."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patchwords.data.sources import Source, open_source
from patchwords.errors import ConfigError, DataError, MissingError, PatchwordsError, PermissionFault

A, B, C = b"\x89PNG a", b"\x89PNG bb", b"\x89PNG ccc"


def entries(source: Source) -> list[tuple[str, str, str]]:
    return [(entry.path, entry.label, entry.split) for entry in source.entries]


def zipped(files: dict[str, bytes], path, method: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def tarred(files: dict[str, bytes], path, form: int = tarfile.PAX_FORMAT) -> str:
    with tarfile.open(path, "w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


LAYOUTS = {
    "class folders": (
        {"dog/2.jpg": A, "cat/1.png": B},
        [("cat/1.png", "cat", ""), ("dog/2.jpg", "dog", "")],
    ),
    "nested below the class": (
        {"cat/x/y/1.png": A, "dog/2.png": B},
        [("cat/x/y/1.png", "cat", ""), ("dog/2.png", "dog", "")],
    ),
    "splits": (
        {"train/cat/1.png": A, "valid/cat/1.png": B, "test/cat/1.png": C},
        [("test/cat/1.png", "cat", "test"), ("train/cat/1.png", "cat", "train"), ("valid/cat/1.png", "cat", "val")],
    ),
    "splits by other names": (
        {"Training/cat/1.png": A, "Validation/cat/1.png": B},
        [("Training/cat/1.png", "cat", "train"), ("Validation/cat/1.png", "cat", "val")],
    ),
    "one split only": ({"train/cat/1.png": A}, [("train/cat/1.png", "cat", "train")]),
    "a wrapping folder": (
        {"all/cat/1.png": A, "all/dog/2.png": B},
        [("all/cat/1.png", "cat", ""), ("all/dog/2.png", "dog", "")],
    ),
    "a wrapping folder with splits": (
        {"all/train/cat/1.png": A, "all/test/cat/2.png": B},
        [("all/test/cat/2.png", "cat", "test"), ("all/train/cat/1.png", "cat", "train")],
    ),
    "a class called train": (
        {"bus/1.png": A, "car/1.png": B, "train/1.png": C},
        [("bus/1.png", "bus", ""), ("car/1.png", "car", ""), ("train/1.png", "train", "")],
    ),
    "a class called train with folders in it": (
        {"bus/1.png": A, "train/steam/1.png": B},
        [("bus/1.png", "bus", ""), ("train/steam/1.png", "train", "")],
    ),
    "order is that of the bytes": (
        {"é/1.png": A, "Z/1.png": B, "a/10.png": A, "a/9.png": B},
        [("Z/1.png", "Z", ""), ("a/10.png", "a", ""), ("a/9.png", "a", ""), ("é/1.png", "é", "")],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("container", ["folder", "zip", "deflated zip", "tar", "gnu tar"])
def test_layouts_in_every_container(layout, container, make_tree, tmp_path):
    files, wanted = LAYOUTS[layout]
    makers = {
        "folder": lambda: make_tree(files),
        "zip": lambda: zipped(files, tmp_path / "a.zip"),
        "deflated zip": lambda: zipped(files, tmp_path / "a.zip", zipfile.ZIP_DEFLATED),
        "tar": lambda: tarred(files, tmp_path / "a.tar"),
        "gnu tar": lambda: tarred(files, tmp_path / "a.tar", tarfile.GNU_FORMAT),
    }
    source = open_source(makers[container]())
    assert entries(source) == wanted and not source.refused and len(source) == len(files)
    assert [source.read(i) for i in range(len(source))] == [files[path] for path, _, _ in wanted]
    assert source.kind == container.split()[-1]
    assert source.where(0).startswith(str(tmp_path)) and source.where(0).endswith(wanted[0][0])


def test_what_lies_outside_of_the_layout_is_refused_with_a_reason(make_tree):
    source = open_source(
        make_tree({"train/cat/1.png": A, "val/cat/2.png": B, "extra/cat/3.png": C, "train/4.png": A, "5.png": B})
    )
    assert [entry.path for entry in source.entries] == ["train/cat/1.png", "val/cat/2.png"]
    assert dict(source.refused) == {
        "extra/cat/3.png": "lies outside of the train, val and test folders",
        "train/4.png": "does not lie in a class folder",
        "5.png": "lies outside of the train, val and test folders",
    }


@pytest.mark.parametrize("container", ["folder", "zip", "tar"])
def test_system_files_and_other_files_are_counted(container, make_tree, tmp_path):
    files = {"a/1.png": A, "b/2.PNG": B, "a/.DS_Store": C, "__MACOSX/a/._1.png": C, "a/._1.png": C, "a/Thumbs.db": C}
    files |= {"a/notes.txt": C, "README": C, ".git/x.png": C}
    makers = {
        "folder": lambda: make_tree(files),
        "zip": lambda: zipped(files, tmp_path / "a.zip"),
        "tar": lambda: tarred(files, tmp_path / "a.tar"),
    }
    source = open_source(makers[container]())
    assert [entry.path for entry in source.entries] == ["a/1.png", "b/2.PNG"] and not source.refused
    assert source.ignored[".txt"] == 1 and source.ignored["no extension"] == 1
    assert source.ignored["hidden and system files"] >= 4


def test_nothing_hangs_and_everything_odd_is_named(make_tree, tmp_path):
    root = make_tree({"a/1.png": A, "b/2.png": B})
    os.mkfifo(os.path.join(root, "a/pipe.png"))
    os.mkdir(os.path.join(root, "a/folder.jpg"))
    os.symlink("nowhere.png", os.path.join(root, "a/dangling.png"))
    os.symlink("self.png", os.path.join(root, "a/self.png"))
    os.symlink("1.png", os.path.join(root, "a/link.png"))
    os.symlink("..", os.path.join(root, "a/loop"))
    os.symlink("/dev/zero", os.path.join(root, "b/zero.png"))
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.join(root, "b"))
    listener.bind("socket.png")
    os.chdir(tmp_path)
    with listener:
        source = open_source(root)
    assert [entry.path for entry in source.entries] == ["a/1.png", "a/link.png", "b/2.png"]
    assert dict(source.refused) == {
        "a/pipe.png": "is a pipe, not a file",
        "a/folder.jpg": "is a folder, not a file",
        "a/dangling.png": "is a broken link",
        "a/self.png": "is a link that leads back to itself",
        "a/loop": "is a link to a folder that is listed already",
        "b/zero.png": "is a device, not a file",
        "b/socket.png": "is a socket, not a file",
    }
    os.remove(os.path.join(root, "a/1.png"))
    os.mkfifo(os.path.join(root, "a/1.png"))  # after the listing
    with pytest.raises(DataError, match="is a pipe, not a file"):
        source.read(0)
    os.remove(os.path.join(root, "b/2.png"))
    with pytest.raises(MissingError, match="2.png: no such file"):
        source.read(2)


def test_links_to_folders_outside_are_followed_once(make_tree, tmp_path):
    store = make_tree({"1.png": A, "sub/2.png": B}, "store")
    root = make_tree({"dog/3.png": C})
    os.symlink(store, os.path.join(root, "cat"))
    os.symlink(store, os.path.join(root, "copy"))
    os.symlink("..", os.path.join(store, "sub", "up"))
    os.symlink(tmp_path, os.path.join(store, "above"))
    source = open_source(root)
    listed = [entry.path for entry in source.entries]
    assert listed[:2] == ["cat/1.png", "cat/sub/2.png"] and "dog/3.png" in listed
    assert len([path for path in listed if path.endswith(("1.png", "2.png", "3.png"))]) == 3
    assert {"copy", "cat/sub/up"} <= set(dict(source.refused))


def test_any_name_a_file_system_allows(make_tree, tmp_path):
    raw = os.fsdecode(b"bad \xff\xfe byte.png")
    names = ["with space.png", "new\nline.png", raw, "quote'\".png", "-dash.png", "ünï.png", "x" * 200 + ".png"]
    files = {f"class {n % 2}/{name}": bytes([n]) for n, name in enumerate(names)}
    source = open_source(make_tree(files))
    assert {entry.path: source.read(i) for i, entry in enumerate(source.entries)} == files
    assert [entry.path for entry in source.entries] == sorted(files, key=os.fsencode)
    archive = open_source(tarred(files, tmp_path / "a.tar"))
    assert {entry.path: archive.read(i) for i, entry in enumerate(archive.entries)} == files
    os.remove(os.path.join(tmp_path, "set", f"class 0/{raw}"))
    with pytest.raises(MissingError) as caught:
        source.read(source.index[f"class 0/{raw}"])
    assert r"bad \xff\xfe byte.png" in caught.value.line()


def test_zip_names_without_the_utf8_flag_are_taken_as_utf8(tmp_path):
    path = zipped({"c/u_.png": A, "dog/2.png": B}, tmp_path / "a.zip")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace(b"c/u_.png", b"c/\xc3\xbc.png"))
    assert [entry.path for entry in open_source(path).entries] == ["c/ü.png", "dog/2.png"]


def test_reading_from_many_threads(make_tree, tmp_path):
    files = {f"{n % 3}/{n}.png": os.urandom(n * 37 % 5000 + 1) for n in range(120)}
    for spec in (zipped(files, tmp_path / "a.zip", zipfile.ZIP_DEFLATED), tarred(files, tmp_path / "a.tar")):
        source = open_source(spec)
        with ThreadPoolExecutor(8) as threads:
            for number, data in enumerate(threads.map(source.read, list(range(len(source))) * 5)):
                assert data == files[source.entries[number % len(source)].path]


# --- archives


def test_links_devices_and_strange_names_in_archives_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("a/l.png", tarfile.SYMTYPE), ("a/h.png", tarfile.LNKTYPE), ("a/f.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("a/1.png", "b/2.png", "../out.png", "/abs.png", "a/../../x.png", "a/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(A)
            archive.addfile(info, io.BytesIO(A))
    source = open_source(path)
    assert [entry.path for entry in source.entries] == ["a/1.png", "b/2.png"]
    reasons = dict(source.refused)
    assert reasons["a/l.png"] == reasons["a/h.png"] == "is a link inside the archive"
    assert reasons["a/f.png"] == "is a device or a pipe, not a file"
    assert {reasons[name] for name in ("../out.png", "/abs.png", "a/../../x.png")} == {
        "its name leads outside of the archive"
    }
    assert reasons["a/1.png"] == "another file of this name is listed already"
    path = zipped({"a/1.png": A, "b/2.png": B, "../out.png": C}, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a/packed.png", C, zipfile.ZIP_BZIP2)
    source = open_source(path)
    assert [entry.path for entry in source.entries] == ["a/1.png", "b/2.png"]
    assert dict(source.refused)["a/link.png"] == "is a link inside the archive"
    assert "method that is not read in place" in dict(source.refused)["a/packed.png"]


def test_a_cut_tar_keeps_what_lies_before_the_cut(tmp_path):
    path = tarred({f"{n % 2}/{n}.png": bytes(700) for n in range(6)}, tmp_path / "a.tar")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: 3 * 1536 + 800])  # in the middle of the fourth
    source = open_source(path)
    faults = dict(source.refused)
    good = 0
    for number in range(len(source)):
        try:
            good += len(source.read(number)) == 700
        except DataError as error:
            faults[source.entries[number].path] = error.what
    assert good == 3 and any("cut short" in fault or "damaged" in fault for fault in faults.values())
    Path(path).write_bytes(b"not a tar" * 300)
    with pytest.raises(DataError, match="is not a tar archive"):
        open_source(path)


def test_a_damaged_zip_is_named(tmp_path):
    path = zipped({"a/1.png": A * 50, "b/2.png": B * 50}, tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    data = Path(path).read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        Path(path).write_bytes(data[:cut])
        with pytest.raises(DataError, match="a.zip: is not a whole zip archive") as caught:
            open_source(path)
        assert caught.value.exit_code == 65
    for at in (0, 35, 45):  # local header, name or data of the first member
        Path(path).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        source = open_source(path)
        if at != 35:
            with pytest.raises(DataError, match="a/1.png: the archive is damaged there"):
                source.read(0)
        assert source.read(1) == B * 50


def test_a_flipped_bit_in_a_stored_member_is_seen(tmp_path):
    path = zipped({"a/1.png": A * 50, "b/2.png": B * 50}, tmp_path / "a.zip")
    data = bytearray(Path(path).read_bytes())
    data[60] ^= 4
    Path(path).write_bytes(data)
    with pytest.raises(DataError, match=r"a/1.png: the archive is damaged there \(its checksum does not fit\)"):
        open_source(path).read(0)


def test_a_zip_bomb_is_not_unfolded(tmp_path):
    path = zipped({"a/1.png": bytes(5_000_000), "b/2.png": B}, tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    data = bytearray(Path(path).read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 100)  # says 100 bytes, holds five million
    Path(path).write_bytes(data)
    source = open_source(path)
    tracemalloc.start()
    with pytest.raises(DataError, match="checksum"):
        source.read(0)
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    data[central + 24 : central + 28] = struct.pack("<I", 2**31)
    Path(path).write_bytes(data)
    assert "more than the limit" in dict(open_source(path).refused)["a/1.png"]


def test_an_encrypted_zip_is_refused(tmp_path):
    path = zipped({"a/1.png": A, "b/2.png": B}, tmp_path / "a.zip")
    data = bytearray(Path(path).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    Path(path).write_bytes(data)
    assert dict(open_source(path).refused) == {"a/1.png": "is encrypted"}


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst"])
def test_a_compressed_tar_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read in place.*gunzip"):
        open_source(tmp_path / name)


# --- tables


def parquet_bytes(rows: list[dict]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def csv_bytes(rows: list[dict]) -> bytes:
    names = list(rows[0])
    lines = [",".join(names)] + [",".join('"' + str(row[name]) + '"' for name in names) for row in rows]
    return ("\ufeff" + "\r\n".join(lines)).encode()


def jsonl_bytes(rows: list[dict]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


TABLES = {"csv": csv_bytes, "jsonl": jsonl_bytes, "parquet": parquet_bytes}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_name_pictures_and_labels(kind, make_tree):
    rows = [
        {"file_name": "x/1.png", "label": 7, "split": "train"},
        {"file_name": "y, z.png", "label": 8, "split": "validation"},
        {"file_name": "../secret.png", "label": 8, "split": ""},
        {"file_name": "/etc/passwd.png", "label": 8, "split": ""},
        {"file_name": "x/../x/1.png", "label": 8, "split": ""},
    ]
    root = make_tree({"x/1.png": A, "y, z.png": B, "unlisted.png": C, f"t.{kind}": TABLES[kind](rows)})
    source = open_source(os.path.join(root, f"t.{kind}"))
    assert entries(source) == [("x/1.png", "7", "train"), ("y, z.png", "8", "val")]
    assert [source.read(0), source.read(1)] == [A, B]
    assert source.refused == [
        ("../secret.png", "leads outside of the table's folder"),
        ("/etc/passwd.png", "leads outside of the table's folder"),
        ("x/1.png", "is named twice in the table"),
    ]


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_a_metadata_table_inside_takes_the_place_of_folders(kind, container, make_tree, tmp_path):
    rows = [{"file_name": "1.png", "label": "cat"}, {"file_name": "gone.png", "label": "dog"}]
    files = {"train/1.png": A, "train/2.png": B, f"train/metadata.{kind}": TABLES[kind](rows)}
    source = open_source(make_tree(files) if container == "folder" else zipped(files, tmp_path / "a.zip"))
    assert entries(source) == [("train/1.png", "cat", "train")] and source.read(0) == A
    assert dict(source.refused) == {
        "train/2.png": "is not named in the metadata table",
        "train/gone.png": "is named in a table and is not there",
    }


def test_a_metadata_table_without_labels_changes_nothing(make_tree):
    source = open_source(make_tree({"a/1.png": A, "b/2.png": B, "metadata.csv": b"file_name,text\na/1.png,hello\n"}))
    assert entries(source) == [("a/1.png", "a", ""), ("b/2.png", "b", "")]


BAD_TABLES = {
    "no label": ("t.csv", b"file_name,class\n1.png,a\n", "has no column label; it has file_name, class"),
    "no file_name": ("t.csv", b"name,label\n1.png,a\n", "has no column file_name"),
    "empty": ("t.csv", b"", "has no column file_name; it has none"),
    "short row": ("t.csv", b"file_name,label\n,a\n", "t.csv, row 1: has no file_name"),
    "long row": ("t.csv", b"file_name,label\n1.png,a,b,c\n", "t.csv, row 1: has more values"),
    "open quote": ("t.csv", b'file_name,label\n"1.png,a\n', "is not a table"),
    "split": ("t.csv", b"file_name,label,split\n1.png,a,tarin\n", "'tarin' is not a split. Did you mean train"),
    "not json": (
        "t.jsonl",
        b'{"file_name": "1.png", "label": 1}\n{"file_name\n',
        "t.jsonl, line 2: is not a JSON object",
    ),
    "json list": ("t.jsonl", b"[1, 2]\n", "t.jsonl, line 1: is not a JSON object"),
    "deep json": ("t.jsonl", b"[" * 100_000, "is not a JSON object"),
    "not parquet": ("t.parquet", b"PAR1 but not really", "is not a parquet table"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_named_with_their_line(name, tmp_path):
    file, data, words = BAD_TABLES[name]
    if file.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / file).write_bytes(data)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / file)
    assert words in caught.value.line() and str(tmp_path) in caught.value.line() and "\n" not in caught.value.line()


# --- what cannot be opened at all


def test_what_cannot_be_opened(tmp_path, make_tree):
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    os.symlink("loop", tmp_path / "loop")
    rows: list[tuple[object, type[PatchwordsError], int, str]] = [
        ("", ConfigError, 2, "data.source"),
        (tmp_path / "nothing", MissingError, 66, "no such file or folder. Give digits"),
        (tmp_path / "pipe.zip", DataError, 65, "neither a file nor a folder"),
        (tmp_path / "x.rar", DataError, 65, "not a kind of data set that is known"),
        (tmp_path / "loop", PatchwordsError, 74, "loop: cannot read"),
        ("nul\0byte", PatchwordsError, 74, "nul"),
    ]
    for spec, kind, code, words in rows:
        with pytest.raises(kind) as caught:
            open_source(spec)
        line = caught.value.line()
        assert caught.value.exit_code == code and words in line and "\n" not in line and "\0" not in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; see the test with another user below")
def test_what_may_not_be_read(make_tree):
    root = make_tree({"a/1.png": A, "b/2.png": B, "c/3.png": C})
    os.chmod(os.path.join(root, "a/1.png"), 0)
    os.chmod(os.path.join(root, "c"), 0)
    assert_unreadable(root)
    os.chmod(os.path.join(root, "c"), 0o700)


def assert_unreadable(root: str) -> None:
    source = open_source(root)
    assert dict(source.refused) == {"c": "the folder cannot be opened: Permission denied"}
    with pytest.raises(PermissionFault, match="1.png: cannot read: Permission denied") as caught:
        source.read(0)
    assert caught.value.exit_code == 77 and source.read(1) == B


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user for a moment")
def test_what_another_user_may_not_read():
    with tempfile.TemporaryDirectory() as root:  # pytest's own folder is closed to other users
        for path, data in {"a/1.png": A, "b/2.png": B, "c/3.png": C}.items():
            Path(root, path).parent.mkdir()
            Path(root, path).write_bytes(data)
        os.chmod(root, 0o755)
        os.chmod(os.path.join(root, "a/1.png"), 0)
        os.chmod(os.path.join(root, "c"), 0)
        open_source(root)  # imports what it needs, which the other user might not be allowed to
        assert_unreadable_by_another(root)


def assert_unreadable_by_another(root: str) -> None:
    child = os.fork()
    if not child:
        status = 1
        try:
            os.seteuid(65534)
            assert_unreadable(root)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_pictures_without_labels(make_tree, tmp_path):
    root = make_tree({"1.png": A, "x/2.png": B, "x/notes.txt": C})
    source = open_source(root, labelled=False)
    assert entries(source) == [("1.png", "", ""), ("x/2.png", "", "")]
    single = open_source(os.path.join(root, "x/2.png"), labelled=False)
    assert single.kind == "file" and single.read(0) == B and single.where(0) == os.path.join(root, "x/2.png")
    archive = open_source(zipped({"1.png": A, "d/2.png": B}, tmp_path / "a.zip"), labelled=False)
    assert [archive.read(i) for i in range(2)] == [A, B]
