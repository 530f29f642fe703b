"""The cache of users' states: bounded, and never another answer than Redis'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.kept import KeptSessions
from consumers.personalize import Personalize
from consumers.view import LiveView
from features.card import AsOf
from features.session import Session, decode_session, encode_session
from features.text import Encoder
from stream.events import encode
from stream.records import Record, TopicPartition
from stream.settings import RedisSettings, Settings
from stream.store import Store
from stream.writes import Plain, Stamped
from tests.builders import NOON, interaction

PARTITIONS = {"transition_partitions": 1, "every_ms": 0}


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield store
    store.close()


def write(store: Store, user: str, offset: int) -> None:
    state = Session(as_of=AsOf(0, offset, 10), user=user, events=1)
    store.write_stamped(
        [Stamped(store.keys.session(user), encode_session(state), 0, offset, 60_000)]
    )


@pytest.mark.parametrize(("most", "held"), [(0, ""), (2, "ca"), (9, "bca")])
def test_those_are_kept_that_were_seen_last(store: Store, most: int, held: str) -> None:
    kept = KeptSessions(store, store.keys, most)
    for user in "abc":
        write(store, user, 1)
    for batch in ("ab", "ca"):
        kept.load(batch)
    assert [kept[user].as_of.offset for user in "abc"] == [1, 1, 1]
    kept.trim()
    for user in "abc":
        write(store, user, 2)
    kept.load("abc")  # who is kept is not read again
    assert {u: kept[u].as_of.offset for u in "abc"} == {u: 1 if u in held else 2 for u in "abc"}


def test_what_is_cleared_is_read_again(store: Store) -> None:
    kept = KeptSessions(store, store.keys, 10)
    kept.load(["a"])
    assert kept["a"].events == 0
    write(store, "a", 1)
    kept.clear()
    kept.load(["a"])
    assert kept["a"].events == 1


@pytest.mark.parametrize(("cached", "read_again"), [(1, True), (3, False)])
def test_personalize_keeps_as_many_as_the_settings_say(
    store: Store, encoder: Encoder, *, cached: int, read_again: bool
) -> None:
    given = {"redis": {"url": store.url}, "session": {"cached": cached}}
    settings = Settings.model_validate(given)
    consumer = Personalize(settings, store, LiveView(settings, store, encoder, **PARTITIONS))
    consumer.assigned([TopicPartition(settings.kafka.events, 0)])
    for at, user in enumerate("abca"):
        if at == 3:  # somebody else takes his state away
            store.write_plain([Plain(store.keys.session("a"), None)])
        event = interaction("i", NOON + at, user)
        record = Record(settings.kafka.events, 0, at, user.encode(), encode(event))
        store.write(consumer.handle([record]))
        consumer.committed()
    raw = store.get(store.keys.session("a"))
    assert raw is not None
    assert decode_session(raw).events == (1 if read_again else 2)
