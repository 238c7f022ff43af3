"""`patchwords show` and `patchwords ideas`: lines, JSON, files, the page, and faults in one line."""

from __future__ import annotations

import json
import math
import re
import sys
import types

import pytest

from patchwords import ideas
from patchwords.errors import ConfigError, MissingError
from patchwords.figures.plot import Grid, Plot, Series
from patchwords.ideas.idea import Check, Effort, Idea, Result
from patchwords.ideas.show import Shown, finite, key_figure, plain_number, show
from tests.command_line import assert_one_line, call

NAMES = ["embed", "table", "patchify"]
"""ideas of a fraction of a second"""


@pytest.fixture
def few(monkeypatch):
    """As if there were two exact ideas and one that is trained."""
    monkeypatch.setattr(ideas, "IDEAS", {name: ideas.IDEAS[name] for name in ("embed", "table", "where")})


@pytest.fixture
def broken(monkeypatch):
    """An idea among them whose pictures are not there, and one whose figures are no numbers."""

    def missing(effort: Effort) -> Result:
        raise MissingError("no such file or folder", where=effort.data or "pictures")

    def odd(effort: Effort) -> Result:
        check = Check("a <b>figure</b>", math.nan, "<", math.inf)
        line = Series("<script>", (1.0, 2.0), (math.nan, 1.0))
        return Result(
            "refuted",
            "It is <i>not</i> so.",
            (check,),
            {"size": math.inf, "word": "<&>"},
            (Plot("P", "x", "y", (line,)),),
        )

    for name, run in (("missing", missing), ("odd", odd)):
        module = types.ModuleType(f"patchwords.ideas.{name}")
        module.IDEA = Idea(name, "S-99", f"{name} is so.", "Look.", "none", name == "missing", run)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ideas, "IDEAS", ideas.IDEAS | {"missing": "missing", "odd": "odd"})


def test_lines_of_several():
    answer = call("show", *NAMES)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["S-11", "embed", "confirmed"], ["S-12", "table", "confirmed"], ["S-10", "patchify", "confirmed"],
    ]  # fmt: skip
    assert "parameters at 32 pixels" in lines[0]
    assert answer.err.splitlines() == [f"idea {n}/3  {name}" for n, name in enumerate(NAMES, start=1)]


def test_one_is_told_in_full():
    answer = call("show", "embed")
    assert answer.code == 0 and answer.out.startswith("S-11 embed: confirmed (")
    for part in ("claim ", "experiment ", "source ", "checks", "figures", "patches at 512 pixels", "1,024", "590,592"):
        assert part in answer.out
    assert len(re.findall(r"^  met ", answer.out, re.MULTILINE)) == 7


def test_a_check_that_is_not_met_says_so():
    answer = call("show", "mlp-general")
    assert answer.code == 0 and "S-14 mlp-general: qualified" in answer.out
    assert len(re.findall(r"^  not met ", answer.out, re.MULTILINE)) == 1


def test_json_is_complete():
    answer = call("show", *NAMES[:2], "--json", "--seed", "5")
    told = json.loads(answer.out)["ideas"]
    assert [each["name"] for each in told] == NAMES[:2]
    for each in told:
        assert set(each) == {
            "name", "number", "claim", "experiment", "paper", "trained", "form", "seed", "seconds", "verdict",
            "reason", "checks", "figures",
        }  # fmt: skip
        assert all(set(check) == {"name", "value", "relation", "threshold", "met"} for check in each["checks"])


def test_without_names_the_trained_are_left_out(few):
    answer = call("show", "--json")
    told = {each["name"]: each["verdict"] for each in json.loads(answer.out)["ideas"]}
    assert told == {"embed": "confirmed", "table": "confirmed", "where": "not run"}
    lines = call("show").out.splitlines()
    assert "not run" in lines[2] and "--quick" in lines[2] and "--full" in lines[2]


def test_trained_ones_are_run_where_asked_for(few, monkeypatch):
    asked = []

    def run(effort: Effort) -> Result:
        asked.append(effort)
        return Result("confirmed", "So it is.", (Check("x", 1, "<", 2),))

    where = ideas.load_idea("where")
    module = types.ModuleType("patchwords.ideas.where")
    module.IDEA = Idea(where.name, where.number, where.claim, where.experiment, where.paper, True, run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for arguments, full in ((["--quick"], False), (["--full"], True), (["where"], False), (["where", "--full"], True)):
        assert call("show", *arguments, "--seed", 7, "--data", "pictures").code == 0
        assert (asked[-1].full, asked[-1].seed, asked[-1].data) == (full, 7, "pictures")
    assert len(asked) == 4


def test_files_and_page(tmp_path):
    shown = show(["table", "patchify"], out=tmp_path / "a" / "b")
    found = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert found == sorted(
        ["ideas.html", "table.json", "table.png", "table.svg", "patchify.json", "patchify.png", "patchify.svg",
         "patchify-2.png", "patchify-2.svg"]
    )  # fmt: skip
    for each in shown:
        assert json.loads((tmp_path / "a" / "b" / f"{each.idea.name}.json").read_text()) == each.as_dict()
    page = (tmp_path / "a" / "b" / "ideas.html").read_text()
    assert "default-src 'none'" in page and not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "2 ideas: 2 confirmed." in page and page.count("<section") == 3
    assert page.count("<figure id=") == 3 and 'id="figure-patchify-2"' in page
    show(["embed"], out=tmp_path / "a" / "b")  # of others, files stay; the page is about what was run
    assert (tmp_path / "a" / "b" / "table.json").exists()
    assert "1 ideas" not in (tmp_path / "a" / "b" / "ideas.html").read_text()


def test_page_through_the_command(tmp_path, few):
    answer = call("show", "--out", tmp_path)
    assert answer.code == 0 and f"{tmp_path}/ideas.html" in answer.out
    page = (tmp_path / "ideas.html").read_text()
    assert "3 ideas: 2 confirmed, 1 not run." in page and "Not run: " in page


def test_odd_figures_and_letters(broken, tmp_path):
    answer = call("show", "odd", "embed", "--out", tmp_path, "--json")
    assert answer.code == 0
    (odd, _) = json.loads(answer.out, parse_constant=lambda name: pytest.fail(name))["ideas"]
    assert odd["verdict"] == "refuted" and odd["figures"]["size"] is None and odd["checks"][0]["value"] is None
    page = (tmp_path / "ideas.html").read_text()
    assert (
        "&lt;i&gt;not&lt;/i&gt;" in page
        and "&lt;&amp;&gt;" in page
        and "<script>" not in page.partition("<main>")[2].rpartition("</main>")[0]
    )
    assert call("show", "odd").code == 0


def test_one_that_cannot_run_does_not_keep_the_others(broken, tmp_path):
    answer = call("show", "embed", "missing", "table", "--data", "nowhere", "--out", tmp_path)
    assert answer.code == 66 and answer.errors == ["error: nowhere: no such file or folder"]
    verdicts = [line.split()[2] for line in answer.out.splitlines()[:3]]
    assert verdicts == ["confirmed", "not", "confirmed"]
    assert "no such file or folder" in (tmp_path / "ideas.html").read_text()
    alone = call("show", "missing", "--data", "nowhere")
    assert (alone.code, alone.out, alone.errors) == (66, "", ["error: nowhere: no such file or folder"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["set"], 2, ["'set'", "Did you mean sets?"]),
        (["sets", "cots"], 2, ["'cots'"]),
        (["sets", "cost"], 2, ["patchwords show cost MODEL"]),
        (["--seed", "-1"], 2, ["--seed", "4294967295"]),
        (["--seed", "x"], 2, ["--seed"]),
        (["--quick", "--full"], 2, ["--full"]),
        (["--model.dim=3"], 2, ["--model.dim"]),
    ],
)
def test_faults_in_one_line(arguments, code, words):
    assert_one_line(call("show", *arguments), code, *words)


def test_a_folder_that_cannot_be_written_is_said_first(tmp_path):
    (tmp_path / "file").write_text("")
    answer = call("show", "embed", "--out", tmp_path / "file")
    assert_one_line(answer, 73, str(tmp_path / "file"))
    assert answer.out == ""


def test_cost_is_handed_over():
    answer = call("show", "cost", "vit_tiny_patch4_32")
    assert answer.code == 0 and "5,362,762" in answer.out
    assert "MODEL" in call("show", "cost", "--help").out


def test_ideas_are_listed():
    answer = call("ideas")
    assert answer.code == 0
    heads = [line.split()[:3] for line in answer.out.splitlines() if re.match(r"S-\d\d ", line)]
    assert [head[0] for head in heads] == [f"S-{n:02d}" for n in range(1, 29)]
    assert [head[1] for head in heads] == list(ideas.IDEAS) and {head[2] for head in heads} == {"exact", "trained"}
    assert max(map(len, answer.out.splitlines())) <= 110
    told = json.loads(call("ideas", "--json").out)["ideas"]
    assert [each["name"] for each in told][:28] == list(ideas.IDEAS)


def test_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean early-far"):
        ideas.load_idea("early_far")


def test_key_figure_is_the_first_not_met():
    checks = (Check("a", 2000.0, "<", 2500.0), Check("b", 0.00123, ">", 1.0), Check("c", 1, "<", 0))
    assert key_figure(Result("refuted", "", checks)) == "b: 0.00123 (> 1)"
    assert key_figure(Result("confirmed", "", checks[:1])) == "a: 2,000 (< 2,500)"
    assert key_figure(Result("confirmed", "", ())) == ""
    assert plain_number(math.nan) == "nan" and plain_number(math.inf) == "inf"


def test_finite_leaves_numbers_and_names():
    assert finite({"a": [1, 2.5, math.inf, "nan", None, True], 3: (math.nan,)}) == {
        "a": [1, 2.5, None, "nan", None, True], "3": [None],
    }  # fmt: skip
    idea = Idea("x", "S-99", "", "", "", True, lambda effort: None)
    assert Shown(idea, None, why="later").as_dict()["why"] == "later"


def test_grids_and_plots_are_drawn_from_data(broken, monkeypatch, tmp_path):
    import numpy as np

    plots = (Grid("G", ("a",), (np.eye(3),)), Plot("P", "x", "y", (Series("s", (1.0,), (1.0,)),)))
    module = types.ModuleType("patchwords.ideas.odd")
    run = lambda effort: Result("confirmed", "So.", (Check("x", 1, "<", 2),), {}, plots)  # noqa: E731
    module.IDEA = Idea("odd", "S-99", "So.", "Look.", "none", False, run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (shown,) = show(["odd"], out=tmp_path)
    assert [image.drawing.name for image in shown.images] == ["odd", "odd-2"]
    assert (tmp_path / "odd.png").read_bytes() == shown.images[0].png
