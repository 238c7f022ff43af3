"""Why a request is not answered: a status, and a fault in one line."""

from __future__ import annotations

from ..errors import ConfigError, DataError, MissingError, PatchwordsError, PermissionFault
from .plain import json_bytes


class Refused(PatchwordsError):
    """A request that is not answered.

    Args:
        status: of HTTP, 400 to 503.
        what, where, fix: as for every fault.
    """

    def __init__(self, status: int, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


def status_of(fault: PatchwordsError) -> int:
    """Return the status of HTTP for `fault`."""
    if isinstance(fault, Refused):
        return fault.status
    if isinstance(fault, DataError):
        if "limit" in fault.what or "too many" in fault.what:
            return 413
        return 415 if "of a format that is read" in fault.what else 422
    known = {ConfigError: 400, MissingError: 404, PermissionFault: 403}
    return next((status for kind, status in known.items() if isinstance(fault, kind)), 422)


def fault_json(fault: PatchwordsError) -> bytes:
    """Return `fault` for the page."""
    return json_bytes(told(fault))


def told(fault: PatchwordsError, where: str | None = None) -> dict[str, str | int]:
    """Return the fields of `fault`, with another `where` when given."""
    fields = fault.as_dict()
    del fields["exit_code"]
    return fields if where is None else fields | {"where": where}
