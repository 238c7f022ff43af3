"""Bench: sides take turns, wrong sides have no figure, ratios, JSON and the page, peers that cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchwords.bench import memory, peak, peers, report, step
from patchwords.bench.contestants import Task, ours, plain
from patchwords.bench.timing import Check, Row, alternate, ratios
from patchwords.cli import main
from patchwords.errors import CheckError

PEERS = peers.python()  # in the cache of the user, not in that of the tests
TINY = ["--model", "vit_nano_patch4_32", "--batch-size", "4", "--rounds", "2"]
PAGE = "# Speed\n\n{}\n{}\n\nAfter.\n".format(*report.MARKS)


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch):
    """Peaks of products that take no time."""
    monkeypatch.setattr(peak, "SHAPES", ((64, 96, 32),))
    peak.peak.cache_clear()
    yield
    peak.peak.cache_clear()


def row(side: str, *seconds: float, passed: bool = True, **more) -> Row:
    return Row("a case", side, (Check("same", 0.0 if passed else 2.0, 1.0),), seconds if passed else (), None, **more)


def test_sides_take_turns() -> None:
    order: list[str] = []
    seconds = alternate({name: lambda name=name: order.append(name) for name in "abc"}, 3)
    assert "".join(order) == "abcabcabc" and {len(s) for s in seconds.values()} == {3}


def test_not_a_number_fails_a_check() -> None:
    assert not Check("", float("nan"), 1.0).passed and Check("", 1.0, 1.0).passed


def test_ratios_are_of_our_fastest_side_round_by_round() -> None:
    rows = [row("patchwords a", 9.0, 9.0), row("patchwords b", 2.0, 4.0), row("peer", 6.0, 4.0)]
    rows += [row("wrong", passed=False)]
    assert ratios(rows) == [
        {"case": "a case", "ours": "patchwords b", "peer": "peer", "of": "time", "fastest": 2.0, "median": 2.0}
        | {"least": 1.0}
    ]
    (of_memory,) = ratios([row("patchwords", peak_bytes=(100, 100)), row("peer", peak_bytes=(300, 250))])
    assert (of_memory["of"], of_memory["fastest"], of_memory["median"]) == ("memory", 2.5, 2.75)
    assert ratios([row("peer", 1.0)]) == ratios([row("patchwords", 1.0)]) == []


def test_pictures_a_second() -> None:
    assert row("patchwords", 0.5, 1.0, count=8).as_dict()["per_second"] == {"fastest": 16.0, "median": 8 / 0.75}


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int8"])
def test_every_product_of_a_peak_is_checked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = peak.peak(kind)
    assert found.rate > 0 and found.by.endswith(" 64x96x32") and found.error <= peak.BOUNDS[kind]
    right = peak._ways
    wrong = {name: lambda work=work: work() * 1.1 for name, work in right(kind, *drawn(kind)).items()}
    monkeypatch.setattr(peak, "_ways", lambda *_: wrong)
    peak.peak.cache_clear()
    with pytest.raises(CheckError, match=kind):
        peak.peak(kind)


def drawn(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return peak._drawn((64, 96), kind), peak._drawn((32, 96), kind)


def test_the_command_prints_checked_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", *TINY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"date", "machine", "peaks", "rows", "ratios"}
    assert found["machine"]["versions"]["torch"] == torch.__version__
    assert found["peaks"].keys() >= {"bf16", "fp32", "int8"}
    for each in found["rows"]:
        assert each["passed"] and each["checks"] and 0 < each["least"] <= each["median"] and each["of_peak"] > 0


def test_a_failed_check_is_exit_code_3_without_figure(monkeypatch, capsys) -> None:
    monkeypatch.setattr(step, "LOSS_BOUND", -1.0)
    assert main(["bench", "step", *TINY, "--json"]) == 3
    for each in json.loads(capsys.readouterr().out)["rows"]:
        assert not each["passed"] and each.keys() == {"case", "side", "ours", "passed", "checks"}
    assert main(["bench", "step", *TINY]) == 3
    told = capsys.readouterr()
    assert "FAILED, not measured" in told.out and "computes something else" in told.err.splitlines()[-1]


def test_a_wrong_gradient_is_noticed() -> None:
    task = Task.of_noise("vit_nano_patch4_32", 4)
    half = ours(task, 2)
    half.feed(task.images, task.labels.roll(1))  # the labels of other pictures: nearly the same loss
    checks = step.Reference(plain(task)).checks(half)
    half.close()
    assert not all(check.passed for check in checks)


def test_a_page_is_made_from_what_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "speed.md"
    page.write_text(PAGE)
    assert main(["bench", "step", *TINY, "--write", str(page), "--json", str(tmp_path / "own.json")]) == 0
    (kept,) = (tmp_path / "speed").iterdir()
    made = page.read_text()
    assert kept.name == "step-vit_nano_patch4_32.json" and made.startswith("# Speed") and made.endswith("After.\n")
    assert "| patchwords bf16, shards=" in made and "gradient as in float32: " in made and "Peak in " in made
    assert main(["bench", "--from", str(kept), "--write", str(page)]) == 0
    assert page.read_text() == made
    assert json.loads((tmp_path / "own.json").read_text())["rows"] == json.loads(kept.read_text())["rows"]


def test_what_failed_has_no_figure_in_the_page() -> None:
    rows = [row("patchwords", 1.0, 1.0), row("peer", 3.0, 2.0), row("wrong", passed=False)]
    made = report.table([report.as_dict(rows)])
    assert "| patchwords | 1 |" in made and "| peer | 2.00, 2.50, 2.00 |" in made
    assert "| wrong | **failed, not measured** |" in made


@pytest.mark.parametrize(
    "arguments,code",
    [
        (["--rounds", "0"], 2),
        (["--memory"], 2),
        (["infer", "--curve", "9"], 2),
        (["--json", "step"], 2),
        (["step", "--from", "nothing.json"], 2),
        (["--from", "nothing.json"], 66),
        (["--write", "nothing.md"], 66),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], code: int, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_without_marks_and_a_foreign_result_are_refused(tmp_path: Path, capsys) -> None:
    page, foreign = tmp_path / "page.md", tmp_path / "foreign.json"
    page.write_text("# Speed\n")
    foreign.write_text("{}")
    assert main(["bench", "--from", str(foreign)]) == 65
    foreign.write_text(json.dumps(report.as_dict([])))
    assert main(["bench", "--from", str(foreign), "--write", str(page)]) == 2
    assert page.read_text() == "# Speed\n" and capsys.readouterr().err.count("\n") == 2


def test_peers_that_cannot_be_installed_are_one_line(tmp_path: Path) -> None:
    nowhere = {"PATCHWORDS_CACHE": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "patchwords", "bench", "step", "--peers"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | nowhere)
    assert done.returncode == 74 and not done.stdout
    making, fault = done.stderr.splitlines()
    assert making.startswith(f"making {tmp_path}/peers/") and fault.startswith("error: --peers: ")
    assert not list(tmp_path.glob("peers/*/installed"))


def test_the_memory_of_a_step_grows_with_what_is_held() -> None:
    before = memory.start_over()
    held = torch.ones(64, 2**20)
    assert 0.9 * held.nbytes < memory.most_held() - before < 1.3 * held.nbytes
    del held
    before = memory.start_over()
    assert memory.most_held() - before < 2**24  # what was held earlier is forgotten


def test_a_step_in_quarters_holds_less_and_has_the_same_loss() -> None:
    (whole, quarters) = (
        memory.measure_here("vit_nano_patch4_32", 64, f"patchwords bf16, shards={n}", False) for n in (1, 4)
    )
    assert abs(whole["loss"] - quarters["loss"]) < 0.01 and 0 < quarters["bytes"] < whole["bytes"]


@pytest.mark.slow
def test_each_way_is_measured_in_a_process_of_its_own_and_checked(capsys) -> None:
    assert main(["bench", "step", "--memory", *TINY[:4], "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 3 and all(each["passed"] and each["peak_bytes"][0] > 0 for each in rows)


@pytest.mark.slow
def test_timm_takes_the_same_step(tmp_path: Path) -> None:
    if not PEERS.exists():
        pytest.skip("needs the peers: `patchwords bench step --peers` makes them")
    command = [PEERS, "-m", "patchwords", "bench", "step", *TINY, "--json", tmp_path / "step.json"]
    environment = os.environ | {"PATCHWORDS_CACHE": str(PEERS.parents[3])}
    subprocess.run([*command, "--peers"], check=True, env=environment, timeout=250)
    found = json.loads((tmp_path / "step.json").read_text())
    assert len(found["rows"]) == 3 and all(each["passed"] for each in found["rows"]) and len(found["ratios"]) == 2
    assert found["machine"]["versions"]["timm"]
