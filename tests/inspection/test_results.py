"""Results as tables and arrays: nothing lost, nothing run, equal bytes."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from patchwords import inspection
from patchwords.errors import MissingError
from patchwords.inspection.results import Row, arrays, table, write_csv, write_npz


@dataclass(frozen=True)
class Inner:
    share: float


@dataclass(frozen=True)
class Outer:
    distance_px: np.ndarray
    names: tuple[str, ...]
    inner: Inner
    extra: dict[str, np.ndarray]
    absent: np.ndarray | None = None

    def rows(self) -> list[Row]:
        return table(("layer", ("name", self.names)), distance_px=self.distance_px)


def result(names: tuple[str, ...] = ("cat", "dog", "eel")) -> Outer:
    values = np.float32(1) / np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    return Outer(values, names, Inner(0.25), {"counts": np.arange(3)})


def test_a_table_has_a_line_for_each_element_and_counts_from_one() -> None:
    rows = result().rows()
    assert [(row["layer"], row["name"]) for row in rows[:4]] == [(1, "cat"), (1, "dog"), (1, "eel"), (2, "cat")]
    assert rows[5] == {"layer": 2, "name": "eel", "distance_px": pytest.approx(1 / 6)}
    with pytest.raises(ValueError, match="different shapes"):
        table(("layer", "head"), a=np.zeros((2, 3)), b=np.zeros((3, 2)))


def test_arrays_are_every_field_without_objects() -> None:
    fields = arrays(result())
    assert list(fields) == ["distance_px", "names", "inner.share", "extra.counts"]
    assert fields["inner.share"].shape == () and fields["names"].tolist() == ["cat", "dog", "eel"]
    with pytest.raises(TypeError, match="names"):
        arrays(result((object(),)))  # type: ignore[arg-type]


def test_npz_is_read_without_pickles_and_equal_results_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, result())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}  # not when it was written
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        for name, array in arrays(result()).items():
            assert read[name].dtype == array.dtype and read[name].shape == array.shape
            np.testing.assert_array_equal(read[name], array)


def test_csv_keeps_every_digit_of_a_float32(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", result())
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [np.float32(row["distance_px"]) for row in rows] == result().distance_px.ravel().tolist()
    assert (rows[0]["layer"], rows[0]["name"]) == ("1", "cat")


def test_no_name_becomes_a_formula_or_a_second_line(tmp_path: Path) -> None:
    names = ("=1+1", " @x", '-a,"b"', "+1", "new\nline", "caf\u00e9", "\udcff", "<img onerror=x>")
    seen = Outer(np.zeros((1, len(names))), names, Inner(0), {})
    write_csv(tmp_path / "a.csv", seen)
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(names)
    read = [row["name"] for row in csv.DictReader(lines)]
    assert read == ["'=1+1", "' @x", '\'-a,"b"', "'+1", r"new\nline", "caf\u00e9", r"\xff", "<img onerror=x>"]


def test_rows_with_different_columns_leave_cells_empty(tmp_path: Path) -> None:
    class Mixed(Outer):
        def rows(self) -> list[Row]:
            return [{"a": 1, "b": float("nan")}, {"c": True}]

    write_csv(tmp_path / "a.csv", Mixed(np.zeros(1), (), Inner(0), {}))
    assert (tmp_path / "a.csv").read_text() == "a,b,c\n1,nan,\n,,1\n"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    for write in (write_csv, write_npz):
        with pytest.raises(MissingError, match="nowhere"):
            write(tmp_path / "nowhere" / "a", result())


def test_every_public_name_is_there_and_none_is_hidden_by_a_module() -> None:
    for name in inspection.__all__:
        assert callable(getattr(inspection, name)), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = inspection.nothing
