"""`rillet serve` as a process: slow and rude clients, what it logs, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from rillet.serving.guard import new_key
from tests.serving.process import Serving

Start = Callable[..., Serving]
SLOW = {"RILLET_SERVE__CLIENT_S": "0.5"}


def exchange(place: tuple[str, int], *parts: bytes, pause_s: float = 0) -> bytes:
    """Send the parts, and return all that comes until the other side hangs up."""
    with socket.create_connection(place, 20) as line:
        for part in parts:
            try:
                line.sendall(part)
            except OSError:
                break
            time.sleep(pause_s)
        got = b""
        try:
            while data := line.recv(65536):
                got += data
        except ConnectionResetError:
            pass
        return got


def answered(line: socket.socket) -> int:
    """Read one whole answer off a line that stays open, and return its status.

    Whole, as its head and its body may come apart.
    """
    with closing(http.client.HTTPResponse(line)) as got:
        got.begin()
        got.read()
        return got.status


HEAD = b"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_a_client_that_says_nothing_is_not_waited_for(serving: Start) -> None:
    place = serving("--no-search", **SLOW).place
    for parts in ((), (b"POST /recom",), (HEAD,)):
        began = time.perf_counter()
        assert exchange(place, *parts) == b""
        assert 0.3 < time.perf_counter() - began < 10


def test_a_letter_now_and_then_does_not_keep_a_connection(serving: Start) -> None:
    place = serving("--no-search", **SLOW).place
    letters = [bytes([letter]) for letter in HEAD + b"X-Long: " + b"a" * 500]
    began = time.perf_counter()
    exchange(place, *letters, pause_s=0.05)
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("head", "after"),
    [
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\n", b"a"),
        (b"POST /no-such HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\n", b"a"),
        (HEAD + b"Content-Length: 5000\r\n\r\n", b"a"),
        (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\r\n"),
    ],
)
def test_who_was_answered_does_not_keep_a_connection(
    serving: Start, head: bytes, after: bytes
) -> None:
    """By what he still sends of a request whose answer did not wait for it, or between two."""
    keys = {"RILLET_SERVE__KEYS": new_key(["read"])[1]}
    place = serving("--no-search", **SLOW, **keys).place
    began = time.perf_counter()
    got = exchange(place, head, *[after] * 100, pause_s=0.1)
    assert got.count(b"HTTP/1.1 ") == 1
    assert time.perf_counter() - began < 8


def test_a_body_that_comes_after_its_answer_does_no_harm(serving: Start) -> None:
    keys = {"RILLET_SERVE__KEYS": new_key(["read"])[1]}
    place = serving("--no-search", **SLOW, **keys).place
    body = b" " * 100_000
    with socket.create_connection(place, 20) as line:
        for _ in range(2):
            line.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:9])
            assert answered(line) == 401
            line.sendall(body[9:])


def test_a_body_that_does_not_come_is_told(serving: Start) -> None:
    place = serving("--no-search", **SLOW).place
    got = exchange(place, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert got.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in got
    with closing(http.client.HTTPConnection(*place)) as other:
        other.request("GET", "/health")
        assert other.getresponse().status == 200


def test_a_long_request_is_refused_without_being_read(serving: Start) -> None:
    place = serving("--no-search", RILLET_SERVE__MAX_BODY_BYTES="2000").place
    got = exchange(place, HEAD + b"Content-Length: 1000000000\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413")
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    got = exchange(place, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk)
    assert got.startswith(b"HTTP/1.1 413")
    assert got.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /trending\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nA" + b"b" * 200_000 + b": c\r\n\r\n",
    ],
)
def test_rubbish_ends_a_connection_and_nothing_else(serving: Start, rubbish: bytes) -> None:
    process = serving("--no-search", **SLOW)
    got = exchange(process.place, rubbish)
    assert not got or got.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), got[:200]
    with closing(http.client.HTTPConnection(*process.place)) as other:
        other.request("GET", "/health")
        assert other.getresponse().status == 200
    assert "Traceback" not in process.said()


def test_answers_tell_no_versions_and_logs_name_no_user(serving: Start, known: str) -> None:
    process = serving(
        "--no-search", RILLET_KAFKA__BOOTSTRAP="127.0.0.1:1", RILLET_SERVE__KAFKA_S="1"
    )
    with closing(http.client.HTTPConnection(*process.place)) as line:
        asked = [
            ("POST", "/recommend", {"user": known}),
            ("GET", f"/session/{known}", None),
            ("GET", f"/api/recommend/{known}", None),
            ("GET", f"/no-such/{known}", None),
            ("POST", "/feedback", {"event": "search", "user": known, "query": "rug"}),
            ("DELETE", f"/users/{known}", None),
        ]
        statuses = []
        for method, path, body in asked:
            line.request(method, path, json.dumps(body) if body else None)
            answer = line.getresponse()
            answer.read()
            statuses.append(answer.status)
            names = {name.lower() for name, _ in answer.getheaders()}
            assert "server" not in names
            assert not any("uvicorn" in value for _, value in answer.getheaders())
    assert statuses == [200, 200, 200, 404, 503, 503]
    process.end()
    assert known not in process.said()
    assert "events refused" in process.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(serving: Start, number: int) -> None:
    process = serving("--no-search")
    assert process.url.startswith("http://127.0.0.1:")
    assert process.end(number) == 0
    assert "Traceback" not in process.said()


def test_a_request_that_has_begun_is_answered_before_the_end(serving: Start, known: str) -> None:
    process = serving("--no-search")
    body = json.dumps({"user": known}).encode()
    with socket.create_connection(process.place, 20) as line:
        line.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        time.sleep(0.2)
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        line.sendall(body[5:])
        assert line.recv(65536).startswith(b"HTTP/1.1 200")
    assert process.end() == 0


def test_an_address_that_is_taken_is_told(serving: Start, redis_url: str) -> None:
    from tests.rillet.conftest import rillet

    port = str(serving("--no-search").place[1])
    done = rillet("serve", "--no-search", "--redis", redis_url, "--port", port)
    assert done.returncode == 2
    assert "cannot listen" in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.splitlines()) == 2
