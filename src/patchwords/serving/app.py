"""The live page as a Starlette application: addresses, and what is answered under each."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..checkpoint import LoadedModel
from ..errors import PatchwordsError, nearest
from .answers import answer
from .desk import Desk
from .guard import Guard, Hosts, send_fault
from .limits import Limits
from .packed import Answer, npz, pack
from .pictures import Pictures, Source
from .plain import json_bytes
from .png import png
from .questions import PARAMETERS, read_question
from .refusal import Abandoned, Refused
from .subject import Subject

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""ending of a static file -> its type; files of no such ending are not served"""
_PIECE = 1 << 18
"""bytes of an answer sent at a time, so that one that is not taken does not fill memory"""
_ICON = "icon.svg"


def build_app(
    models: Sequence[tuple[str, LoadedModel]],
    pictures: Iterable[str | Path | Source] = (),
    limits: Limits | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 80,
) -> Starlette:
    """Return the application.

    Args:
        models: name and model, in the order of the page.
        pictures: files, folders or archives to begin with, or pictures as `data.evaluation.find_pictures` yields them;
            one that cannot be used is listed with its fault.
        host, port: where it will be reached; requests that name another are refused.
    """
    page = _Page(models, pictures, limits or Limits())
    routes = [
        Route("/", page.index),
        Route("/favicon.ico", page.icon),
        Route("/static/{name:path}", page.static),
        Route("/api/state", page.state),
        Route("/api/pictures", page.upload, methods=["POST"]),
        Route("/api/pictures/{picture}/image", page.image),
        Route("/api/predict", page.predict),
        Route("/api/download.npz", page.download),
        *(Route(f"/api/{what}", page.question(what)) for what in PARAMETERS if what != "predict"),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=Hosts(host, port))],
        exception_handlers={HTTPException: _not_found, PatchwordsError: _fault},
        lifespan=page.lifespan,
    )
    app.router.redirect_slashes = False
    app.state.page = page
    return app


class _Page:
    """Models, pictures and answers, and an endpoint for each address."""

    def __init__(
        self, models: Sequence[tuple[str, LoadedModel]], given: Iterable[str | Path | Source], limits: Limits
    ) -> None:
        threads = {id(loaded.model): ThreadPoolExecutor(1, "model") for _, loaded in models}
        self._subjects = {
            str(number): Subject(number, name, loaded, threads[id(loaded.model)])
            for number, (name, loaded) in enumerate(models)
        }
        self._limits, self._desk, self._files = limits, Desk(limits), _static_files()
        self._pictures = Pictures((subject.preprocess for subject in self._subjects.values()), given, limits)
        self._decoder = ThreadPoolExecutor(1, "decoder")  # one large picture in memory at a time
        self._uploads = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Run, then give up what is being computed and wait for the threads."""
        yield
        self.give_up()
        for subject in self._subjects.values():
            subject.close()
        self._decoder.shutdown(wait=True, cancel_futures=True)

    def give_up(self) -> None:
        """Stop computing, at the next layer; every question is answered with that."""
        self._desk.close()

    # What does not need a model ------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """The page."""
        return self._file("index.html")

    async def icon(self, request: Request) -> Response:
        """The icon that browsers ask for by themselves."""
        return self._file(_ICON) if _ICON in self._files else Response(status_code=204)

    async def static(self, request: Request) -> Response:
        """One of the files that were there at the start; the name is looked up, never opened."""
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self._files:
            raise Refused(404, "there is no such file")
        content, kind = self._files[name]
        return Response(content, headers={"content-type": kind})

    async def state(self, request: Request) -> Response:
        """Models, pictures and limits."""
        models = [subject.describe() for subject in self._subjects.values()]
        limits = {"bytes": self._limits.body_bytes, "pixels": self._limits.pixels}
        return _json({"models": models, "pictures": self._pictures.listing(), "limits": limits})

    async def upload(self, request: Request) -> Response:
        """Take a picture."""
        if self._uploads >= self._limits.uploads:
            raise Refused(429, "too many pictures are being sent", fix="Send it again in a moment")
        self._uploads += 1
        try:
            data = await self._body(request)
            name = unquote(request.headers.get("x-name", ""), errors="replace") or "picture"
            picture = await self._decoding(lambda: self._pictures.add(data, name))
        finally:
            self._uploads -= 1
        return _json({"id": picture.id, "name": picture.name}, status=201)

    async def _body(self, request: Request) -> bytes:
        """Return the body; what is too long is read on for a while, so that the client sees the answer."""
        most, limits = self._limits.body_bytes, self._limits
        too_large = Refused(413, f"more than the limit of {most:,} bytes", where="picture", fix="Make it smaller")
        stated = request.headers.get("content-length", "0")
        if not (stated.isascii() and stated.isdigit() and len(stated) < 16 and int(stated) <= 4 * most):
            raise too_large
        body, length, pieces = bytearray(), 0, request.stream()
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    async with asyncio.timeout(limits.pause_seconds):
                        piece = await anext(pieces, None)
                    if piece is None:
                        break
                    length += len(piece)
                    if length > 4 * most:
                        raise too_large
                    body += piece if length <= most else b""
        except TimeoutError:
            raise Refused(408, "the picture did not arrive in time", where="picture", fix="Send it again") from None
        except ClientDisconnect:
            raise Abandoned from None
        if length > most:
            raise too_large
        return bytes(body)

    async def image(self, request: Request) -> Response:
        """The pixels that a model sees."""
        subject = self._subject(request.query_params)
        pixels = self._pictures.pixels(request.path_params["picture"], subject.preprocess)
        content = await self._decoding(lambda: png(pixels.numpy()))
        return Response(content, headers={"content-type": "image/png"})

    async def _decoding(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._decoder, work)

    # Questions to a model -------------------------------------------------------------------------

    async def predict(self, request: Request) -> Response:
        """The most probable classes."""
        return _json((await self._answer(request, "predict", dict(request.query_params))).meta)

    def question(self, what: str) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a question that is answered with packed arrays."""

        async def endpoint(request: Request) -> Response:
            return _Pieces(pack(await self._answer(request, what, dict(request.query_params))))

        return endpoint

    async def download(self, request: Request) -> Response:
        """The arrays of a question as .npz."""
        given = dict(request.query_params)
        what = given.pop("what", "")
        allowed = [name for name in PARAMETERS if name != "predict"]
        if what not in allowed:
            raise Refused(400, f"{what[:40]!r} is no question", where="what", fix=nearest(what[:40], allowed))
        found = await self._answer(request, what, given)
        content = await self._decoding(lambda: npz(found))
        return _Pieces([memoryview(content)], f'attachment; filename="patchwords-{what}.npz"')

    async def _answer(self, request: Request, what: str, given: dict[str, str]) -> Answer:
        subject = self._subject(given)
        picture = given.get("picture", "")
        pixels = self._pictures.pixels(picture, subject.preprocess)
        options = {name: text for name, text in given.items() if name not in ("model", "picture")}
        question = read_question(what, options, subject)
        limit = self._limits.answer_bytes
        return await self._desk.ask(
            (subject.id, picture, question),
            subject,
            lambda: answer(subject, picture, pixels, question, limit),
            lambda: _gone(request),
        )

    def _subject(self, given: Any) -> Subject:
        subject = self._subjects.get(given.get("model", ""))
        if subject is None:
            raise Refused(404, "there is no such model", where="model", fix=f"Allowed: {', '.join(self._subjects)}")
        return subject


class _Pieces(Response):
    """Bytes sent a piece at a time, never copied whole."""

    def __init__(self, parts: list[memoryview], disposition: str = "") -> None:
        super().__init__(headers={"content-disposition": disposition} if disposition else None)
        self._parts = parts
        self.headers["content-length"] = str(sum(len(part) for part in parts))
        self.headers["content-type"] = "application/octet-stream"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send all pieces."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for part in self._parts:
            for start in range(0, len(part), _PIECE):
                piece = bytes(part[start : start + _PIECE])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(value), status, headers={"content-type": "application/json"})


async def _gone(request: Request) -> None:
    """Come back when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Fault(Response):
    """A fault as JSON."""

    def __init__(self, fault: PatchwordsError, headers: dict[str, str]) -> None:
        super().__init__()
        self._fault, self._more = fault, [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        await send_fault(self._fault, send, self._more)


async def _fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, PatchwordsError)
    return _Fault(fault, {"retry-after": "1"} if getattr(fault, "status", 0) == 429 else {})


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "there is nothing at this address", 405: f"{request.method[:20]} is not allowed here"}
    told = Refused(error.status_code, what.get(error.status_code, error.detail))
    return _Fault(told, dict(error.headers or {}))


def _static_files() -> dict[str, tuple[bytes, str]]:
    """Return the content and type of every file of the page by its name, read once."""
    found = {}
    for entry in importlib.resources.files(__package__).joinpath("static").iterdir():
        ending = Path(entry.name).suffix
        if entry.is_file() and ending in _TYPES:
            found[entry.name] = (entry.read_bytes(), _TYPES[ending])
    return found
