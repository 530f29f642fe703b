from __future__ import annotations

import logging

import pytest

from stream.checkpoint import Checkpoint, start_position
from stream.errors import CheckpointError
from stream.memory import MemoryBroker, MemorySource
from stream.records import Outgoing, TopicPartition
from stream.store import Store
from stream.writes import Plain, Stamped, Writes, stamp_head

PLACE = TopicPartition("events", 0)


def source_with(records: int, *, committed: int | None = None) -> MemorySource:
    broker = MemoryBroker({"events": 1})
    sink = broker.sink()
    for n in range(records):
        sink.send(Outgoing("events", b"%d" % n))
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    if committed is not None:
        source.commit({PLACE: committed})
    return source


def write_position(store: Store, offset: int) -> None:
    store.write_plain([Plain(store.keys.position("group", "events", 0), b"%d" % offset, 60_000)])


@pytest.mark.parametrize(
    ("committed", "written", "start"),
    [
        (None, None, 0),
        (6, 6, 6),
        (6, 4, 4),
        (4, 6, 4),
        (None, 5, 5),
        (10, 10, 10),
        (8, 99, 8),
    ],
    ids=["neither", "equal", "redis-older", "kafka-older", "redis-alone", "at-end", "redis-ahead"],
)
def test_start_is_the_older_position(
    store: Store, committed: int | None, written: int | None, start: int
) -> None:
    if written is not None:
        write_position(store, written)
    assert start_position(source_with(10, committed=committed), store, PLACE) == start


def test_state_is_rebuilt_where_redis_knows_no_position(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert start_position(source_with(10, committed=6), store, PLACE) == 0
    assert "rebuilt from the beginning" in caplog.text


def test_a_position_past_the_end_starts_at_the_beginning(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    write_position(store, 50)
    with caplog.at_level(logging.WARNING):
        assert start_position(source_with(10), store, PLACE) == 0
    assert "past the log's end" in caplog.text


def test_a_position_before_what_is_kept_starts_at_what_is_kept(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker({"events": 1}, keep=False)
    sink = broker.sink()
    for _ in range(10_000):
        sink.send(Outgoing("events", b"x"))
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    source.commit({PLACE: 9_000})
    write_position(store, 100)
    with caplog.at_level(logging.WARNING):
        assert start_position(source, store, PLACE) == 9_000
    assert "deleted before they were read" in caplog.text


def checkpoint_over(store: Store, source: MemorySource) -> Checkpoint:
    return Checkpoint(source, MemoryBroker().sink(), store)


def test_positions_that_do_not_grow_are_refused_before_anything_is_written(store: Store) -> None:
    source = source_with(10)
    checkpoint = checkpoint_over(store, source)
    checkpoint.begin(PLACE, 0)
    checkpoint.commit(Writes(), {PLACE: 5})
    late = Writes(plain=[Plain(store.keys.recs("u"), b"{}", 60_000)])
    for position in (5, 4):
        with pytest.raises(CheckpointError, match="from 5 to"):
            checkpoint.commit(late, {PLACE: position})
    assert store.get(store.keys.recs("u")) is None


def test_refused_writes_and_a_lost_membership_are_told(store: Store) -> None:
    source = source_with(10)
    checkpoint = checkpoint_over(store, source)
    key = store.keys.session("u")
    newer = Stamped(key, stamp_head(0, 9) + b"}}", 0, 9, 60_000)
    older = Stamped(key, stamp_head(0, 3) + b"}}", 0, 3, 60_000)
    store.write_stamped([newer])
    source.close()
    outcome = checkpoint.commit(Writes(stamped=[older]), {PLACE: 4})
    assert [one.present for one in outcome.refused] == [9]
    assert not outcome.kept


def test_an_older_position_that_a_sleeper_put_back_is_put_right(store: Store) -> None:
    source = source_with(10)
    checkpoint = checkpoint_over(store, source)
    checkpoint.begin(PLACE, 0)
    checkpoint.commit(Writes(), {PLACE: 8})
    write_position(store, 3)
    checkpoint.confirm()
    assert start_position(source, store, PLACE) == 8
    source.close()  # from here on it is the sleeper itself
    checkpoint.commit(Writes(), {PLACE: 9})
    write_position(store, 10)
    checkpoint.confirm()
    key = store.position_keys("group", PLACE.topic, PLACE.partition)[0]
    assert store.get(key) == b"10"


def test_kafka_is_told_now_and_then_and_redis_each_time(store: Store) -> None:
    source = source_with(10)
    checkpoint = Checkpoint(source, MemoryBroker().sink(), store, every_s=3600)
    for position in (3, 5, 8):
        assert checkpoint.commit(Writes(), {PLACE: position}).kept
    assert source.committed(PLACE) == 3
    assert store.get(store.keys.position("group", "events", 0)) == b"8"
    assert start_position(source, store, PLACE) == 3
    write_position(store, 1)
    checkpoint.confirm()
    assert store.get(store.keys.position("group", "events", 0)) == b"8"
    assert checkpoint.owes
    assert checkpoint.repay()
    assert source.committed(PLACE) == 8
    assert not checkpoint.owes


def test_refused_positions_are_offered_again_with_the_next_batch(store: Store) -> None:
    source = source_with(10)
    checkpoint = Checkpoint(source, MemoryBroker().sink(), store, every_s=3600)
    checkpoint.commit(Writes(), {PLACE: 2})
    source.close()
    checkpoint.commit(Writes(), {PLACE: 3})
    assert not checkpoint.repay()
    assert not checkpoint.commit(Writes(), {PLACE: 4}).kept


def test_what_was_sent_ahead_is_waited_for_and_not_sent_again(store: Store) -> None:
    broker = MemoryBroker({"events": 1, "told": 1})
    source, sink = broker.source("group", ["events"]), broker.sink()
    broker.sink().send(Outgoing("events", b"1"))
    source.poll(1, 0)
    told = [Outgoing("told", b"%d" % n) for n in range(3)]
    for record in told[:2]:
        sink.send(record)
    Checkpoint(source, sink, store).commit(Writes(produced=told, ahead=2), {PLACE: 1})
    assert [record.value for record in broker.records("told")] == [b"0", b"1", b"2"]
