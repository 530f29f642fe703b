"""Who gets into the console: the pages, and the web socket behind them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rillet.console.gate import LIFE_S, Admission, Gate, admission_of
from rillet.serving.guard import Guard, new_key
from stream.serve_settings import ServeSettings

OWN = "http://localhost"
ELSEWHERE = "http://evil.example"
ADMITTED: list[Admission] = []
SAID: list[str] = []


def client(serve: ServeSettings) -> TestClient:
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/")
    def page(request: Request) -> HTMLResponse:
        ADMITTED.append(admission_of(request))
        caller = ADMITTED[-1].caller
        return HTMLResponse(", ".join(sorted(caller.scopes)) if caller else "nobody")

    @inner.websocket("/ws")
    async def socket(one: WebSocket) -> None:
        await one.accept()
        await one.send_text("in")
        with suppress(WebSocketDisconnect):
            while True:
                SAID.append(await one.receive_text())

    inner.add_middleware(Gate, guard=Guard(serve))
    outer.mount("/console", inner)
    return TestClient(outer, base_url=OWN, follow_redirects=False)


def socket_opens(caller: TestClient, origin: str) -> bool:
    try:
        place = "ws://localhost/console/ws"
        with caller.websocket_connect(place, headers={"origin": origin}) as one:
            return bool(one.receive_text() == "in")
    except WebSocketDisconnect:
        return False


def keyed(*scopes: str) -> tuple[TestClient, str]:
    key, line = new_key(scopes)
    return client(ServeSettings(keys=(line,))), key


def test_without_keys_this_machine_gets_in_and_no_other_name_or_site() -> None:
    anybody = client(ServeSettings())
    assert anybody.get("/console/").text == "admin, read, write"
    assert anybody.get("/console/", headers={"host": "evil.example"}).status_code == 403
    assert socket_opens(anybody, OWN)
    assert not socket_opens(anybody, ELSEWHERE)


def test_pages_may_fetch_from_nowhere_else_and_be_framed_by_nobody() -> None:
    locked, _ = keyed("read")
    wrong = locked.post("/console/login", data={"key": "rillet_no-such-key"})
    pages = client(ServeSettings()).get("/console/"), locked.get("/console/login"), wrong
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in policy


def test_with_keys_a_stranger_is_asked_for_one() -> None:
    caller, _ = keyed("read")
    answer = caller.get("/console/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert not socket_opens(caller, OWN)
    assert 'type="password"' in caller.get("/console/login").text


@pytest.mark.parametrize("key", ["", "rillet_no-such-key", "x" * 100_000])
def test_a_wrong_key_does_not_do(key: str) -> None:
    caller, _ = keyed("read")
    answer = caller.post("/console/login", data={"key": key})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert caller.get("/console/").status_code == 303


def test_a_key_lets_in_with_its_scopes_until_it_is_over() -> None:
    caller, key = keyed("read", "write")
    answer = caller.post("/console/login", data={"key": key})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert key.lower() not in cookie
    assert caller.get("/console/").text == "read, write"
    assert socket_opens(caller, OWN)
    assert not socket_opens(caller, ELSEWHERE)
    caller.get("/console/logout")
    assert caller.get("/console/").status_code == 303


def test_a_page_that_is_open_may_do_nothing_after_the_logout() -> None:
    caller, key = keyed("read", "write")
    caller.post("/console/login", data={"key": key})
    caller.get("/console/")
    page = ADMITTED[-1]
    assert (page.may("write"), page.may("admin")) == (True, False)
    place = "ws://localhost/console/ws"
    SAID.clear()
    with caller.websocket_connect(place, headers={"origin": OWN}) as socket:
        assert socket.receive_text() == "in"
        socket.send_text("before")
        while not SAID:  # it goes through another thread
            time.sleep(0.01)
        caller.get("/console/logout")
        socket.send_text("after")
    assert SAID == ["before"]
    assert not page.may("write")
    caller.post("/console/login", data={"key": key})
    assert not page.may("write"), "the session is another one"


def test_a_session_ends_for_open_pages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, key = keyed("read", "write")
    caller.post("/console/login", data={"key": key})
    caller.get("/console/")
    assert ADMITTED[-1].may("write")
    later = time.monotonic() + LIFE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not ADMITTED[-1].may("write")


def test_a_page_of_another_site_cannot_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, key = keyed("read")
    headers = {"origin": ELSEWHERE}
    assert caller.post("/console/login", data={"key": key}, headers=headers).status_code == 403


def test_whoever_only_writes_sees_nothing() -> None:
    caller, key = keyed("write")
    assert caller.post("/console/login", data={"key": key}).status_code == 403


def test_trying_keys_is_limited() -> None:
    _, line = new_key(["read"])
    caller = client(ServeSettings(keys=(line,), requests_per_minute=3))
    statuses: list[Any] = [
        caller.post("/console/login", data={"key": f"guess-{n}"}).status_code for n in range(6)
    ]
    assert statuses[0] == 401
    assert statuses[-1] == 429


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"key=a&other=b", "application/x-www-form-urlencoded"),
    ],
)
def test_a_malformed_form_is_told(content: bytes, kind: str) -> None:
    caller, _ = keyed("read")
    headers = {"content-type": kind}
    answer = caller.post("/console/login", content=content, headers=headers)
    assert (answer.status_code, answer.json()["kind"]) == (400, "malformed")
