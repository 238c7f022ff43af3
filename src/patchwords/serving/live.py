"""`patchwords inspect --live`: the page served to this machine until Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint import LoadedModel
from ..errors import ConfigError, PatchwordsError, printable
from ..randomness import permutation
from ..report.pictures import Candidate, named_pictures, pictures_of_run
from .limits import Limits, check_installed
from .pictures import Source

_LOCAL = ("127.0.0.1", "::1", "localhost")
SAMPLE = 12
"""of a run's own pictures, when none is named"""
_MOST_HEADERS = 1 << 14
"""bytes of the headers of a request"""


def serve(
    checkpoints: Sequence[tuple[str, LoadedModel]],
    pictures: Iterable[str | Path | Source] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = True,
    limits: Limits | None = None,
) -> int:
    """Serve the live page until Ctrl-C, and return 0; one line with its address goes to standard output.

    Args:
        checkpoints: name and model, one or two to compare.
        pictures: files, folders or archives to begin with, or what `choose_pictures` returns.
        host, port: where to listen; port 0: a free one.
        open_browser: open the page in the browser of this machine.

    Raises:
        ConfigError: starlette or uvicorn is not installed, or one cannot listen there.
    """
    check_installed()
    from .app import build_app

    limits = limits or Limits()
    with _listen(host, port) as listening:
        port = listening.getsockname()[1]
        if host not in _LOCAL:
            print(f"warning: whoever can reach {host} can use the page and see its pictures", file=sys.stderr)
        app = build_app(checkpoints, pictures, limits, host=host, port=port)
        named = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        server = _server(app, f"http://{named}:{port}/", open_browser, limits)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listening])
    return 0


def choose_pictures(checkpoint: str, named: Sequence[str], classes: Sequence[str], seed: int = 0) -> list[Candidate]:
    """Return the pictures that the page begins with: those `named`, or some of a run's own test pictures.

    Of more than the page takes, a sample is drawn, a function of `seed`; a note says so.
    """
    most = Limits().given if named else SAMPLE
    found, told = named_pictures(named, classes) if named else _own(Path(checkpoint))
    if len(found) <= most:
        return found
    if named:
        print(f"note: the page shows {most} of {printable(told)}, drawn with seed {seed}", file=sys.stderr)
    return [found[number] for number in sorted(permutation(seed, "inspect", 0, len(found))[:most].tolist())]


def _own(run: Path) -> tuple[list[Candidate], str]:
    try:
        return pictures_of_run(run)
    except PatchwordsError as fault:
        print(f"warning: {fault.line()}; the page begins without pictures", file=sys.stderr)
        return [], ""


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to `host` and `port`."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is no port", where="--port", fix="Give 0 to 65535; 0: a free one")
    if not host:
        raise ConfigError("is empty", where="--host", fix="Give 127.0.0.1 for this machine")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"{host!r} is not known", where="--host", fix="Give 127.0.0.1 for this machine") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        what = f"cannot listen at {host}, port {port} ({error.strerror or error})"
        raise ConfigError(what, where="--port", fix="Give another --port, or 0 for a free one") from None
    return listening


def _server(app: Any, address: str, open_browser: bool, limits: Limits) -> Any:
    """Return the uvicorn server; it tells its address once it answers."""
    import uvicorn

    from .connection import connection_class

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(f"The live page is at {address} until Ctrl-C", flush=True)
            if open_browser:
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        async def shutdown(self, sockets: Any = None) -> None:
            app.state.page.give_up()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=connection_class(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=_MOST_HEADERS,
    )
    return Server(config)
