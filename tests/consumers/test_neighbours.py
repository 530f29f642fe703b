from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from consumers.neighbours import Neighbours
from features.session import admit, advance, new_session
from models.activity import ActivityWriter
from models.item_state import ItemView
from stream.events import Event
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import RedisSettings, Settings
from stream.store import Store
from tests.builders import MINUTE, NOON, RULES, interaction, ranking

SETTINGS = Settings()
TOPIC = SETTINGS.kafka.transitions


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield store
    store.close()


def told(events: Sequence[Event], *, source: int = 0, batch: int = 3) -> list[Outgoing]:
    """Return what `personalize` sends of one user's events, batch after batch."""
    session, sent = new_session("u"), []
    writer = ActivityWriter(SETTINGS.neighbours, TOPIC, 1)
    for offset, event in enumerate(events):
        place = (source, offset)
        moment = admit(session, event, place, RULES)
        assert moment is not None
        writer.add(session, event, moment, place)
        advance(session, event, moment, place, RULES)
        if offset % batch == batch - 1:
            sent += writer.drain()
    return sent + writer.drain()


def records(sent: Sequence[Outgoing], first: int = 0) -> list[Record]:
    return [Record(TOPIC, 0, at, None, one.value) for at, one in enumerate(sent, first)]


def a_walk(names: str, start: int = NOON) -> list[Event]:
    events: list[Event] = [ranking(dict.fromkeys(names), start, id="r")]
    for n, name in enumerate(names, 1):
        events.append(interaction(name, start + n * MINUTE, ranking="r"))
    return events


def states(store: Store) -> dict[str, bytes]:
    return dict(store.scan("itemstate")) | {f"view {k}": v for k, v in store.scan("neighbours")}


def views(store: Store) -> dict[str, ItemView]:
    return {k: msgspec.json.decode(v, type=ItemView) for k, v in store.scan("neighbours")}


def counted(store: Store) -> dict[str, object]:
    """Return all views without their stamps."""
    return {
        name: {key: value for key, value in msgspec.to_builtins(one).items() if key != "as_of"}
        for name, one in views(store).items()
    }


def a_consumer(store: Store) -> Neighbours:
    return Neighbours(SETTINGS.model_copy(update={"redis": store.settings}), store)


def run(store: Store, batches: Sequence[Sequence[Record]]) -> Neighbours:
    consumer = a_consumer(store)
    for batch in batches:
        assert store.write(consumer.handle(batch)) == []
        consumer.committed()
    return consumer


def test_statistics_and_lists_of_every_item_are_written(store: Store) -> None:
    run(store, [records(told(a_walk("abc")))])
    found = views(store)
    assert [name for name, _ in found["a"].next] == ["b", "c"]
    assert [name for name, _ in found["b"].next] == ["c"]
    assert found["c"].next == []
    assert {(v.shown, v.clicked, v.taken) for v in found.values()} == {(1, 1, 1)}
    (entry,) = store.read_changes("0-0").entries
    assert set(msgspec.json.decode(entry)["stats"]) == {"a", "b", "c"}


def test_batches_do_not_matter(store: Store) -> None:
    sent = records(told(a_walk("abcabcadb")))
    run(store, [sent])
    at_once = states(store)
    other = Store(RedisSettings.model_validate({"url": store.url, "prefix": "other"}))
    run(other, [[record] for record in sent])
    assert states(other) == at_once
    other.close()


@pytest.mark.parametrize("back", range(4))
def test_records_read_again_after_a_restart_change_nothing(store: Store, back: int) -> None:
    sent = records(told(a_walk("abcabcadb")))
    run(store, [sent])
    once = counted(store)
    restarted = a_consumer(store)
    store.write(restarted.handle(sent[back:]))
    assert counted(store) == once


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_rows_told_again_and_cut_differently_are_counted_once(store: Store, batch: int) -> None:
    walk = a_walk("abcabcadb")
    first = told(walk[:6], batch=4)
    run(store, [records(first + told(walk, batch=batch))])
    other = Store(RedisSettings.model_validate({"url": store.url, "prefix": "other"}))
    run(other, [records(told(walk))])
    assert counted(store) == counted(other)
    other.close()


def test_partitions_of_the_events_may_interleave(store: Store) -> None:
    one = told(a_walk("abcab"), source=0)
    other = told(a_walk("cabcc", NOON + 30 * MINUTE), source=1)
    run(store, [records([*one, *other])])
    second = Store(RedisSettings.model_validate({"url": store.url, "prefix": "other"}))
    mixed = [record for pair in zip(other, one, strict=True) for record in pair]
    run(second, [[record] for record in records(mixed)])
    assert counted(second) == counted(store)
    second.close()


def test_records_that_are_no_activity_are_dead_letters(store: Store) -> None:
    consumer = a_consumer(store)
    good = told(a_walk("ab"))
    raws = [b"", b"\xff", b"[]", b'{"source":"x"}', b"[" * 10_000]
    batch = records([*(Outgoing(TOPIC, raw) for raw in raws), *good])
    writes = consumer.handle(batch)
    assert [letter.value for letter in writes.produced] == raws
    assert {letter.topic for letter in writes.produced} == {SETTINGS.kafka.deadletters}
    assert {stamped.partition for stamped in writes.stamped} == {0}
    assert consumer.handle([]).changes == []


def test_a_lost_partition_is_read_afresh(store: Store) -> None:
    sent = records(told(a_walk("ab")) + told(a_walk("bc", NOON + MINUTE), source=1))
    half = len(sent) // 2
    old = run(store, [sent[:half]])
    run(store, [sent[half:]])
    everything = counted(store)
    old.revoked([TopicPartition(TOPIC, 0)])
    old.assigned([TopicPartition(TOPIC, 0)])
    store.write(old.handle(sent[half:]))
    assert counted(store) == everything


def test_it_runs_in_the_loop(store: Store) -> None:
    broker = MemoryBroker({TOPIC: 1})
    for record in told(a_walk("abc")):
        broker.sink().send(record)
    consumer = a_consumer(store)
    source = broker.source("n", consumer.topics)
    loop = Loop(consumer, source, broker.sink(), store, SETTINGS.batch)
    while loop.step(wait_ms=0):
        pass
    loop.close()
    assert broker.waiting("n") == 0
    assert set(views(store)) == {"a", "b", "c"}
