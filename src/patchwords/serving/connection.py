"""One connection of a browser: closed when it is slow to ask or slow to take its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .guard import HEADERS
from .limits import Limits
from .refusal import Refused, fault_json


class Connection(H11Protocol):
    """HTTP/1.1 with a time limit for headers and for each piece of an answer, and a bound on open connections."""

    limits: Limits

    def connection_made(self, transport: Any) -> None:
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._since = self.loop.time()
        super().connection_made(transport)
        there = [other for other in self.connections if not other.transport.is_closing()]
        if len(there) > self.limits.connections:
            idle = [other for other in there if not other._busy()]  # the new one at least
            min(idle, key=lambda other: other._since).transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self._taking or self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._taking:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        fault = Refused(400, "this is not a request of HTTP", fix="Use a browser")
        body = fault_json(fault)
        told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers = [*told, (b"connection", b"close"), *HEADERS]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Start the clock when something is to be said by the client, stop it when it has been."""
        if self._busy():
            self._forget()
        elif self._asking is None:
            self._asking = self.loop.call_later(self.limits.header_seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._asking:
            self._asking.cancel()
            self._asking = None


def connection_class(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn, with the waiting times of `limits`."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
