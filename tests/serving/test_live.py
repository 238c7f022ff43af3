"""The page behind a real server: many clients at once, clients that hang, leave or lie, and the end by Ctrl-C."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("starlette", reason="the live page needs the extra `serve`")
pytest.importorskip("uvicorn", reason="the live page needs the extra `serve`")

from patchwords import inspection
from patchwords.checkpoint import LoadedModel, save_model
from patchwords.errors import ConfigError
from patchwords.serving import Limits, live

from ..inspection.tiny import tiny_vit
from .site import loaded, picture, running, unpacked


def slow(seconds: float, depth: int = 20) -> tuple[LoadedModel, list[float]]:
    """A model whose blocks take `seconds` each, and the list of the times when one began."""
    model, began = tiny_vit(depth=depth), []
    for block in model.blocks:
        block.register_forward_hook(lambda *_: began.append(time.monotonic()) or time.sleep(seconds))
    return loaded(model), began


def ask(port: int, path: str, body: bytes | None = None, method: str = "", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def upload(port: int, seed: int = 0) -> str:
    status, body = ask(port, "/api/pictures", picture(seed))
    assert status == 201, body
    return json.loads(body)["id"]


def say(port: int, data: bytes, wait: float = 10) -> bytes:
    """Send raw bytes and return all that comes back until the server closes, or nothing comes for `wait` seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as line:
        line.sendall(data)
        return hear(line)


def hear(line: socket.socket) -> bytes:
    heard = b""
    try:
        while piece := line.recv(1 << 16):
            heard += piece
    except (TimeoutError, ConnectionError):
        pass
    return heard


def is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def request(port: int, path: str, *headers: str, method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", "")
    return "\r\n".join(lines).encode()


def test_many_at_once_are_all_right() -> None:
    models = [loaded(tiny_vit(0)), loaded(tiny_vit(1, pool="mean", class_token=False))]
    with running(*models) as port:
        asked = [(number, upload(port, seed), seed) for number in (0, 1) for seed in range(10)]

        def answer(job: tuple[int, str, int]) -> tuple[np.ndarray, Any]:
            number, identity, _ = job
            given = f"model={number}&picture={identity}"
            attention, labels = ask(port, f"/api/attention?{given}"), ask(port, f"/api/predict?{given}")
            assert (attention[0], labels[0]) == (200, 200)
            return unpacked(attention[1])[0]["weights"], json.loads(labels[1])["labels"]

        with ThreadPoolExecutor(20) as threads:
            found = list(threads.map(answer, asked))
    for (number, _, seed), (weights, labels) in zip(asked, found, strict=True):
        each = models[number]
        images = each.preprocess.normalize(each.preprocess.pixels(picture(seed))[None])
        whole = inspection.attention_weights(each.model, images).weights[:, 0]
        assert np.array_equal(weights, whole.astype(np.float16))
        with torch.inference_mode():
            assert labels[0]["index"] == int(each.model(images).argmax())


def test_the_same_question_is_computed_once_and_kept() -> None:
    model, began = slow(0.02)
    with running(model) as port:
        path = f"/api/attention?model=0&picture={upload(port)}"
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: ask(port, path), range(8)))
        assert {status for status, _ in answers} == {200} and len({body for _, body in answers}) == 1
        assert len(began) == 20
        assert ask(port, path) == answers[0] and len(began) == 20


def test_what_is_kept_is_bounded() -> None:
    model, began = slow(0)
    one = 20 * 2 * 13 * 13 * 2 + 20 * 2 * 4
    with running(model, limits=Limits(kept_bytes=2 * one + 4096)) as port:
        asked = [f"/api/attention?model=0&picture={upload(port, seed)}" for seed in range(3)]
        for count, number in enumerate((0, 1, 2, 2, 1, 0), start=1):
            assert ask(port, asked[number])[0] == 200
            assert len(began) == 20 * (count if count < 4 else 3 + (number == 0))


def test_too_many_questions_are_sent_away() -> None:
    model, _ = slow(0.02)
    with running(model, limits=Limits(waiting=3)) as port:
        asked = [f"/api/attention?model=0&picture={upload(port, seed)}" for seed in range(8)]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda path: ask(port, path), asked))
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 3
        assert ask(port, asked[0])[0] == 200


def test_an_answer_has_a_limit() -> None:
    one = 2 * 2 * 13 * 13
    with running(loaded(tiny_vit()), limits=Limits(answer_bytes=one)) as port:
        path = f"/api/attention?model=0&picture={upload(port)}"
        status, body = ask(port, path)
        assert status == 400 and json.loads(body)["fix"] == "Ask for 1"
        assert ask(port, f"{path}&layers=2")[0] == 200


@pytest.mark.parametrize("what", ["attention", "rollout", "receptive", "attribution", "patches", "predict"])
def test_nothing_is_computed_for_a_client_that_left(what: str) -> None:
    model, began = slow(0.05)
    with running(model) as port:
        path = f"/api/{what}?model=0&picture={upload(port)}"
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(request(port, path))
            while len(began) < 3:
                time.sleep(0.01)
        time.sleep(0.4)
        stopped = len(began)
        time.sleep(0.3)
        assert stopped == len(began) < 12
        assert ask(port, f"/api/predict?model=0&picture={upload(port, 1)}")[0] == 200  # the model is none the worse


def test_one_of_two_that_wait_may_leave() -> None:
    model, began = slow(0.03)
    with running(model) as port, ThreadPoolExecutor(1) as thread:
        path = f"/api/attention?model=0&picture={upload(port)}"
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(request(port, path))
            while not began:
                time.sleep(0.01)
            other = thread.submit(ask, port, path)
            time.sleep(0.1)
        assert other.result()[0] == 200 and len(began) == 20


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/../../errors.py", "/static/./icon.svg", "/../../../etc/passwd", "//etc/passwd"]
    + ["/static/%00", "/static/..%5c..%5capp.py", "http://127.0.0.1/static/icon.svg", "/%2e%2e/%2e%2e/etc/passwd"],
)
def test_no_raw_path_leads_out(path: str) -> None:
    with running(loaded(tiny_vit())) as port:
        heard = say(port, request(port, path, "Connection: close"))
    assert heard.startswith(b"HTTP/1.1 404") and b"content-security-policy" in heard and b"root:" not in heard


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"\r\n" * 9 + b"x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70000, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with running(loaded(tiny_vit())) as port:
        heard = say(port, data, wait=2)
        assert heard[9:12] in (b"400", b"403", b"431") and b"content-security-policy" in heard.lower()
        assert ask(port, "/api/state")[0] == 200


@pytest.mark.parametrize("length", ["Content-Length: 100000000000", "Transfer-Encoding: chunked"])
def test_a_body_without_end_is_cut_off(length: str) -> None:
    sent = 0
    with running(loaded(tiny_vit()), limits=Limits(body_bytes=1 << 16)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(request(port, "/api/pictures", length, method="POST"))
            try:
                while sent < 64 << 20:
                    line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                    sent += 65536
            except (ConnectionError, TimeoutError):
                pass
        assert sent < 64 << 20
        assert ask(port, "/api/state")[0] == 200


def test_a_picture_that_does_not_arrive_is_given_up() -> None:
    with running(loaded(tiny_vit()), limits=Limits(pause_seconds=0.3)) as port:
        begin = request(port, "/api/pictures", "Content-Length: 1000", method="POST")
        assert say(port, begin + b"x" * 10, wait=5).startswith(b"HTTP/1.1 408")
    with running(loaded(tiny_vit()), limits=Limits(body_seconds=1)) as port:
        begin = request(port, "/api/pictures", "Content-Length: 1000", method="POST")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:  # never pauses, never ends
            line.sendall(begin)
            started = time.monotonic()
            heard = threading.Thread(target=lambda: hear(line))
            heard.start()
            while heard.is_alive() and time.monotonic() < started + 5:
                try:
                    line.sendall(b"x")
                except OSError:
                    break
                time.sleep(0.1)
            assert time.monotonic() < started + 4


def test_slow_and_silent_connections_are_closed() -> None:
    limits = Limits(header_seconds=0.5)
    with running(loaded(tiny_vit()), limits=limits) as port:
        lines = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
        started = time.monotonic()
        for number, line in enumerate(lines):
            line.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1"[: number % 30])
        assert ask(port, "/api/state")[0] == 200
        for line in lines:
            assert hear(line) == b""
            line.close()
        assert time.monotonic() - started < 5


def test_idle_connections_make_room() -> None:
    with running(loaded(tiny_vit()), limits=Limits(connections=10, header_seconds=60)) as port:
        lines = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
        assert all(ask(port, "/api/state")[0] == 200 for _ in range(5))
        for number, line in enumerate(lines):
            if number < 30:  # more than are let be
                assert is_closed(line)
            line.close()


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    model = loaded(tiny_vit(image_size=(96, 96), patch_size=(2, 2), depth=1))  # 21 MB of attention
    with running(model, limits=Limits(write_seconds=0.5)) as port:
        path = f"/api/attention?model=0&picture={upload(port)}"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(request(port, path))
            time.sleep(3)
            assert len(hear(line)) < 20 << 20
        assert len(ask(port, path)[1]) > 20 << 20


STARTED = """
import sys, torch
torch.set_num_threads(1)
from patchwords.cli import main
raise SystemExit(main(["inspect", *sys.argv[1:], "--live", "--no-browser"]))
"""


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Start the command and return it with its port."""
    run = [sys.executable, "-c", STARTED, str(folder), *options]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("The live page is at http://127.0.0.1:"), line + process.stderr.read()
    return process, int(line.split(":")[2].split("/")[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "<img src=x onerror=alert(1)>"
    model = tiny_vit(depth=40)
    each = loaded(model)
    save_model(path, model.config, model.state_dict(), each.classes, each.preprocess, {})
    return path


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_ends_it_cleanly(folder: Path, tmp_path: Path, busy: bool) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    process, port = start(folder, str(tmp_path / "a.png"), "--compare", str(folder))
    status, body = ask(port, "/api/state")
    state = json.loads(body)
    assert status == 200 and b"<" not in body and len(state["models"]) == 2
    identity = state["pictures"][0]["id"]
    line = socket.create_connection(("127.0.0.1", port))
    if busy:
        line.sendall(request(port, f"/api/attribution?model=0&picture={identity}&method=integrated_gradients"))
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = process.communicate(timeout=30)
    line.close()
    assert (process.returncode, out, err) == (0, "", "")
    assert time.monotonic() - started < 10


def test_the_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1, port {port}"):
            live.serve([("a", loaded(tiny_vit()))], port=port, open_browser=False)
    for host, port in (("", 0), ("no such host", 0), ("127.0.0.1", 65536), ("127.0.0.1", -1), ("8.8.8.8", 0)):
        with pytest.raises(ConfigError) as caught:
            live.serve([("a", loaded(tiny_vit()))], host=host, port=port, open_browser=False)
        assert "\n" not in caught.value.line() and caught.value.fix


def test_the_extra_is_named_when_it_is_missing(folder: Path) -> None:
    for name in ("starlette", "uvicorn"):
        run = [sys.executable, "-c", f"import sys; sys.modules[{name!r}] = None\n{STARTED}", str(folder)]
        done = subprocess.run(run, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr == f"error: the live page needs {name}. pip install patchwords[serve]\n"
