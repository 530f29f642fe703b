from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from stream.errors import BrokerError
from stream.loop import Loop, stop_on_signals
from stream.memory import MemoryBroker, MemorySource
from stream.metrics import Pulse
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import BatchSettings
from stream.store import Store
from stream.writes import Plain, Writes
from tests.stream.conftest import StoreMaker
from tests.stream.tally import Tally, contents

SMALL = BatchSettings(max_records=32, wait_ms=1)


def fill(broker: MemoryBroker, records: int, *, start: int = 0) -> None:
    sink = broker.sink()
    for n in range(start, start + records):
        sink.send(Outgoing("events", b"%d" % n, b"user%d" % (n % 37)))


def a_broker(records: int = 1000) -> MemoryBroker:
    broker = MemoryBroker({"events": 4})
    fill(broker, records)
    return broker


def a_loop(
    broker: MemoryBroker, store: Store, *, batch: BatchSettings = SMALL, echo: str = ""
) -> tuple[Loop, Tally]:
    tally = Tally(store, ["events"], echo)
    source = broker.source("group", ["events"])
    return Loop(tally, source, broker.sink(), store, batch), tally


def drain(loop: Loop) -> None:
    while loop.step(wait_ms=0):
        pass


def totals(store: Store) -> tuple[int, int]:
    states = [msgspec.json.decode(raw) for raw in contents(store, "session").values()]
    return sum(one["count"] for one in states), sum(one["total"] for one in states)


def test_every_record_is_handled_once_and_committed(store: Store) -> None:
    broker = a_broker()
    loop, tally = a_loop(broker, store, echo="echo")
    drain(loop)
    assert totals(store) == (1000, sum(range(1000)))
    assert broker.waiting("group") == 0
    assert len(broker.records("echo")) == loop.events == 1000
    assert tally.commits == len(tally.batches)
    assert all(len(batch) <= 32 for batch in tally.batches)


def test_a_new_process_goes_on_where_the_last_one_committed(store: Store) -> None:
    broker = a_broker()
    first, _ = a_loop(broker, store)
    for _ in range(5):
        first.step(wait_ms=0)
    first.close()
    second, tally = a_loop(broker, store)
    drain(second)
    assert totals(store) == (1000, sum(range(1000)))
    assert second.events == 1000 - first.events


def test_two_members_end_in_the_state_of_one(another_store: StoreMaker) -> None:
    alone, shared = another_store(), another_store()
    drain(a_loop(a_broker(), alone)[0])
    broker = a_broker(400)
    first, one = a_loop(broker, shared)
    for _ in range(3):
        first.step(wait_ms=0)
    second, two = a_loop(broker, shared)
    fill(broker, 600, start=400)
    for _ in range(6):
        first.step(wait_ms=0), second.step(wait_ms=0)
    assert len(one.held) == len(two.held) == 2
    assert len(one.dropped) == 2
    second.close()
    drain(first)
    assert broker.waiting("group") == 0
    assert contents(shared, "session") == contents(alone, "session")
    assert contents(shared, "recs") == contents(alone, "recs")


@pytest.mark.parametrize("most", [1, 7, 500])
def test_cut_batches_do_not_depend_on_polls(store: Store, most: int) -> None:
    batch = BatchSettings(max_records=most, wait_ms=1, cut=50)
    broker = a_broker()
    loop, tally = a_loop(broker, store, batch=batch)
    drain(loop)
    assert totals(store) == (1000, sum(range(1000)))
    for offsets in tally.batches:
        assert offsets[0] % 50 == 0
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


def test_a_cut_batch_waits_for_its_rest_while_a_replay_feeds_it(store: Store) -> None:
    broker = MemoryBroker({"events": 1})
    loop, tally = a_loop(broker, store, batch=BatchSettings(cut=50, wait_ms=1))
    fill(broker, 70)
    assert [loop.step(wait_ms=0, flush=False) for _ in range(3)] == [50, 0, 0]
    fill(broker, 30, start=70)
    assert loop.step(wait_ms=0, flush=False) == 50
    fill(broker, 1, start=100)
    assert [loop.step(wait_ms=0, flush=False), loop.step(wait_ms=0)] == [0, 1]


class Fails(Tally):
    def handle(self, records: Sequence[Record]) -> Writes:
        raise KeyError("a bug")


def test_a_handlers_bug_is_told_with_its_records_and_nothing_is_skipped(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broker = a_broker(10)
    source = broker.source("group", ["events"])
    loop = Loop(Fails(store, ["events"]), source, broker.sink(), store, SMALL)
    with caplog.at_level(logging.ERROR), pytest.raises(KeyError):
        loop.step(wait_ms=0)
    assert "tally failed on events[" in caplog.text
    assert broker.waiting("group") == 10


def test_run_ends_on_stop_with_everything_it_read_committed(store: Store) -> None:
    broker = a_broker()
    loop, tally = a_loop(broker, store)
    stop = threading.Event()

    class Stopper(Tally):
        def committed(self) -> None:
            super().committed()
            if len(self.batches) == 3:
                stop.set()

    loop.handler = tally = Stopper(store, ["events"])
    loop.run(stop)
    handled = sum(len(batch) for batch in tally.batches)
    assert len(tally.batches) == 3
    assert broker.waiting("group") == 1000 - handled
    assert loop.source.assignment() == frozenset()


def test_what_a_live_process_has_loaded_is_looked_through_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, frozen = threading.Event(), list[int]()

    class Stopper(Tally):
        def committed(self) -> None:
            stop.set()

    tally = Stopper(store, ["events"])
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(len(tally.held)))
    loop, _ = a_loop(a_broker(), store)
    loop.handler = tally
    loop.run(stop)
    assert frozen == [4]  # once, and after everything was loaded
    drain(a_loop(a_broker(), store)[0])
    assert frozen == [4]  # a replay does not go on for days


def test_the_last_word_is_said_while_the_partitions_are_held(store: Store) -> None:
    loop, _ = a_loop(a_broker(50), store)
    stop, said = threading.Event(), list[int]()
    threading.Timer(0.3, stop.set).start()
    loop.run(stop, lambda: said.append(len(loop.source.assignment())))
    assert said == [4]


def test_a_run_that_fails_has_no_last_word(store: Store) -> None:
    broker, said = a_broker(10), list[str]()
    source = broker.source("group", ["events"])
    loop = Loop(Fails(store, ["events"]), source, broker.sink(), store, SMALL)
    with pytest.raises(KeyError):
        loop.run(threading.Event(), lambda: said.append("word"))
    assert said == []


def test_a_running_consumer_reports_itself(store: Store) -> None:
    broker = a_broker()
    loop, tally = a_loop(broker, store)
    stop = threading.Event()
    runner = threading.Thread(target=loop.run, args=(stop,))
    runner.start()
    pulses: dict[str, bytes] = {}
    while not pulses and runner.is_alive():
        pulses = contents(store, "process")
    stop.set()
    runner.join()
    (pulse,) = [msgspec.json.decode(raw, type=Pulse) for raw in pulses.values()]
    assert (pulse.name, pulse.group, pulse.pid) == ("tally", "group", os.getpid())
    assert len(pulse.partitions) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = stop_on_signals()
        os.kill(os.getpid(), number)
        assert stop.wait(10)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class AmidRebalance(MemorySource):
    """Refuses a commit, as Kafka does while it shares a group out anew."""

    refusals = 1

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        self.refusals -= 1
        return super().commit(positions) if self.refusals < 0 else False


def test_a_refused_commit_is_made_up_for(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker({"events": 1})
    fill(broker, 10)
    tally = Tally(store, ["events"])
    source = broker.source("group", ["events"], AmidRebalance)
    loop = Loop(tally, source, broker.sink(), store, SMALL)
    with caplog.at_level(logging.WARNING):
        assert loop.step(wait_ms=0) == 10
    assert "shared out anew" in caplog.text
    assert (tally.commits, broker.waiting("group")) == (0, 10)
    assert loop.step(wait_ms=0) == 0
    assert (tally.commits, broker.waiting("group")) == (1, 0)
    assert totals(store) == (10, sum(range(10)))


def test_positions_are_put_right_where_nothing_comes_any_more(store: Store) -> None:
    loop, _ = a_loop(a_broker(40), store)
    place = TopicPartition("events", 0)
    key = store.position_keys("group", place.topic, place.partition)[0]
    stop, patience = threading.Event(), time.monotonic() + 20

    def watch() -> None:
        while not stop.wait(0.02) and time.monotonic() < patience:
            if store.get(key) == b"10":
                store.write_plain([Plain(key, b"4", 60_000)])  # a sleeper's last word
                break
        while not stop.wait(0.02) and time.monotonic() < patience:
            if store.get(key) == b"10":
                break
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    loop.run(stop)
    watcher.join()
    assert store.get(key) == b"10"


def test_kafka_knows_all_that_was_read_where_a_consumer_leaves(store: Store) -> None:
    broker = a_broker(100)
    loop, tally = a_loop(broker, store, batch=SMALL.model_copy(update={"commit_ms": 3_600_000}))
    while sum(map(len, tally.batches)) < 100:
        loop.step(wait_ms=0)
    assert broker.waiting("group") > 0
    loop.close()
    assert broker.waiting("group") == 0


def test_kafka_is_told_where_nothing_comes_any_more(store: Store) -> None:
    broker = a_broker(100)
    loop, tally = a_loop(broker, store, batch=SMALL.model_copy(update={"commit_ms": 3_600_000}))
    drain(loop)
    assert broker.waiting("group") == 0
    assert tally.commits == len(tally.batches)


class NoCommits(MemorySource):
    """Refuses as a Kafka that has gone away does."""

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        raise BrokerError("Kafka is away", "")


def test_a_consumer_leaves_well_though_kafka_is_away(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    broker = a_broker(10)
    batch = SMALL.model_copy(update={"commit_ms": 3_600_000})
    source = broker.source("group", ["events"])
    loop = Loop(Tally(store, ["events"]), source, broker.sink(), store, batch)
    loop.step(wait_ms=0)  # told at once, the first time
    fill(broker, 10, start=10)
    loop.step(wait_ms=0)
    source.__class__ = NoCommits
    with caplog.at_level(logging.WARNING):
        loop.close()
    assert "the last positions are not in Kafka" in caplog.text
    assert source.assignment() == frozenset()
