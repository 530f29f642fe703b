"""The floor and the plain implementation do what the tables say they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.floor import Floor
from benchmarks.plain import Plain
from benchmarks.watch import event_time
from stream.settings import Settings
from stream.store import Store
from tests.benchmarks.conftest import Topic
from tests.builders import MINUTE, NOON, interaction

CATEGORIES = {f"i{number}": "tea" if number < 10 else "books" for number in range(20)}


@pytest.fixture
def plain(settings: Settings, topic: Topic) -> Iterator[Plain]:
    one = Plain(settings, CATEGORIES, 0, topic.reader)
    yield one
    one.close()


def read(store: Store, user: str) -> Any:
    raw = store.get(store.keys.recs(user))
    return json.loads(raw) if raw else None


def test_plain_answers_after_every_event(plain: Plain, topic: Topic, store: Store) -> None:
    events = [interaction(f"i{n % 5}", NOON + n * MINUTE, f"u{n % 3}") for n in range(30)]
    topic.publish(*events)
    run = plain.run(len(events))
    assert (run.events, run.lists) == (30, 30)
    assert {listed["item"] for listed in read(store, "u1")["items"]} == {f"i{n}" for n in range(5)}


def test_plain_learns_what_follows_what(plain: Plain, topic: Topic, store: Store) -> None:
    for n in range(300):
        user, at = f"u{n}", NOON + n * MINUTE
        pair = ("i1", "i2") if n % 2 else ("i3", "i4")
        topic.publish(*(interaction(item, at + k, user) for k, item in enumerate(pair)))
    topic.publish(interaction("i1", NOON + 400 * MINUTE, "new"))
    plain.drain()
    assert read(store, "new")["items"][0]["item"] == "i2"


def test_plain_is_warmed_up_in_silence(settings: Settings, topic: Topic, store: Store) -> None:
    plain = Plain(settings, CATEGORIES, 2, topic.reader)
    topic.publish(*(interaction("i1", NOON + n, "u") for n in range(3)))
    assert plain.run(3).lists == 1
    assert read(store, "u") is not None
    plain.close()


def test_the_floor_writes_one_list_a_user_and_batch(
    settings: Settings, topic: Topic, store: Store
) -> None:
    answer = b'{"as_of":{"partition":0,"offset":7,"event_time":1},"user":"u","items":[]}'
    floor = Floor(settings, answer, reader=topic.reader)
    topic.publish(*(interaction("i", NOON + n, f"u{n % 2}") for n in range(10)))
    assert floor.run(10).lists == 2
    raw = store.get(store.keys.recs("u1"))
    assert raw is not None
    assert json.loads(raw)["as_of"] == {"partition": 0, "offset": 9, "event_time": NOON + 9}
    assert event_time(raw[:127]) == NOON + 9
    floor.close()
