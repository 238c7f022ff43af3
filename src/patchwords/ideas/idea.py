"""An idea of the Vision Transformer: what is claimed, the experiment, its figures, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..figures.plot import Grid, Plot

VERDICTS = ("confirmed", "refuted", "qualified")


@dataclass(frozen=True)
class Effort:
    """How much is done, and where it begins."""

    full: bool = False
    """the real thing with several seeds, up to an hour; otherwise minutes, and seconds for the exact ideas"""
    seed: int = 0
    """all random numbers of an experiment are a function of it"""
    data: str = ""
    """pictures for the ideas that need real ones, as `patchwords train` takes them; empty: cifar10"""
    progress: Callable[[str], None] = lambda line: None
    """is told a line now and then in long work"""


@dataclass(frozen=True)
class Check:
    """A figure and the threshold that it has to meet."""

    name: str
    """what was measured, with its unit"""
    value: float
    relation: str
    """<, <=, ==, >=, >"""
    threshold: float

    @property
    def met(self) -> bool:
        """Whether the figure meets the threshold; a figure that is no number never does."""
        value, threshold = self.value, self.threshold
        return {
            "<": value < threshold,
            "<=": value <= threshold,
            "==": value == threshold,
            ">=": value >= threshold,
            ">": value > threshold,
        }[self.relation]

    def as_dict(self) -> dict[str, object]:
        """Return the check as JSON has it."""
        told = {"name": self.name, "value": self.value, "relation": self.relation, "threshold": self.threshold}
        return told | {"met": self.met}


@dataclass(frozen=True)
class Result:
    """What came out of an experiment."""

    verdict: str
    """confirmed: the claim holds as it is said; qualified: it holds within bounds that `reason` states; refuted: not"""
    reason: str
    """one or two sentences"""
    checks: tuple[Check, ...]
    figures: dict[str, float | int | str] = field(default_factory=dict)
    """other numbers worth printing, with their units in the names"""
    plots: tuple[Plot | Grid, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.verdict!r} is not one of {VERDICTS}")

    def as_dict(self) -> dict[str, object]:
        """Return verdict, reason, checks and figures as JSON has them."""
        checks = [check.as_dict() for check in self.checks]
        return {"verdict": self.verdict, "reason": self.reason, "checks": checks, "figures": self.figures}


@dataclass(frozen=True)
class Idea:
    """One step of the argument."""

    name: str
    """as `patchwords show NAME` takes it"""
    number: str
    """of the table in docs/ideas.md, S-01 to S-28"""
    claim: str
    """one sentence"""
    experiment: str
    """one sentence"""
    paper: str
    """section, equation or figure of 2010.11929, or another paper's number"""
    trained: bool
    """whether something is trained; the others are exact, and done in seconds"""
    run: Callable[[Effort], Result]


def verdict_of(checks: tuple[Check, ...], otherwise: str = "refuted") -> str:
    """Return "confirmed" when every check is met, `otherwise` when one is not."""
    return "confirmed" if all(check.met for check in checks) else otherwise
