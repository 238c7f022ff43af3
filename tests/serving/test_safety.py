"""What strangers, hostile names and odd requests get: one line of JSON, the same headers, and nothing else."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("starlette", reason="the live page needs the extra `serve`")

from starlette.testclient import TestClient

from patchwords.serving import Limits
from patchwords.serving.app import _static_files
from patchwords.serving.guard import Hosts

from ..inspection.tiny import tiny_vit
from .site import HOSTILE, client_of, loaded, picture

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FIXED = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(loaded(tiny_vit()), limits=Limits(body_bytes=1 << 16))


def assert_refused(answer, status: int) -> dict[str, str]:
    """Fail unless `answer` is a fault as JSON in one line; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert_guarded(answer)
    fault = answer.json()
    assert set(fault) == {"error", "what", "where", "fix"} and fault["what"]
    assert b"Traceback" not in answer.content and b"\n" not in answer.content and b"<" not in answer.content
    return fault


def assert_guarded(answer) -> None:
    for name, value in FIXED.items():
        assert answer.headers.get_list(name) == [value], name
    assert answer.headers.get_list("cache-control") in (["no-store"], ["no-cache"])
    assert not any(name.startswith("access-control-") or name == "set-cookie" for name in answer.headers)


def test_every_answer_has_the_headers(client: TestClient) -> None:
    identity = client.post("/api/pictures", content=picture()).json()["id"]
    asked = f"model=0&picture={identity}"
    found = ["/", "/static/icon.svg", "/favicon.ico", "/api/state", f"/api/predict?{asked}", f"/api/attention?{asked}"]
    for path in [*found, f"/api/pictures/{identity}/image?model=0", f"/api/download.npz?what=rollout&{asked}"]:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert_guarded(answer)
        assert answer.headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST:8000", True),
        ("127.0.0.1", False), ("127.0.0.1:8001", False), ("evil.example:8000", False), ("", False),
        ("127.0.0.1:8000.evil.example", False), ("evil.example#127.0.0.1:8000", False), ("192.168.0.7:8000", False),
        ("[::1]:8000", False), ("127.0.0.1:8000\t", False), ("user@127.0.0.1:8000", False),
    ],
)  # fmt: skip
def test_requests_name_this_server(client: TestClient, host: str, known: bool) -> None:
    for path in ("/", "/api/state", "/static/icon.svg", "/nothing"):
        answer = client.get(path, headers={"host": host})
        if known:
            assert answer.status_code == (404 if path == "/nothing" else 200)
        else:
            assert assert_refused(answer, 403)["where"] == "Host"


def test_listening_everywhere_knows_addresses_and_not_names() -> None:
    hosts = Hosts("0.0.0.0", 8000)
    assert all(map(hosts.know, ("192.168.0.7:8000", "[fe80::1]:8000", "localhost:8000", "0.0.0.0:8000")))
    assert not any(
        map(hosts.know, ("evil.example:8000", "192.168.0.7", "192.168.0.7:80", "1.2.3.4.evil:8000", ":8000"))
    )
    assert Hosts("box.lan", 80).know("box.lan") and Hosts("::1", 9).know("[::1]:9")
    assert not Hosts("192.168.0.7", 8000).know("192.168.0.8:8000")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001", ""]
)
def test_other_pages_change_nothing(origin: str) -> None:
    client = client_of(loaded(tiny_vit()))
    answer = client.post("/api/pictures", content=picture(), headers={"origin": origin})
    assert assert_refused(answer, 403)["where"] == "Origin"
    assert client.get("/api/state").json()["pictures"] == []


def test_its_own_page_may_send_pictures(client: TestClient) -> None:
    for origin in ("http://127.0.0.1:8000", "http://localhost:8000"):
        assert client.post("/api/pictures", content=picture(), headers={"origin": origin}).status_code == 201


@pytest.mark.parametrize("site", ["cross-site", "same-site", "strange"])
def test_other_pages_compute_nothing(client: TestClient, site: str) -> None:
    for path in ("/api/state", "/api/attention?model=0&picture=x", "/static/icon.svg"):
        assert_refused(client.get(path, headers={"sec-fetch-site": site}), 403)
    assert client.get("/", headers={"sec-fetch-site": site}).status_code == 200  # a link to the page
    assert client.get("/api/state", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    for path in ("/", "/api/state", "/api/attention", "/static/icon.svg", "/api/download.npz"):
        assert_refused(client.request(method, path), 405)
    if method != "POST":
        assert_refused(client.request(method, "/api/pictures"), 405)
    assert_refused(client.get("/api/pictures"), 405)


TRAVERSALS = [
    "../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2f%2e%2e%2ferrors.py", "....//app.py", "..\\app.py",
    "%5c..%5c", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "icon.svg%00.py", "icon.svg/", "%2e%2ficon.svg",
    "icon.svg%2f..%2ficon.svg", "", "%2e%2e%2f", "%2e%2f%2e", "~root",
    "file:///etc/passwd", "http://127.0.0.1/", "icon.svg?x=../..", "ICON.SVG", "__init__.py",
    "%c0%ae%c0%ae/app.py", "%252e%252e%252fapp.py", "index.html%20", "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", TRAVERSALS)
def test_only_listed_files_are_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/static/{name}")
    if name == "icon.svg?x=../..":
        assert answer.content == _static_files()["icon.svg"][0]
    else:
        assert_refused(answer, 404)


@pytest.mark.parametrize(("what", "name"), list(product(("predict", "attention", "download.npz"), TRAVERSALS[:15])))
def test_no_parameter_is_a_path(client: TestClient, what: str, name: str) -> None:
    assert_refused(client.get(f"/api/{what}?what=rollout&model=0&picture={name}"), 404)
    assert_refused(client.get(f"/api/{what}?what=rollout&picture=x&model={name}"), 404)
    assert_refused(client.get(f"/api/pictures/{quote(name, safe='')}/image?model=0"), 404)


def test_static_files_have_their_type_and_nothing_else_is_there(client: TestClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for name in _static_files():
        answer = client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(types[Path(name).suffix])
    page = client.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=|https?://", page)


BAD = [
    ("attention", {"layers": text})
    for text in ("0-1", "1-3", "2-1", "-1", "1-", "a", "1-2-3", "1e0", "٢", " 1", "9" * 5000)
] + [
    ("predict", {"top": "0"}), ("predict", {"top": "-1"}), ("predict", {"top": "nan"}), ("predict", {"layers": "1"}),
    ("rollout", {"fusion": "sum"}), ("rollout", {"__class__": "x"}), ("attribution", {"method": "<img src=x>"}),
    ("attribution", {"target": "5"}), ("attribution", {"target": "-1"}), ("attribution", {"curves": "2"}),
    ("patches", {"target": "1.0"}), ("receptive", {"x": "y\n"}), ("download.npz", {}),
    ("download.npz", {"what": "predict"}), ("download.npz", {"what": 'rollout"\r\nSet-Cookie: a=b'}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "given"), BAD)
def test_what_is_not_allowed_is_named(client: TestClient, what: str, given: dict[str, str]) -> None:
    identity = client.post("/api/pictures", content=picture()).json()["id"]
    fault = assert_refused(client.get(f"/api/{what}", params={"model": "0", "picture": identity} | given), 400)
    assert fault["fix"]


def test_a_body_where_none_belongs_is_refused(client: TestClient) -> None:
    assert_refused(client.request("GET", "/api/state", content=b"x"), 400)
    assert_refused(client.request("GET", "/api/state", content=iter([b"x"])), 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422), (b"hello", 415), (b"<svg onload=alert(1)>", 415), (b"<html><script>", 415), (b"%PDF-1.4", 415),
        (picture()[:200], 422), (picture()[:40] + b"\0" * 500, 422), (b"\xff\xd8\xff" + b"x" * 99, 422),
        (b"P6 100000 100000 255 ", 413), (b"x" * (1 << 16), 415), (b"x" * ((1 << 16) + 1), 413),
        (b"x" * (1 << 20), 413),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(client: TestClient, body: bytes, status: int) -> None:
    before = client.get("/api/state").json()["pictures"]
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    for content in (body, pieces):
        assert_refused(client.post("/api/pictures", content=content, headers={"x-name": "a.png"}), status)
    assert client.get("/api/state").json()["pictures"] == before


@pytest.mark.parametrize("stated", ["99999999999", "-1", "1e3", "9" * 40, "\u00b2"])
def test_a_stated_length_is_not_believed(client: TestClient, stated: str) -> None:
    headers = {"content-length": stated.encode("latin-1")}
    assert_refused(client.post("/api/pictures", content=iter([b"x"]), headers=headers), 413)


def test_names_are_data() -> None:
    client = client_of(loaded(tiny_vit(), HOSTILE[:5]))
    for number, name in enumerate(HOSTILE):
        sent = quote(name, errors="surrogateescape")
        made = client.post("/api/pictures", content=picture(number), headers={"x-name": sent})
        assert made.status_code == 201 and b"<" not in made.content and made.content.isascii()
    state = client.get("/api/state")
    names = [each["name"] for each in state.json()["pictures"]]
    assert names[0] == HOSTILE[0] and b"<" not in state.content
    assert names[1] == "two\\nlines\\r\\nSet-Cookie: a=b" and names[2] == "\\u202egnp.exe" and len(names[5]) == 200
    assert all(name.isprintable() for name in names)
    identity = json.loads(state.content)["pictures"][0]["id"]
    labels = client.get(f"/api/predict?model=0&picture={identity}")
    assert {label["class"] for label in labels.json()["labels"]} >= {
        HOSTILE[0],
        "e\\x80",
    } and b"<" not in labels.content
    for target in range(5):
        answer = client.get(f"/api/attribution?model=0&picture={identity}&curves=0&target={target}")
        assert b"<" not in answer.content[4 : 4 + int.from_bytes(answer.content[:4], "little")]


def test_a_bug_is_told_without_its_traceback(client: TestClient, monkeypatch, caplog) -> None:
    from patchwords.serving import app

    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app, "answer", broken)
    identity = client.post("/api/pictures", content=picture(99)).json()["id"]
    answer = client.get(f"/api/predict?model=0&picture={identity}")
    assert_refused(answer, 500)
    assert b"secret" not in answer.content and "ZeroDivisionError" in caplog.text
