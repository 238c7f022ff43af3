"""What a benchmark found, with the machine, the versions and the peaks: JSON, lines of text, a table in a page."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError
from ..files import faults_named, read_bytes, read_json, write_atomic, write_json
from .peak import measured_peaks
from .timing import Row, ratios

PACKAGES = ("torch", "timm", "transformers", "onnxruntime", "openvino", "simplejpeg", "pillow", "webdataset")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
"""of a processor: those that change how matrices are multiplied"""
MARKS = "<!-- made by `patchwords bench --write` -->", "<!-- end of what is made -->"


def as_dict(rows: Iterable[Row]) -> dict[str, Any]:
    """Return plain values, for JSON, of rows measured in this process."""
    rows = list(rows)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "peaks": measured_peaks(),
        "rows": [row.as_dict() for row in rows],
        "ratios": ratios(rows),
    }


def machine() -> dict[str, Any]:
    """Return what the figures were made on and with."""
    info = Path("/proc/cpuinfo")
    told = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line) if info.exists() else {}
    told = {name.strip(): text.strip() for name, text in told.items()}
    flags = set(told.get("flags", told.get("Features", "")).split())
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "versions": versions,
    }


def lines(report: dict[str, Any]) -> list[str]:
    """Return a line of text for each row and each ratio."""
    told = []
    for row in report["rows"]:
        checks = "; ".join(f"{c['name']}: off by {c['error']:.2g} of {c['bound']:g}" for c in row["checks"])
        told.append(f"{row['case']}: {row['side']}: {_figures(row)}; {checks}")
    for ratio in report["ratios"]:
        told.append(f"{ratio['case']}: {ratio['peer']} takes {_times(ratio)} of what {ratio['ours']} takes")
    return told


def _figures(row: dict[str, Any]) -> str:
    if "top1" in row:
        return "; ".join(_trainings(row))
    if not row["passed"]:
        return "FAILED, not measured"
    if "peak_bytes" in row:
        return f"{_mebibytes(row)} least"
    if "least" not in row:
        return "not timed"
    told = f"{1000 * row['least']:.1f} ms least, {1000 * row['median']:.1f} median"
    if "per_second" in row:
        told += f", {row['per_second']['fastest']:.1f} pictures a second ({row['per_second']['median']:.1f} median)"
    return told if row["of_peak"] is None else f"{told}, {row['of_peak']:.2f} of the GEMM peak"


def _trainings(row: dict[str, Any]) -> tuple[str, str]:
    """Return accuracy and minutes of trainings, mean and spread over the seeds."""
    top1, minutes = [100 * each for each in row["top1"]], [each / 60 for each in row["seconds"]]
    several = len(top1) > 1
    spread = f" (sd {statistics.stdev(top1):.2f}, {len(top1)} seeds)" if several else " (1 seed)"
    span = f" ({min(minutes):.1f} to {max(minutes):.1f})" if several else ""
    return f"{statistics.fmean(top1):.2f} %{spread}", f"{statistics.fmean(minutes):.1f} min{span}"


def _mebibytes(row: dict[str, Any]) -> str:
    return f"{min(row['peak_bytes']) / 2**20:.0f} MiB"


def _times(ratio: dict[str, Any]) -> str:
    told = f"{ratio['fastest']:.2f} times"
    if "median" not in ratio:
        return told
    return f"{told} ({ratio['median']:.2f} median, {ratio['least']:.2f} least of the rounds)"


def load_reports(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Return what `bench --json FILE` wrote.

    Raises:
        CheckpointError: it is something else; names the file.
    """
    found = []
    for path in paths:
        report = read_json(path)
        if not isinstance(report, dict) or not {"date", "machine", "peaks", "rows", "ratios"} <= report.keys():
            raise CheckpointError("is no result of `patchwords bench --json`", where=str(path))
        found.append(report)
    return found


def store(page: str | Path, found: dict[str, list[Row]]) -> None:
    """Write rows by file name into the folder of a page: docs/performance/ for docs/performance.md."""
    folder = Path(page).with_suffix("")
    with faults_named(folder, "write"):
        folder.mkdir(exist_ok=True)
    for name, rows in found.items():
        write_json(folder / name, as_dict(rows))


def stored(page: str | Path) -> list[dict[str, Any]]:
    """Return the results in the folder of a page, by name."""
    return load_reports(sorted(Path(page).with_suffix("").glob("*.json")))


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Return Markdown: for each report the machine and versions, then a table of its rows."""
    return "\n\n".join(_section(report) for report in reports)


def _section(report: dict[str, Any]) -> str:
    made = report["machine"]
    device = "" if made["device"] == "cpu" else f"{made['device']}, "
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    peaks = ", ".join(f"{kind} {peak['rate'] / 1e9:.0f} ({peak['by']})" for kind, peak in report["peaks"].items())
    told = [
        f"{report['date']}, {device}{made['processor']} ({', '.join(made['flags'])}), {made['cores']} cores, "
        f"{made['threads']} threads; {versions}. Peak in billion operations a second: {peaks}."
    ]
    for case in dict.fromkeys(row["case"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["case"] == case]
        columns = "test top-1 | whole time" if "top1" in rows[0] else "peer / ours: best, median, least round | of peak"
        told += ["", f"**{case}**", "", f"| side | {columns} | check that it passed |"]
        told += ["|---|---|---|---|"]
        told += [_line(row, report["ratios"]) for row in rows]
    return "\n".join(told)


def _line(row: dict[str, Any], found: Sequence[dict[str, Any]]) -> str:
    ratio = next((r for r in found if (r["case"], r["peer"]) == (row["case"], row["side"])), None)
    if not row["passed"]:
        compared = "**failed, not measured**"
    elif ratio is None:
        best = any((r["case"], r["ours"]) == (row["case"], row["side"]) for r in found)
        compared = "1" if best else ""
    else:
        compared = ", ".join(f"{ratio[name]:.2f}" for name in ("fastest", "median", "least") if name in ratio)
    if "peak_bytes" in row:
        compared = f"{compared} ({_mebibytes(row)})".strip()
    share = row.get("of_peak")
    figures = _trainings(row) if "top1" in row else (compared, "" if share is None else f"{share:.2f}")
    checks = "; ".join(f"{c['name']}: {c['error']:.1g} of {c['bound']:g}" for c in row["checks"])
    cells = (row["side"], *figures, checks if row["passed"] else f"**missed**: {checks}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_page(page: str | Path, reports: Sequence[dict[str, Any]]) -> None:
    """Put the table of the reports between the marks of a page.

    Raises:
        MissingError: no such page. ConfigError: it has not both marks once.
    """
    text = read_bytes(page).decode()
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ConfigError("has no place for the table", where=str(page), fix=f"Write two lines into it: {begin} {end}")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    write_atomic(page, f"{before}{begin}\n\n{table(reports)}\n\n{end}{after}")
