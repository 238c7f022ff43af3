"""A stand-in for the Hugging Face Hub on 127.0.0.1: the requests that a download makes, and ways to fail."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def commit_of(files: dict[str, bytes]) -> str:
    """Return 40 hexadecimal digits for a version."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@dataclass
class Repository:
    """One model of the hub: {branch or tag: {path: bytes}}."""

    versions: dict[str, dict[str, bytes]]
    access: str = "open"
    """open; gated: the list is public, the files are not; private: nobody learns that it exists"""

    def version(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return (commit, files) of a branch, a tag or a commit."""
        for name, files in self.versions.items():
            if revision in (name, commit_of(files)):
                return commit_of(files), files
        return None


@dataclass
class Hub:
    """The server's state; tests change it between requests."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    token: str = "hf_good"
    cut: int = 0
    """number of downloads that break off before their end from now on"""
    broken: bool = False
    """answer everything with 503"""
    requests: list[str] = field(default_factory=list)
    """method, path and Range of everything asked"""


class Handler(BaseHTTPRequestHandler):
    """Model information, file tree, files."""

    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if self.hub.broken:
            return self._fail(503, "", "down for a while")
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/", 3)
            kind, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
            return self._api(f"{owner}/{name}", kind, revision)
        parts = path.strip("/").split("/")
        if len(parts) > 4 and parts[2] == "resolve":
            return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._fail(404, "", "no such page")

    def _allowed(self, repository: Repository | None, files: bool) -> bool:
        sent = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent and sent != self.hub.token:
            self._fail(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (repository.access == "private" and not sent):
            self._fail(404 if sent else 401, "RepoNotFound", "Repository not found")
        elif repository.access == "gated" and files and not sent:
            self._fail(401, "GatedRepo", "Access to this model is restricted")
        else:
            return True
        return False

    def _api(self, repo: str, kind: str, revision: str) -> None:
        repository = self.hub.repositories.get(repo)
        if not self._allowed(repository, files=False):
            return None
        found = repository.version(revision)
        if found is None:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit, files = found
        if kind == "tree":
            return self._json([{"type": "file", "path": p, "size": len(b), "oid": _etag(b)} for p, b in files.items()])
        siblings = [{"rfilename": path} for path in files]
        return self._json({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []})

    def _file(self, repo: str, revision: str, path: str) -> None:
        repository = self.hub.repositories.get(repo)
        if not self._allowed(repository, files=True):
            return None
        found = repository.version(revision)
        if found is None or path not in found[1]:
            return self._fail(404, "RevisionNotFound" if found is None else "EntryNotFound", "not there")
        commit, data = found[0], found[1][path]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{_etag(data)}"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self._send(data[start:])
        return None

    def _send(self, data: bytes) -> None:
        if self.hub.cut and len(data) > 1000:
            self.hub.cut -= 1
            self.wfile.write(data[: len(data) * 11 // 12])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(data)

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _fail(self, status: int, code: str, message: str) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class Stand:
    """The server; after `stop`, nobody answers at its address until `start`."""

    def __init__(self, hub: Hub) -> None:
        self._handler, self._port = type("HubHandler", (Handler,), {"hub": hub}), 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def address(self) -> str:
        """Return what HF_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer, at the same port as before."""
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
            self._port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
