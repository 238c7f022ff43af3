"""What is wrong with a data set, before training: every finding by name, and what will be done about it."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..config import DataConfig
from ..decode import Traits, traits
from ..errors import DataError, printable
from .manifest import Finding, make_manifest, scan
from .sources import Progress, Source

TINY_CLASS = 10
"""training pictures; a class with fewer is reported"""
SMALL_SIDE, LARGE_SIDE, LONG_RATIO = 16, 8192, 8.0
"""pixels, pixels, and longer side over shorter side, beyond which a size is reported"""
_SHOWN = 10
"""findings of one kind that `lines` prints; `as_dict` has them all"""

ACTIONS = {
    "unusable": "left out; training stops instead with --data.strict, or beyond data.max_rejected",
    "leaking": "kept where they are when the splits are given, so measurements look better than they are; "
    "splits that are made never do this",
    "conflicting": "kept under each label; remove the wrong ones",
    "duplicate": "kept; they count once for each copy",
    "case_twins": "kept as classes of their own; rename one if they are meant to be the same",
    "tiny_classes": "used; expect poor accuracy, and leave them out or add pictures",
    "missing_classes": "not measured on that split",
    "odd": "used, by the rule of the decoder",
}
"""kind of finding -> what will be done"""

_ODD = {
    "cmyk": "converted to RGB as (255 - C)(255 - K) / 255, without its ICC profile",
    "16-bit": "the high byte of each value is used",
    "floating point": "0..1 is scaled to 0..255",
    "alpha": "laid over white",
    "palette": "replaced by the colours of its palette",
    "1-bit": "0 and 255",
    "animated": "the first frame is used",
    "turned": "turned upright as its EXIF orientation says",
    "very small": "enlarged",
    "very large": "reduced; decoding it takes long",
    "very long": "only its middle is seen when data.resize is crop",
    "other format": "read by its content; its name says another format",
}
"""odd property of a picture -> what is done with it"""


@dataclass(frozen=True)
class AuditReport:
    """What was found in a data set. Paths are from the root of the source."""

    source: str
    kind: str
    listed: int
    """used + unusable"""
    used: int
    classes: dict[str, dict[str, int]]
    """split ("" where none is given) -> class -> pictures that can be used"""
    unusable: list[tuple[str, str]]
    """(path, reason)"""
    ignored: dict[str, int]
    """kind of file that is passed over -> how many"""
    leaking: list[list[str]]
    """pictures of the same content in different given splits"""
    conflicting: list[list[str]]
    """pictures of the same content under different labels"""
    duplicate: list[list[str]]
    """pictures of the same content, same label and same split"""
    case_twins: list[list[str]]
    """classes that differ only in capital letters, or in how accents are encoded"""
    tiny_classes: dict[str, int]
    """class -> training pictures"""
    missing_classes: dict[str, list[str]]
    """split -> classes of train that it lacks"""
    odd: dict[str, list[str]]
    """property -> paths"""
    stops: str
    """why training cannot start with this data; "" where it can"""

    @property
    def clean(self) -> bool:
        """Whether nothing at all was found that a person should look at."""
        kinds = (self.unusable, self.leaking, self.conflicting, self.duplicate, self.case_twins, self.tiny_classes)
        return not (any(kinds) or self.missing_classes or self.stops)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, with what will be done, for `--json`; names that are not UTF-8 have escapes."""
        return {**asdict(self), "clean": self.clean, "actions": ACTIONS, "odd_actions": _ODD}

    def lines(self) -> list[str]:
        """Return the report as printable lines."""
        total = {split: sum(counts.values()) for split, counts in self.classes.items()}
        names = {name for counts in self.classes.values() for name in counts}
        shares = ", ".join(f"{split or 'no split'} {count}" for split, count in total.items())
        lines = [
            f"{self.source} ({self.kind}): {self.listed} pictures listed = {self.used} used + {len(self.unusable)} not",
            f"{len(names)} classes; {shares or 'nothing to use'}",
        ]
        if self.ignored:
            passed = ", ".join(f"{count} {kind}" for kind, count in sorted(self.ignored.items()))
            lines.append(f"not looked at, by their names: {passed}")
        lines += _section("cannot be used", "unusable", [f"{path}: {reason}" for path, reason in self.unusable])
        lines += _section("same picture in different splits", "leaking", map(" = ".join, self.leaking))
        lines += _section("same picture under different labels", "conflicting", map(" = ".join, self.conflicting))
        lines += _section("same picture more than once", "duplicate", map(" = ".join, self.duplicate))
        lines += _section("classes that look alike", "case_twins", map(" / ".join, self.case_twins))
        tiny = [f"{name}: {count}" for name, count in self.tiny_classes.items()]
        lines += _section(f"classes with fewer than {TINY_CLASS} training pictures", "tiny_classes", tiny)
        missing = [f"{split} lacks {', '.join(names)}" for split, names in self.missing_classes.items()]
        lines += _section("classes without pictures in a split", "missing_classes", missing)
        for kind, paths in self.odd.items():
            lines += _section(f"odd: {kind}", "odd", paths, _ODD[kind])
        lines.append(f"training cannot start: {self.stops}" if self.stops else "training can start")
        return [printable(line) for line in lines]


def _section(title: str, kind: str, items: Iterable[str], action: str = "") -> list[str]:
    found = list(items)
    if not found:
        return []
    lines = [f"{title}: {len(found)} ({action or ACTIONS[kind]})", *(f"  {item}" for item in found[:_SHOWN])]
    return lines + ([f"  ... and {len(found) - _SHOWN} more (--json names all)"] if len(found) > _SHOWN else [])


def audit(source: Source, config: DataConfig, progress: Progress | None = None) -> AuditReport:
    """Read and decode every picture of `source` once, and report what is wrong; raises nothing about the data."""
    seen: dict[int, Traits] = {}

    def look_closer(number: int, data: bytes) -> None:
        seen[number] = traits(data)

    findings, _ = scan(source, config.workers, inspect=look_closer, progress=progress)
    try:
        make_manifest(source, config, findings=findings)
        stops = ""
    except DataError as error:
        stops = error.line()
    pairs = list(zip(source.entries, findings, strict=True))
    used = [number for number, (_, found) in enumerate(pairs) if not found.fault]
    unusable = [(entry.path, found.fault) for entry, found in pairs if found.fault] + source.refused
    classes = _classes(source, used)
    training = classes.get("train") or classes.get("") or {}
    same = _same_content(source, findings, used)
    return AuditReport(
        source=source.name,
        kind=source.kind,
        listed=len(pairs) + len(source.refused),
        used=len(used),
        classes=classes,
        unusable=sorted(unusable, key=lambda pair: os.fsencode(pair[0])),
        ignored=dict(source.ignored),
        **same,
        case_twins=_case_twins(name for counts in classes.values() for name in counts),
        tiny_classes={name: count for name, count in training.items() if count < TINY_CLASS},
        missing_classes={
            split: lacking
            for split, counts in classes.items()
            if "train" in classes and (lacking := [name for name in training if name not in counts])
        },
        odd=_odd(source, {number: seen[number] for number in used}),
        stops=stops,
    )


def _classes(source: Source, used: list[int]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for number in used:
        counts[source.entries[number].split][source.entries[number].label] += 1
    order = ("train", "val", "test", "")
    return {
        split: dict(sorted(counts[split].items(), key=lambda pair: os.fsencode(pair[0])))
        for split in order
        if split in counts
    }


def _same_content(source: Source, findings: list[Finding], used: list[int]) -> dict[str, list[list[str]]]:
    """Return groups of paths with the same bytes; a group is in the first of the three kinds that fits."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number in used:
        groups[findings[number].sha256].append(number)
    same: dict[str, list[list[str]]] = {"leaking": [], "conflicting": [], "duplicate": []}
    for group in groups.values():
        if len(group) > 1:
            entries = [source.entries[number] for number in group]
            leaking = len({entry.split for entry in entries}) > 1
            conflicting = len({entry.label for entry in entries}) > 1
            paths = [entry.path for entry in entries]
            if leaking:
                same["leaking"].append(paths)
            if conflicting:
                same["conflicting"].append(paths)
            if not (leaking or conflicting):
                same["duplicate"].append(paths)
    return same


def _case_twins(names: Iterable[str]) -> list[list[str]]:
    twins: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        twins[unicodedata.normalize("NFC", name).casefold()].add(name)
    return [sorted(group, key=os.fsencode) for _, group in sorted(twins.items()) if len(group) > 1]


def _odd(source: Source, seen: dict[int, Traits]) -> dict[str, list[str]]:
    odd: defaultdict[str, list[str]] = defaultdict(list)
    for number, found in seen.items():
        path = source.entries[number].path
        short, long = sorted((found.rows, found.columns))
        kinds = list(found.odd)
        kinds += ["very small"] * (short < SMALL_SIDE and source.kind != "digits")
        kinds += ["very large"] * (long > LARGE_SIDE)
        kinds += ["very long"] * (long > LONG_RATIO * short)
        kinds += ["other format"] * (not found.fits(path))
        for kind in kinds:
            odd[kind].append(path)
    return {kind: odd[kind] for kind in _ODD if kind in odd}
