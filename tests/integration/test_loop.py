"""The loop on a real Kafka and a real Redis: members come, go and are killed; any bytes come in."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import pytest

from stream.deadletters import dead_letter
from stream.events import BadRecord, decode
from stream.kafka import KafkaSink, KafkaSource
from stream.loop import Loop
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import BatchSettings, KafkaSettings
from stream.store import Store
from stream.topics import ensure_topics, group_lag
from stream.writes import Writes
from tests.stream.tally import Tally, contents

SMALL = BatchSettings(max_records=64)
PATIENCE_S = 90.0

CHILD = """
import sys

import msgspec

from stream.kafka import KafkaSink, KafkaSource
from stream.loop import Loop, stop_on_signals
from stream.settings import BatchSettings, KafkaSettings, RedisSettings
from stream.store import Store
from tests.stream.tally import Tally

options = msgspec.json.decode(sys.argv[1])
kafka = KafkaSettings(**options["kafka"])
store = Store(RedisSettings(**options["redis"]))
source = KafkaSource(kafka, [kafka.events], kafka.group)
batch = BatchSettings(max_records=64)
Loop(Tally(store, [kafka.events]), source, KafkaSink(kafka), store, batch).run(stop_on_signals())
"""


class Member:
    """A consumer in a process of its own."""

    def __init__(self, kafka: KafkaSettings, store: Store) -> None:
        redis = {"url": store.settings.url.get_secret_value(), "prefix": store.settings.prefix}
        options = {"kafka": kafka.model_dump(exclude_none=True), "redis": redis}
        argument = msgspec.json.encode(options).decode()
        self._process = subprocess.Popen([sys.executable, "-c", CHILD, argument], env=os.environ)

    def runs(self, store: Store) -> bool:
        """Return whether it has reported itself, and so heeds signals."""
        pulses = [msgspec.json.decode(raw) for raw in contents(store, "process").values()]
        return self._process.pid in {pulse["pid"] for pulse in pulses}

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)


def publish(kafka: KafkaSettings, numbers: range) -> None:
    sink = KafkaSink(kafka)
    for n in numbers:
        sink.send(Outgoing(kafka.events, b"%d" % n, b"user%d" % (n % 97)))
    sink.flush()
    sink.close()


def totals(store: Store) -> tuple[int, int]:
    states = [msgspec.json.decode(raw) for raw in contents(store, "session").values()]
    return sum(one["count"] for one in states), sum(one["total"] for one in states)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, "it did not get there"
        time.sleep(0.1)  # the processes under test need the cores


def test_members_that_come_go_and_die_count_every_record_once(
    kafka_settings: KafkaSettings, store: Store
) -> None:
    ensure_topics(kafka_settings)
    publish(kafka_settings, range(2000))
    first, second = (Member(kafka_settings, store) for _ in range(2))
    wait_until(lambda: totals(store)[0] > 100)
    first.end(signal.SIGKILL)
    publish(kafka_settings, range(2000, 4000))
    third = Member(kafka_settings, store)
    wait_until(lambda: totals(store)[0] == 4000)
    assert totals(store) == (4000, sum(range(4000)))
    wait_until(lambda: second.runs(store) and third.runs(store))
    assert (second.end(signal.SIGTERM), third.end(signal.SIGTERM)) == (0, 0)
    left = group_lag(kafka_settings, kafka_settings.group, [kafka_settings.events])
    assert sum(one.lag for one in left) == 0


class Decodes:
    """Sends what is no event to the dead letters."""

    name = "decodes"

    def __init__(self, kafka: KafkaSettings) -> None:
        self.topics = (kafka.events,)
        self.good = 0
        self._deadletters = kafka.deadletters

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def committed(self) -> None:
        pass

    def handle(self, records: Sequence[Record]) -> Writes:
        writes = Writes()
        for record in records:
            event = decode(record.value)
            if isinstance(event, BadRecord):
                writes.produced.append(dead_letter(event, record, self._deadletters))
            else:
                self.good += 1
        return writes


def a_mixture(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    good = b'{"event":"search","timestamp":1,"user":"u","query":"tea"}'
    noise = [chance.randbytes(chance.randrange(300)) for _ in range(300)]
    broken = [good[: chance.randrange(len(good))] for _ in range(100)]
    mixture = [*noise, *broken, b"", b"null", b"[" * 100_000, *[good] * 100]
    chance.shuffle(mixture)
    return mixture


def drain(loop: Loop, kafka: KafkaSettings) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum(one.lag for one in group_lag(kafka, kafka.group, [kafka.events])):
        assert time.monotonic() < deadline, "the loop did not get there"
        while loop.step(wait_ms=300):
            pass


def test_any_bytes_go_through_and_what_is_no_event_ends_as_a_dead_letter(
    kafka_settings: KafkaSettings, store: Store
) -> None:
    ensure_topics(kafka_settings)
    mixture = a_mixture(7)
    sink = KafkaSink(kafka_settings)
    for n, raw in enumerate(mixture):
        sink.send(Outgoing(kafka_settings.events, raw, b"%d" % n))
    sink.flush()
    source = KafkaSource(kafka_settings, [kafka_settings.events], kafka_settings.group)
    handler = Decodes(kafka_settings)
    loop = Loop(handler, source, sink, store, SMALL)
    drain(loop, kafka_settings)
    loop.close()
    assert handler.good == 100
    letters = read_all(kafka_settings, kafka_settings.deadletters)
    bad = sorted(raw for raw in mixture if isinstance(decode(raw), BadRecord))
    assert sorted(one.value for one in letters) == bad
    assert len({_origin(one) for one in letters}) == len(bad)


def _origin(letter: Record) -> tuple[bytes, bytes]:
    headers = dict(letter.headers)
    return headers["partition"], headers["offset"]


def read_all(kafka: KafkaSettings, topic: str) -> list[Record]:
    source = KafkaSource(kafka, [topic], f"{kafka.group}.reader")
    deadline = time.monotonic() + PATIENCE_S
    while len(source.assignment()) < kafka.partitions:
        assert time.monotonic() < deadline, "the reader got no partitions"
        source.poll(1, 100)
    source.resume(source.assignment())
    expected = sum(source.end(place) for place in source.assignment())
    records: list[Record] = []
    while len(records) < expected:
        assert time.monotonic() < deadline, f"{len(records)} of {expected} records came"
        records += source.poll(500, 100)
    source.close()
    return records


@pytest.mark.parametrize("cut", [0, 100])
def test_a_running_loop_stops_clean(kafka_settings: KafkaSettings, store: Store, cut: int) -> None:
    ensure_topics(kafka_settings)
    publish(kafka_settings, range(1000))
    source = KafkaSource(kafka_settings, [kafka_settings.events], kafka_settings.group)
    tally = Tally(store, [kafka_settings.events])
    batch = BatchSettings(max_records=64, cut=cut)
    loop = Loop(tally, source, KafkaSink(kafka_settings), store, batch)
    stop = threading.Event()
    runner = threading.Thread(target=loop.run, args=(stop,))
    runner.start()
    wait_until(lambda: totals(store)[0] == 1000)
    stop.set()
    runner.join()
    left = group_lag(kafka_settings, kafka_settings.group, [kafka_settings.events])
    assert sum(one.lag for one in left) == 0
    if cut:
        assert all(offsets[0] % cut == 0 for offsets in tally.batches)
