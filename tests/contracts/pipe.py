"""What every transport must do: one suite, run on the in-process broker and on Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from stream.partition import partition_of
from stream.records import Outgoing, Record, Sink, Source, TopicPartition

PARTITIONS = 4
PATIENCE_S = 60.0


class Pipe:
    """A transport under test: one topic of four partitions and one group."""

    def __init__(
        self, topic: str, new_source: Callable[[], Source], new_sink: Callable[[], Sink]
    ) -> None:
        self.topic = topic
        self._new_source, self._new_sink = new_source, new_sink
        self._open: list[Source | Sink] = []
        self._told: dict[int, list[tuple[str, frozenset[TopicPartition]]]] = {}

    def sink(self) -> Sink:
        sink = self._new_sink()
        self._open.append(sink)
        return sink

    def source(self) -> Source:
        source = self._new_source()
        told = self._told.setdefault(id(source), [])
        source.listen(
            lambda places: told.append(("gained", frozenset(places))),
            lambda places: told.append(("lost", frozenset(places))),
        )
        self._open.append(source)
        return source

    def told(self, source: Source) -> list[tuple[str, frozenset[TopicPartition]]]:
        return self._told[id(source)]

    def joined(self) -> Source:
        """Return a source that owns all partitions and reads them."""
        source = self.source()
        self.until(lambda: len(source.assignment()) == PARTITIONS, source)
        source.resume(source.assignment())
        return source

    def until(self, done: Callable[[], bool], *sources: Source) -> None:
        """Poll the sources until it is done; what they read is dropped."""
        self.read(sources, done)

    def read(self, sources: Sequence[Source], done: Callable[[], bool]) -> list[Record]:
        records: list[Record] = []
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, "the pipe did not get there"
            for source in sources:
                records += source.poll(100, 20)
        return records

    def take(self, source: Source, count: int) -> list[Record]:
        """Read until ``count`` records came."""
        records: list[Record] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(records) < count:
            assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
            records += source.poll(100, 50)
        return records

    def commit(self, source: Source, positions: dict[TopicPartition, int]) -> None:
        """Commit; a group that is just being shared out anew refuses at first."""
        deadline = time.monotonic() + PATIENCE_S
        while not source.commit(positions):
            assert time.monotonic() < deadline, "the group never took the commit"
            source.poll(1, 20)

    def send(self, values: Sequence[bytes], key: Callable[[bytes], bytes] = lambda v: v) -> None:
        sink = self.sink()
        for value in values:
            sink.send(Outgoing(self.topic, value, key(value)))
        sink.flush()

    def place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def close(self) -> None:
        for one in self._open:
            one.close()


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % n for n in range(start, start + count)]


class PipeContract:
    """Subclass it and give a fixture ``pipe``."""

    def test_all_records_come_once_with_their_parts(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        sink.send(Outgoing(pipe.topic, b"\x00\xff", b"k", None, (("why", b"\xfe"),)))
        sink.flush()
        (record,) = pipe.take(pipe.joined(), 1)
        assert (record.topic, record.key, record.value) == (pipe.topic, b"k", b"\x00\xff")
        assert list(record.headers) == [("why", b"\xfe")]
        assert record.place == pipe.place(partition_of(b"k", PARTITIONS))
        assert record.offset == 0

    def test_keys_choose_partitions_as_kafka_does(self, pipe: Pipe) -> None:
        pipe.send(numbers(200))
        for record in pipe.take(pipe.joined(), 200):
            assert record.partition == partition_of(record.value, PARTITIONS)

    def test_a_named_partition_wins_over_the_key(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        for number in range(PARTITIONS):
            sink.send(Outgoing(pipe.topic, b"%d" % number, b"same", number))
        sink.flush()
        records = pipe.take(pipe.joined(), PARTITIONS)
        assert all(int(record.value) == record.partition for record in records)

    def test_order_holds_within_a_partition(self, pipe: Pipe) -> None:
        pipe.send(numbers(300), key=lambda value: b"one")
        records = pipe.take(pipe.joined(), 300)
        assert [record.value for record in records] == numbers(300)
        assert [record.offset for record in records] == list(range(300))

    def test_a_poll_returns_no_more_than_asked(self, pipe: Pipe) -> None:
        pipe.send(numbers(50))
        source = pipe.joined()
        seen = 0
        while seen < 50:
            records = source.poll(7, 50)
            assert len(records) <= 7
            seen += len(records)

    def test_gained_partitions_are_told_and_come_paused(self, pipe: Pipe) -> None:
        pipe.send(numbers(20))
        source = pipe.source()
        read = pipe.read([source], lambda: len(source.assignment()) == PARTITIONS)
        read += source.poll(100, 200)
        assert read == []
        gained = frozenset[TopicPartition]().union(
            *(places for what, places in pipe.told(source) if what == "gained")
        )
        assert gained == source.assignment()
        source.resume(gained)
        assert len(pipe.take(source, 20)) == 20

    def test_paused_partitions_give_nothing_and_lose_nothing(self, pipe: Pipe) -> None:
        source = pipe.joined()
        held = pipe.place(partition_of(b"held", PARTITIONS))
        source.pause([held])
        pipe.send(numbers(5), key=lambda value: b"held")
        assert source.poll(100, 300) == []
        source.resume([held])
        assert [record.value for record in pipe.take(source, 5)] == numbers(5)

    def test_seek_reads_again_and_skips(self, pipe: Pipe) -> None:
        pipe.send(numbers(10), key=lambda value: b"one")
        place = pipe.place(partition_of(b"one", PARTITIONS))
        source = pipe.joined()
        pipe.take(source, 10)
        source.seek(place, 7)
        assert [record.offset for record in pipe.take(source, 3)] == [7, 8, 9]

    def test_beginning_and_end_bound_the_log(self, pipe: Pipe) -> None:
        pipe.send(numbers(10), key=lambda value: b"one")
        number = partition_of(b"one", PARTITIONS)
        source = pipe.joined()
        assert (source.beginning(pipe.place(number)), source.end(pipe.place(number))) == (0, 10)
        empty = pipe.place((number + 1) % PARTITIONS)
        assert (source.beginning(empty), source.end(empty)) == (0, 0)

    def test_commits_outlive_a_member(self, pipe: Pipe) -> None:
        pipe.send(numbers(10), key=lambda value: b"one")
        place = pipe.place(partition_of(b"one", PARTITIONS))
        first = pipe.joined()
        assert first.committed(place) is None
        pipe.take(first, 10)
        pipe.commit(first, {place: 6})
        first.close()
        second = pipe.joined()
        assert second.committed(place) == 6
        second.seek(place, 6)
        assert [record.offset for record in pipe.take(second, 4)] == [6, 7, 8, 9]

    def test_what_was_read_is_not_committed_by_leaving(self, pipe: Pipe) -> None:
        pipe.send(numbers(10), key=lambda value: b"one")
        first = pipe.joined()
        pipe.take(first, 10)
        first.close()
        assert len(pipe.take(pipe.joined(), 10)) == 10

    def test_lag_counts_what_waits(self, pipe: Pipe) -> None:
        pipe.send(numbers(10), key=lambda value: b"one")
        source = pipe.joined()
        source.poll(4, 2000)
        pipe.until(lambda: not sum(source.lags().values()), source)
        lags = source.lags()
        assert lags and set(lags) <= source.assignment()
        assert set(lags.values()) == {0}

    def test_two_members_share_and_a_leaver_gives_back(self, pipe: Pipe) -> None:
        first = pipe.joined()
        second = pipe.source()
        pipe.until(
            lambda: len(first.assignment()) == 2 and len(second.assignment()) == 2, first, second
        )
        assert not first.assignment() & second.assignment()
        assert any(what == "lost" for what, _ in pipe.told(first))
        second.close()
        pipe.until(lambda: len(first.assignment()) == PARTITIONS, first)
        first.resume(first.assignment())
        pipe.send(numbers(40))
        assert len(pipe.take(first, 40)) == 40
