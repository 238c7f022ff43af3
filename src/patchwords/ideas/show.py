"""The ideas run one after another: what came out, how long it took, and the files and the page of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import figures, files
from ..errors import PatchwordsError
from ..figures.plot import Grid, Plot
from ..report.finding import Drawing
from ..report.survey import Image, drawn
from . import load_idea, names
from .idea import Effort, Idea, Result
from .page import page

WIDTH_IN = 7.0
"""of a figure's files"""
NOT_RUN = "something is trained: --quick takes minutes, --full is the real thing"


@dataclass(frozen=True)
class Shown:
    """An idea and what came out of it."""

    idea: Idea
    result: Result | None
    """None: not run"""
    seconds: float = 0.0
    why: str = ""
    """why it was not run"""
    fault: PatchwordsError | None = None
    """what kept it from being run, where it was asked for"""
    images: tuple[Image, ...] = ()
    """its plots, where files are written"""
    form: str = ""
    """exact: nothing is trained; quick or full: how much was"""
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the plots, for JSON; what is no finite number is null."""
        told = {
            name: getattr(self.idea, name) for name in ("name", "number", "claim", "experiment", "paper", "trained")
        }
        if self.result is None:
            return told | {"verdict": "not run", "why": self.why}
        run = {"form": self.form, "seed": self.seed, "seconds": round(self.seconds, 3)}
        return told | run | finite(self.result.as_dict())

    @property
    def verdict(self) -> str:
        """The verdict, or "not run"."""
        return self.result.verdict if self.result else "not run"


def show(
    wanted: Sequence[str] = (),
    effort: Effort | None = None,
    out: str | Path | None = None,
    *,
    trained: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[Shown, ...]:
    """Run ideas, in their order or in that of `wanted`, and return what came out.

    Args:
        wanted: names; without any all exact ideas are run, and the trained ones where `trained` is set.
        effort: None: seed 0 and the short form of trained ideas.
        out: folder to write, made when missing: ideas.html, and NAME.json, .png and .svg of each (of a second plot
            NAME-2); files of other ideas stay.
        progress: is told what is being done.

    Raises:
        ConfigError: a name that is not an idea's; names the nearest. WriteError: `out` cannot be written.
        PatchwordsError: the only idea asked for could not be run; of several, `Shown.fault` says which.
    """
    effort = replace(effort or Effort(), progress=progress)
    chosen = [load_idea(name) for name in dict.fromkeys(wanted)] or [load_idea(name) for name in names()]
    if out is not None:
        figures.new_figure()  # matplotlib must be there, and the folder: said before minutes of work
        with files.faults_named(out, "write"):
            Path(out).mkdir(parents=True, exist_ok=True)
    shown = []
    for number, idea in enumerate(chosen, start=1):
        if idea.trained and not (wanted or trained):
            shown.append(Shown(idea, None, why=NOT_RUN))
            continue
        progress(f"idea {number}/{len(chosen)}  {idea.name}")
        shown.append(_run(idea, effort, alone=len(chosen) == 1))
        if out is not None:
            shown[-1] = _write(Path(out), shown[-1])
    if out is not None:
        files.write_atomic(Path(out) / "ideas.html", page(shown))
    return tuple(shown)


def _run(idea: Idea, effort: Effort, alone: bool) -> Shown:
    start = time.monotonic()
    try:
        result = idea.run(effort)
    except PatchwordsError as fault:
        if alone or fault.exit_code == 75:  # stopped by a signal: nothing more is wanted
            raise
        return Shown(idea, None, why=fault.line(), fault=fault)
    form = "exact" if not idea.trained else "full" if effort.full else "quick"
    return Shown(idea, result, time.monotonic() - start, form=form, seed=effort.seed)


def _write(out: Path, shown: Shown) -> Shown:
    """Write numbers and figures of one idea and return it with its figures."""
    files.write_json(out / f"{shown.idea.name}.json", shown.as_dict())
    images = []
    for number, plot in enumerate(shown.result.plots if shown.result else (), start=1):
        name = shown.idea.name + (f"-{number}" if number > 1 else "")
        images.append(drawn(Drawing(name, plot.title, _drawing(plot), WIDTH_IN)))
        files.write_atomic(out / f"{name}.png", images[-1].png)
        files.write_atomic(out / f"{name}.svg", images[-1].svg)
    return replace(shown, images=tuple(images))


def _drawing(plot: Plot | Grid) -> Callable[[Any], None]:
    draw = figures.draw_plot if isinstance(plot, Plot) else figures.draw_grid
    return lambda figure: draw(plot, figure)


def finite(value: Any) -> Any:
    """Return `value`, of dicts, lists and numbers, with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def key_figure(result: Result) -> str:
    """Return the check that says most, in words: the first that is not met, or the first."""
    check = next((each for each in result.checks if not each.met), result.checks[0] if result.checks else None)
    return (
        f"{check.name}: {plain_number(check.value)} ({check.relation} {plain_number(check.threshold)})" if check else ""
    )


def plain_number(value: float) -> str:
    """Return a number to four figures, counts in full."""
    whole = 1e3 <= abs(value) < 1e15 and value == round(value)
    return f"{value:,.0f}" if whole else f"{value:.4g}"
