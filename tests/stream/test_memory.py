from __future__ import annotations

import threading

import pytest

from stream.clock import HandClock
from stream.memory import Aborted, Mark, MemoryBroker, MemorySource
from stream.records import Outgoing, TopicPartition


def filled(records: int, *, keep: bool = True) -> tuple[MemoryBroker, MemorySource]:
    broker = MemoryBroker({"events": 1}, keep=keep)
    fill(broker, records)
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    source.resume(source.assignment())
    return broker, source


def fill(broker: MemoryBroker, records: int) -> None:
    sink = broker.sink()
    for _ in range(records):
        sink.send(Outgoing("events", b"x"))


def test_what_all_groups_have_committed_is_dropped() -> None:
    broker, source = filled(20_000, keep=False)
    place = TopicPartition("events", 0)
    slow = broker.source("slow", ["events"])
    source.poll(20_000, 0)
    source.commit({place: 20_000})
    assert len(broker.records("events")) == 20_000
    slow.poll(1, 0)
    slow.commit({place: 15_000})
    assert len(broker.records("events")) == 5_000
    assert (source.beginning(place), source.end(place)) == (15_000, 20_000)
    slow.resume([place])
    assert slow.poll(1, 0)[0].offset == 15_000
    fill(broker, 1)
    assert source.poll(10, 0)[0].offset == 20_000


def test_pause_mark_ends_a_poll_once() -> None:
    broker, source = filled(3)
    broker.mark("events", Mark.PAUSE)
    fill(broker, 2)
    assert [len(source.poll(10, 0)) for _ in range(3)] == [3, 2, 0]


def test_abort_mark_raises_once_where_it_stands() -> None:
    broker, source = filled(3)
    broker.mark("events", Mark.ABORT)
    fill(broker, 2)
    assert len(source.poll(10, 0)) == 3
    with pytest.raises(Aborted):
        source.poll(10, 0)
    assert [record.offset for record in source.poll(10, 0)] == [3, 4]


def test_waiting_counts_what_is_not_committed() -> None:
    broker, source = filled(5)
    assert (broker.waiting("group"), broker.waiting("unknown")) == (5, 0)
    source.poll(10, 0)
    source.commit({TopicPartition("events", 0): 4})
    assert broker.waiting("group") == 1


def test_a_waiting_poll_is_woken_by_a_send() -> None:
    broker, source = filled(0)
    sender = threading.Timer(0.05, fill, (broker, 1))
    sender.start()
    assert len(source.poll(10, 60_000)) == 1
    sender.join()


def test_records_without_key_are_dealt_out_alike_in_every_run() -> None:
    runs = []
    for _ in range(2):
        broker = MemoryBroker({"events": 3})
        fill(broker, 7)
        runs.append([(record.partition, record.offset) for record in broker.records("events")])
    assert runs[0] == runs[1]
    assert {partition for partition, _ in runs[0]} == {0, 1, 2}


def test_no_partition_starves() -> None:
    broker = MemoryBroker({"events": 3})
    for number in range(3):
        for _ in range(100):
            broker.sink().send(Outgoing("events", b"x", partition=number))
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    source.resume(source.assignment())
    seen = {source.poll(10, 0)[0].partition for _ in range(3)}
    assert seen == {0, 1, 2}


def test_unknown_topics_come_into_being() -> None:
    broker = MemoryBroker(default=2)
    broker.sink().send(Outgoing("new", b"x", b"k"))
    assert len(broker.records("new")) == 1


def test_offsets_go_on_where_they_are_told_to() -> None:
    place = TopicPartition("events", 0)
    broker = MemoryBroker({"events": 1}, keep=False, begin={place: 5_000})
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    source.resume(source.assignment())
    fill(broker, 3)
    assert source.beginning(place) == 5_000
    assert [record.offset for record in source.poll(10, 0)] == [5_000, 5_001, 5_002]


def test_a_clock_stamps_what_is_sent_without_a_time() -> None:
    broker = MemoryBroker(clock=HandClock(77))
    broker.sink().send(Outgoing("events", b"x"))
    broker.sink().send(Outgoing("events", b"x"), timestamp=5)
    assert [record.timestamp for record in broker.records("events")] == [77, 5]
