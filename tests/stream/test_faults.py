"""Crashes between any two steps, and a Redis that goes away: the end is always the same."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest
from pydantic import SecretStr

from stream.errors import StoreError
from stream.loop import Loop
from stream.memory import MemoryBroker, MemorySink, MemorySource
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import BatchSettings, RedisSettings
from stream.store import Store
from stream.writes import Plain, Refused, Stamped, Writes
from tests.own_redis import OwnRedis
from tests.stream.conftest import StoreMaker
from tests.stream.tally import Tally, contents

RECORDS = 600
BATCH = BatchSettings(max_records=64, wait_ms=1, commit_ms=0)
SELDOM = BATCH.model_copy(update={"commit_ms": 3_600_000})


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


class Fuse:
    """Crashes when a step of the checkpoint is reached for the n-th time."""

    def __init__(self, step: str, times: int) -> None:
        self._step, self._left = step, times

    def reach(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                raise Crash(step)


class FusedStore(Store):
    fuse: Fuse

    def write_stamped(self, stamped: Sequence[Stamped]) -> list[Refused]:
        refused = super().write_stamped(stamped)
        self.fuse.reach("1 state")
        return refused

    def write_plain(self, plain: Sequence[Plain]) -> None:
        super().write_plain(plain)
        positions = plain and ":position:" in plain[0].key
        self.fuse.reach("4 positions in Redis" if positions else "2 recommendations")


class FusedSink(MemorySink):
    fuse: Fuse

    def flush(self, timeout_s: float = 30.0) -> None:
        self.fuse.reach("3 produced")


class FusedSource(MemorySource):
    fuse: Fuse

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        kept = super().commit(positions)
        self.fuse.reach("5 committed")
        return kept


class FusedTally(Tally):
    fuse: Fuse

    def handle(self, records: Sequence[Record]) -> Writes:
        writes = super().handle(records)
        self.fuse.reach("0 handled")
        return writes


def a_broker() -> MemoryBroker:
    broker = MemoryBroker({"events": 3})
    sink = broker.sink()
    for n in range(RECORDS):
        sink.send(Outgoing("events", b"%d" % n, b"user%d" % (n * n % 41)))
    return broker


def drain(loop: Loop) -> None:
    while loop.step(wait_ms=0):
        pass


def everything(store: Store) -> tuple[dict[str, bytes], dict[str, bytes]]:
    return contents(store, "session"), contents(store, "recs")


def undisturbed(store: Store) -> tuple[dict[str, bytes], dict[str, bytes]]:
    broker = a_broker()
    source = broker.source("group", ["events"])
    drain(Loop(Tally(store, ["events"], "echo"), source, broker.sink(), store, BATCH))
    return everything(store)


STEPS = [
    "0 handled",
    "1 state",
    "2 recommendations",
    "3 produced",
    "4 positions in Redis",
    "5 committed",
]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_after_any_step_changes_nothing(
    another_store: StoreMaker, step: str, times: int
) -> None:
    crashed(another_store, Fuse(step, times), BATCH)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_crash_changes_nothing_where_kafka_was_told_long_ago(
    another_store: StoreMaker, step: str
) -> None:
    crashed(another_store, Fuse(step, 4), SELDOM)


def crashed(another_store: StoreMaker, fuse: Fuse, batch: BatchSettings) -> None:
    """Have a process die, another one go on, and compare."""
    expected = undisturbed(another_store())
    store = another_store()
    fused = FusedStore(store.settings)
    broker = a_broker()
    source = broker.source("group", ["events"], FusedSource)
    sink, tally = FusedSink(broker), FusedTally(fused, ["events"], "echo")
    assert isinstance(source, FusedSource)
    for part in (fused, source, sink, tally):
        part.fuse = fuse
    with pytest.raises(Crash):
        drain(Loop(tally, source, sink, fused, batch))
    source.close()
    fused.close()
    again = broker.source("group", ["events"])
    drain(Loop(Tally(store, ["events"], "echo"), again, broker.sink(), store, batch))
    assert everything(store) == expected
    assert broker.waiting("group") == 0
    assert {one.value for one in broker.records("echo")} == {b"%d" % n for n in range(RECORDS)}


def test_a_zombie_changes_no_state(another_store: StoreMaker) -> None:
    expected = undisturbed(another_store())
    store, broker = another_store(), a_broker()
    # It folds the beginning of the log, is put to sleep, and writes when all is long done.
    zombie = Tally(store, ["events"]).handle(broker.records("events")[:150])
    source = broker.source("group", ["events"])
    drain(Loop(Tally(store, ["events"]), source, broker.sink(), store, BATCH))
    latest = {one.key: one.offset for one in zombie.stamped}
    assert len(store.write_stamped(zombie.stamped)) >= len(zombie.stamped) - len(latest)
    assert everything(store) == expected


def test_a_redis_that_lost_everything_is_filled_again(another_store: StoreMaker) -> None:
    expected = undisturbed(another_store())
    broker, lost, empty = a_broker(), another_store(), another_store()
    first = Loop(
        Tally(lost, ["events"]), broker.source("group", ["events"]), broker.sink(), lost, BATCH
    )
    drain(first)
    first.close()
    second = Loop(
        Tally(empty, ["events"]), broker.source("group", ["events"]), broker.sink(), empty, BATCH
    )
    drain(second)
    assert second.events == RECORDS
    assert everything(empty) == expected


def store_of(redis: OwnRedis, retry_s: float = 60) -> Store:
    return Store(RedisSettings(url=SecretStr(redis.url), retry_s=retry_s))


class StopsRedis(Tally):
    """Has Redis stopped under its feet, and started again a little later."""

    redis: OwnRedis
    at_batch: int
    before_reading: bool
    revive_after_s: float = 0.5

    def handle(self, records: Sequence[Record]) -> Writes:
        due = len(self.batches) == self.at_batch
        if due and self.before_reading:
            self._outage()
        writes = super().handle(records)
        if due and not self.before_reading:
            self._outage()
        return writes

    def _outage(self) -> None:
        self.redis.stop()
        self.reviver = threading.Timer(self.revive_after_s, self.redis.start)
        self.reviver.start()


def a_loop_with_outage(
    own_redis: OwnRedis, broker: MemoryBroker, *, before_reading: bool
) -> tuple[Loop, StopsRedis]:
    store = store_of(own_redis)
    tally = StopsRedis(store, ["events"], "echo")
    tally.redis, tally.at_batch, tally.before_reading = own_redis, 2, before_reading
    source = broker.source("group", ["events"])
    return Loop(tally, source, broker.sink(), store, BATCH), tally


@pytest.mark.parametrize("before_reading", [True, False], ids=["while reading", "while writing"])
def test_an_outage_of_redis_is_waited_out(
    another_store: StoreMaker, own_redis: OwnRedis, before_reading: bool
) -> None:
    expected = undisturbed(another_store())
    broker = a_broker()
    loop, tally = a_loop_with_outage(own_redis, broker, before_reading=before_reading)
    while broker.waiting("group"):
        loop.step(wait_ms=0)
    tally.reviver.join()
    found = everything(loop.store)
    assert found == expected
    assert loop.events == RECORDS
    assert len(tally.dropped) == 3  # a restarted Redis may have lost something: memory goes
    loop.store.close()


def test_a_redis_that_loses_its_tail_under_a_running_consumer_is_filled_again(
    another_store: StoreMaker, own_redis: OwnRedis
) -> None:
    expected = undisturbed(another_store())
    broker, store, dump = a_broker(), store_of(own_redis), own_redis.home / "dump.rdb"
    source = broker.source("group", ["events"])
    loop = Loop(Tally(store, ["events"], "echo"), source, broker.sink(), store, BATCH)
    for _ in range(3):
        assert loop.step(wait_ms=0)
    own_redis.stop()  # which writes its data
    older = dump.read_bytes()
    own_redis.start()
    while loop.events < 6 * 64:
        loop.step(wait_ms=0)
    own_redis.stop()
    dump.write_bytes(older)
    own_redis.start()
    loop.step(wait_ms=0)
    assert broker.waiting("group") > 0  # what comes next is not all that is missing
    while broker.waiting("group") or loop.step(wait_ms=0):
        loop.step(wait_ms=0)
    assert everything(store) == expected
    store.close()


def test_partitions_lost_in_an_outage_are_let_go_and_nothing_is_lost(
    another_store: StoreMaker, own_redis: OwnRedis
) -> None:
    expected = undisturbed(another_store())
    broker = a_broker()
    loop, _ = a_loop_with_outage(own_redis, broker, before_reading=False)
    other = store_of(own_redis)

    class Joins(StopsRedis):
        def _outage(self) -> None:
            super()._outage()
            self.second = broker.source("group", ["events"])

    joining = Joins(loop.store, ["events"], "echo")
    joining.redis, joining.at_batch, joining.before_reading = own_redis, 2, False
    loop.handler = joining
    while not joining.dropped:
        loop.step(wait_ms=0)
    joining.reviver.join()
    assert len(joining.dropped) == 3  # the batch was given up: all of its memory went
    second = Loop(Tally(other, ["events"], "echo"), joining.second, broker.sink(), other, BATCH)
    while loop.step(wait_ms=0) + second.step(wait_ms=0) or broker.waiting("group"):
        pass
    assert everything(other) == expected
    assert broker.waiting("group") == 0
    other.close()
    loop.store.close()


def test_a_stop_in_an_outage_is_heeded_and_nothing_is_committed(own_redis: OwnRedis) -> None:
    broker = a_broker()
    store = store_of(own_redis)
    stop = threading.Event()

    class Stops(Tally):
        def handle(self, records: Sequence[Record]) -> Writes:
            own_redis.stop()
            threading.Timer(0.2, stop.set).start()
            return super().handle(records)

    source = broker.source("group", ["events"])
    Loop(Stops(store, ["events"]), source, broker.sink(), store, BATCH).run(stop)
    assert broker.waiting("group") == RECORDS
    store.close()


def test_an_outage_that_outlasts_the_patience_ends_the_consumer(own_redis: OwnRedis) -> None:
    broker = a_broker()
    store = store_of(own_redis, retry_s=0.3)

    class Breaks(Tally):
        def handle(self, records: Sequence[Record]) -> Writes:
            own_redis.stop()
            return super().handle(records)

    source = broker.source("group", ["events"])
    loop = Loop(Breaks(store, ["events"]), source, broker.sink(), store, BATCH)
    with pytest.raises(StoreError, match=r"redis\.sock"):
        loop.run(threading.Event())
    assert broker.waiting("group") == RECORDS
    store.close()


def test_that_redis_is_away_is_told_once_each_time(
    own_redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(RedisSettings(url=SecretStr(own_redis.url)), retry_s=0.3)
    for outage in (1, 2):
        own_redis.stop()
        for _ in range(3):
            with pytest.raises(StoreError):
                store.get("any")
        assert sum("waiting for it" in line for line in caplog.messages) == outage
        own_redis.start()
        assert store.get("any") is None
    store.close()
