"""Every error a user can cause: one line, what is allowed, what to do next, and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PatchwordsError(Exception):
    """A fault the user can mend; printed as one line, never as a traceback.

    Args:
        what: what is wrong, with the value given.
        where: the file or the setting it is wrong in ("" when there is none).
        fix: what is allowed, or what to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(self.line())

    def line(self) -> str:
        """Return the fault as one printable line: `where: what. fix`."""
        text = f"{printable(self.where)}: {self.what}" if self.where else self.what
        if self.fix:
            text = f"{text.rstrip('.')}. {self.fix}"
        return printable(text)

    def as_dict(self) -> dict[str, str | int]:
        """Return the same fields for `--json`."""
        return {
            "error": type(self).__name__,
            "what": printable(self.what),
            "where": printable(self.where),
            "fix": printable(self.fix),
            "exit_code": self.exit_code,
        }


class ConfigError(PatchwordsError):
    """A setting that is unknown, of the wrong type, or impossible in this combination."""

    exit_code = 2


class CheckError(PatchwordsError):
    """A check that was asked for was not met (parity, gate)."""

    exit_code = 3


class DataError(PatchwordsError):
    """A data set whose content cannot be used."""

    exit_code = 65


class CheckpointError(PatchwordsError):
    """A model or training state that is damaged, incomplete or foreign."""

    exit_code = 65


class NonFiniteError(PatchwordsError):
    """A loss or gradient that is not a finite number; the step was not applied."""

    exit_code = 65


class MissingError(PatchwordsError):
    """An input that does not exist."""

    exit_code = 66


class WriteError(PatchwordsError):
    """An output that cannot be written (disk full, not a folder)."""

    exit_code = 73


class ReadError(PatchwordsError):
    """An input that exists and fails while being read."""

    exit_code = 74


class Stopped(PatchwordsError):
    """Stopped by a signal with everything saved: the same command goes on."""

    exit_code = 75


class PermissionFault(PatchwordsError):
    """A file that may not be read or written by this user."""

    exit_code = 77


def printable(text: str) -> str:
    """Return `text` on one line: control characters and undecodable bytes are escaped."""
    escaped = []
    for character in text:
        if character.isprintable():
            escaped.append(character)
        elif "\udc80" <= character <= "\udcff":  # a byte that was not UTF-8 (surrogateescape)
            escaped.append(f"\\x{ord(character) - 0xDC00:02x}")
        else:
            escaped.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(escaped)


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return "Did you mean ...? " with the allowed name nearest to a misspelt one, "" when none is near."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"Did you mean {close[0]}? " if close else ""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a hint for a misspelt `name`: the nearest allowed name, then all of them."""
    names = sorted(allowed)
    return f"{suggestion(name, names)}Allowed: {', '.join(names)}"
