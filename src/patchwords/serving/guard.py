"""What stands before the page: who may ask, the headers that every answer has, and no traceback ever.

A page of another site can send requests to this machine, and by DNS rebinding under its own name. So a request must
name this server as its Host; one that changes anything must come from this page or from no page at all, and so must
every one for data (browsers say so in Sec-Fetch-Site).
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Any

from ..errors import PatchwordsError
from .refusal import Abandoned, Refused, fault_json, status_of

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""of every answer"""
_READING = ("GET", "HEAD")
_EVERYWHERE = ("0.0.0.0", "::")


class Hosts:
    """The names under which this server may be asked.

    Args:
        host: where it listens. Everywhere: any address may be asked for, since only a name can be rebound.
        port: where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._port, self._everywhere = port, host in _EVERYWHERE
        names = {"127.0.0.1", "localhost", f"[{host}]" if ":" in host else host.lower()}
        self._names = {f"{name}:{port}" for name in names} | (names if port == 80 else set())

    def know(self, host: str) -> bool:
        """Say whether a Host header names this server."""
        if host.lower() in self._names:
            return True
        address, _, port = host.rpartition(":")
        if not self._everywhere or port != str(self._port):
            return False
        try:
            return bool(ipaddress.ip_address(address.strip("[]")))
        except ValueError:
            return False


class Guard:
    """ASGI middleware: refuses strangers, adds the headers, and answers for what went wrong."""

    def __init__(self, app: Any, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        fresh = b"no-store" if scope["path"].startswith("/api/") else b"no-cache"

        async def with_headers(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = message | {"headers": [*message["headers"], *HEADERS, (b"cache-control", fresh)]}
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, with_headers)
        except PatchwordsError as fault:
            if not started:
                await send_fault(fault, with_headers)
        except Abandoned:
            if not started:  # to nobody; the connection is closed
                await send_fault(Refused(503, "the question was given up", fix="Ask again"), with_headers)
        except Exception:
            logging.getLogger("patchwords.serving").exception("a fault of the live page itself")
            if started:
                raise
            what = "the live page failed to answer this"
            fix = "The reason is in the terminal where it was started"
            await send_fault(Refused(500, what, fix=fix), with_headers)

    def _check(self, scope: Any) -> None:
        """Raise Refused unless the request is one that this server's own page, or no page, may send."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._hosts.know(headers.get(b"host", "")):
            raise Refused(403, "this is not the address of this server", where="Host", fix="Use the address it printed")
        reading = scope["method"] in _READING
        origin = headers.get(b"origin")
        if not reading and origin is not None and not self._own(origin):
            raise Refused(403, "other pages may not send anything here", where="Origin")
        if scope["path"] != "/" and headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "other pages may not ask for anything here", where="Sec-Fetch-Site")
        if reading and (headers.get(b"content-length", "0") != "0" or b"transfer-encoding" in headers):
            raise Refused(400, f"{scope['method']} has no body", where="Content-Length", fix="Leave the body out")

    def _own(self, origin: str) -> bool:
        scheme, _, host = origin.partition("://")
        return scheme == "http" and self._hosts.know(host)


async def send_fault(fault: PatchwordsError, send: Any, headers: Any = ()) -> None:
    """Send `fault` as JSON; the connection is closed, since a body may still be on its way."""
    body = fault_json(fault)
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": status_of(fault)}
    closing = [(b"connection", b"close")] if status_of(fault) in (400, 403, 408, 413) else []
    await send(start | {"headers": [*told, *closing, *headers]})
    await send({"type": "http.response.body", "body": body})
