"""What `rillet forget` says where it cannot finish: nobody consumes, or somebody writes again."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from rillet.cli.main import app
from rillet.client import Client
from stream.faults import VARIABLE
from stream.settings import Settings
from stream.store import Store
from stream.topics import ensure_topics
from stream.writes import Plain
from tests.integration.live import Start, eventually

WHO = "zanzibar-17"
LIFE_MS = 60_000


def forget(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["forget", WHO, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def report_of(*options: str) -> tuple[int, dict[str, Any]]:
    code, said = forget(*options, "--json")
    return code, json.loads(said)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    one = Store(settings.redis, retry_s=30)
    yield one
    one.close()


@contextmanager
def writing_again(store: Store, key: str) -> Iterator[None]:
    """Keep putting a list of his there, as one does who has not heard that he is forgotten."""
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            store.write_plain([Plain(key, b'{"items":[]}', LIFE_MS)])
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def test_while_nobody_consumes_he_is_not_forgotten_and_that_is_said(
    start: Start, settings: Settings, store: Store
) -> None:
    ensure_topics(settings.kafka)
    view = {"event": "interaction", "type": "view", "user": WHO, "item": "a"}
    state, recs = store.keys.session(WHO), store.keys.recs(WHO)
    first = start("consume", "personalize")
    with Client(settings) as client:
        client.publish(view)
        client.flush()
    eventually(lambda: store.get(recs), first.said)
    assert first.end() == 0

    code, said = forget("--wait", "0.5", "--verify")
    assert code == 1
    assert f"{WHO} is not forgotten yet" in said
    assert "the consumer personalize has not handled it yet: is it running?" in said
    assert f"he still stands  2 places\n    {recs}\n    {state}" in _sorted(said)
    code, report = report_of("--wait", "0")
    assert (code, report["handled"], len(report["problems"]), report["left"]) == (1, False, 1, None)
    assert store.get(state) and store.get(recs)

    second = start("consume", "personalize")
    eventually(lambda: store.get(store.keys.forgotten(WHO)), second.said)
    code, report = report_of("--wait", "60", "--verify")
    assert (code, report["handled"], report["problems"], report["left"]) == (0, True, [], [])
    assert store.get(state) is None

    with writing_again(store, recs):
        code, report = report_of("--wait", "60", "--verify")
    assert (code, report["handled"], report["problems"]) == (1, True, [])
    assert report["left"] == [recs]


def test_what_goes_a_moment_after_the_tombstone_is_waited_for(
    start: Start, variables: dict[str, str], settings: Settings, store: Store
) -> None:
    """His list is removed after the states are written: the consumer stands still between."""
    ensure_topics(settings.kafka)
    variables[VARIABLE] = "states:2:stop"
    running = start("consume", "personalize")
    with Client(settings) as client:
        client.publish({"event": "interaction", "type": "view", "user": WHO, "item": "a"})
        client.flush()
    eventually(lambda: store.get(store.keys.recs(WHO)), running.said)

    def wake() -> None:
        eventually(lambda: store.get(store.keys.forgotten(WHO)), running.said)
        time.sleep(1)
        running.process.send_signal(signal.SIGCONT)

    waker = threading.Thread(target=wake)
    waker.start()
    try:
        code, report = report_of("--wait", "60", "--verify")
    finally:
        waker.join()
    assert (code, report["handled"], report["left"], report["problems"]) == (0, True, [], [])
    assert "the point 'states' is reached" in running.said()
    assert running.end() == 0


def _sorted(said: str) -> str:
    """Return what a command said with the places in order: a scan has none."""
    lines = said.splitlines()
    at = next(n for n, line in enumerate(lines) if "still stands" in line) + 1
    end = next((n for n in range(at, len(lines)) if not lines[n].startswith("    ")), len(lines))
    return "\n".join([*lines[:at], *sorted(lines[at:end]), *lines[end:]])
