"""The engine within another process: what it takes, what it keeps, by which clock it goes."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.catalogue import CatalogueConsumer
from consumers.embedded import Embedded
from features.session import Session, decode_session
from models.answer import Answer, decode_answer
from stream.errors import BrokerError, SettingsError
from stream.events import Event, encode
from stream.loop import Loop
from stream.routing import outgoing
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.writes import Writes
from tests.builders import DAY, NOON, interaction, item

THINGS = ("kilim", "runner", "kettle", "teapot", "lamp", "saddle", "helmet", "bell")
ITEMS = {f"{made}-{thing}": f"{made} {thing}" for made in ("red", "green") for thing in THINGS}


@pytest.fixture
def settings() -> Iterator[Settings]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    home = Path(tempfile.mkdtemp(prefix="rillet-"))
    yield load_settings(redis={"url": f"embedded:{home}"})
    shutil.rmtree(home)


def send(engine: Embedded, *events: Event) -> None:
    sink = engine.sink(engine.settings.kafka)
    for event in events:
        sink.send(outgoing(encode(event), event, engine.settings))


def read(settings: Settings, user: str) -> tuple[Session | None, Answer | None]:
    store = Store(settings.redis, make=False)
    try:
        state, listed = store.get_many([store.keys.session(user), store.keys.recs(user)])
    finally:
        store.close()
    return state and decode_session(state), listed and decode_answer(listed)  # type: ignore[return-value]


def listed(settings: Settings, user: str, events: int) -> Answer:
    """Wait for the list that follows so many events of a user."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        session, answer = read(settings, user)
        if session is not None and session.events >= events and answer is not None:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"no list of {user} after {events} events")


def shop(at: int) -> list[Event]:
    return [item(name, at, title=title) for name, title in ITEMS.items()]


def test_what_a_user_does_is_in_his_list_and_stays_over_a_restart(settings: Settings) -> None:
    engine = Embedded(settings)
    now = engine.clock.now_ms()
    engine.start()
    send(engine, *shop(now), interaction("red-kilim", now, "ann"))
    first = listed(settings, "ann", 1)
    engine.close()
    engine.close()  # whoever has lent it out closes it again
    again = Embedded(settings)
    again.start()
    try:
        send(again, interaction("red-kettle", now + 1000, "ann"))
        second = listed(settings, "ann", 2)
    finally:
        again.close()
    assert engine.failed is None
    assert again.failed is None
    assert second.as_of.offset > first.as_of.offset
    assert {one.item for one in first.items + second.items} <= set(ITEMS)
    assert second.items


def test_a_simulated_shop_goes_on_at_its_own_time(settings: Settings) -> None:
    engine = Embedded(settings)
    engine.start()
    send(engine, *shop(NOON), interaction("red-kilim", NOON, "ann"))
    listed(settings, "ann", 1)
    engine.close()
    again = Embedded(settings, resume_clock=True)
    try:
        assert NOON <= again.clock.now_ms() < NOON + DAY
        again.start()
        # by the wall clock this would not be from the future; by the shop's own it is
        send(again, interaction("red-runner", NOON + 30 * DAY, "ann"))
        deadline = time.monotonic() + 30
        while not again.letters() and time.monotonic() < deadline:
            time.sleep(0.02)
        reasons = [dict(letter.headers)["reason"] for letter in again.letters()]
    finally:
        again.close()
    assert reasons == [b"future"]


def test_where_a_handler_breaks_nothing_more_is_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Writes:
        raise KeyError("no such part")

    monkeypatch.setattr(CatalogueConsumer, "handle", broken)
    engine = Embedded(settings)
    engine.start()
    try:
        way = engine.sink(settings.kafka)
        event = shop(NOON)[0]
        way.send(outgoing(encode(event), event, settings))
        deadline = time.monotonic() + 30
        while engine.failed is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "KeyError: 'no such part'" in str(engine.failed)
        with pytest.raises(BrokerError, match="no such part"):
            way.send(outgoing(encode(event), event, settings))
        with pytest.raises(BrokerError, match="no such part"):
            way.flush()
    finally:
        engine.close()
    assert any(one.exc_info for one in caplog.records if one.name == "consumers.embedded")


def test_what_was_accepted_before_the_end_is_handled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Embedded(settings)
    turn, begun, sent = engine._turn, threading.Event(), threading.Event()

    def late(*loops: Loop) -> None:
        begun.set()
        sent.wait(30)
        turn(*loops)

    monkeypatch.setattr(engine, "_turn", late)
    engine.start()
    begun.wait(30)
    now, clicks = engine.clock.now_ms(), settings.batch.max_records + 10
    send(engine, *shop(now), *(interaction("red-kilim", now + n, f"u{n}") for n in range(clicks)))
    engine._stop.set()
    sent.set()  # one turn handles one batch of the clicks
    engine.close()
    session, _ = read(settings, f"u{clicks - 1}")
    assert session is not None
    assert session.events == 1
    assert "not handled" not in caplog.text


def test_what_is_left_after_a_while_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consumers.embedded.REST_S", 0.0)
    engine = Embedded(settings)
    monkeypatch.setattr(engine, "_turn", lambda *_: engine._stop.wait(30))
    engine.start()
    clicks = [interaction("red-kilim", NOON, f"u{n}") for n in range(10)]
    send(engine, *shop(NOON), *clicks)
    engine.close()
    assert "10 records that were accepted are not handled" in caplog.text


def test_who_was_told_to_end_takes_nothing_more(settings: Settings) -> None:
    engine = Embedded(settings)
    engine.start()
    engine.close()
    with pytest.raises(BrokerError, match="the engine ends, or has ended"):
        send(engine, *shop(NOON))


def test_two_do_not_work_on_one_folder(settings: Settings) -> None:
    one = Embedded(settings)
    one.start()
    with pytest.raises(SettingsError, match=f"process {os.getpid()}"):
        Embedded(settings)
    send(one, *shop(NOON), interaction("red-kilim", NOON, "ann"))
    assert listed(settings, "ann", 1).user == "ann"  # who was refused has broken nothing
    one.close()
    Embedded(settings).close()


@pytest.mark.parametrize("url", ["embedded:", "redis://127.0.0.1:6379/0"])
def test_it_needs_a_redis_that_others_can_read(url: str) -> None:
    with pytest.raises(SettingsError, match="cannot share") as caught:
        Embedded(load_settings(redis={"url": url}))
    assert "embedded:DIR" in caught.value.mend
