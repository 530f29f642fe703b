"""A broker within the process: replays and tests run on it.

It keeps the contract of Kafka that the engine relies on: partitions chosen by
key, offsets from 0, consumer groups whose partitions move when members come
and go, commits that outlive a member. It is a double that ships with the
product; no test needs a mock.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from stream.clock import Clock
from stream.partition import partition_of
from stream.records import Listener, Outgoing, Record, TopicPartition

__all__ = ["Aborted", "Mark", "MemoryBroker", "MemorySink", "MemorySource"]

TRIM_AT = 4096
"""Records are dropped this many at a time: cutting a list's head costs its length."""


class Aborted(Exception):  # noqa: N818 - the test's crash, not an error of ours
    """A source has reached an ABORT mark: the crash a test asked for."""


class Mark(enum.Enum):
    """What a source meets at a marked offset, once.

    ``ABORT`` raises :class:`Aborted` from the poll that would read it;
    ``PAUSE`` ends the poll before it, so that a batch ends there.
    """

    ABORT = "abort"
    PAUSE = "pause"


class _Log:
    """One partition: its records, and the offset of the oldest one kept."""

    __slots__ = ("base", "marks", "records")

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self.records: list[Record] = []
        self.marks: dict[int, Mark] = {}

    @property
    def end(self) -> int:
        return self.base + len(self.records)


class _Group:
    """A consumer group: who is in it, who owns what, what is committed."""

    def __init__(self) -> None:
        self.members: list[MemorySource] = []
        self.owners: dict[TopicPartition, MemorySource] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.topics: set[str] = set()


class MemoryBroker:
    """Topics as lists of records, shared by the sources and sinks it makes.

    Parameters
    ----------
    partitions
        Topic -> number of partitions; other topics get ``default`` of them.
    keep
        False drops records below the lowest offset that the groups of their
        topic have committed: bounded memory for a long replay.
    begin
        Offset of the first record of a partition, where that is not 0: state that was kept
        knows the offsets before.
    clock
        Stamps records that are sent without a time; None leaves theirs 0, as replays want it.

    Examples
    --------
    >>> broker = MemoryBroker({"events": 2})
    >>> broker.sink().send(Outgoing("events", b"{}", key=b"alice"))
    >>> source = broker.source("readers", ["events"])
    >>> source.poll(10, 0)  # gained partitions come paused
    []
    >>> source.resume(source.assignment())
    >>> [record.value for record in source.poll(10, 0)]
    [b'{}']
    """

    def __init__(
        self,
        partitions: Mapping[str, int] | None = None,
        *,
        default: int = 1,
        keep: bool = True,
        begin: Mapping[TopicPartition, int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._default = default
        self._keep = keep
        self._clock = clock
        self._logs: dict[str, list[_Log]] = {}
        self._groups: dict[str, _Group] = {}
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._waiting = 0
        for topic, count in (partitions or {}).items():
            places = [TopicPartition(topic, number) for number in range(count)]
            self._logs[topic] = [_Log((begin or {}).get(place, 0)) for place in places]

    def source(
        self, group: str, topics: Sequence[str], kind: type[MemorySource] | None = None
    ) -> MemorySource:
        """Return a new member of the group, reading these topics.

        Tests may ask for a ``kind`` of their own, one that fails at a certain moment.
        """
        with self._lock:
            known = self._groups.setdefault(group, _Group())
            known.topics.update(topics)
            member = (kind or MemorySource)(self, known, group, topics)
            known.members.append(member)
            return member

    def sink(self) -> MemorySink:
        """Return a sink to every topic."""
        return MemorySink(self)

    def mark(self, topic: str, mark: Mark, partition: int = 0) -> None:
        """Put a mark after what the partition holds now."""
        log = self._topic(topic)[partition]
        log.marks[log.end] = mark

    def records(self, topic: str) -> list[Record]:
        """Return what a topic holds, partition after partition."""
        with self._lock:
            return [record for log in self._topic(topic) for record in log.records]

    def waiting(self, group: str) -> int:
        """Return how many records the group has not committed yet."""
        known = self._groups.get(group)
        if known is None:
            return 0
        return sum(
            log.end - max(log.base, known.committed.get(place, 0))
            for topic in known.topics
            for place, log in self._places(topic)
        )

    def _topic(self, topic: str) -> list[_Log]:
        logs = self._logs.get(topic)
        if logs is None:
            logs = self._logs[topic] = [_Log() for _ in range(self._default)]
        return logs

    def _places(self, topic: str) -> list[tuple[TopicPartition, _Log]]:
        logs = enumerate(self._topic(topic))
        return [(TopicPartition(topic, number), log) for number, log in logs]

    def _append(self, out: Outgoing, timestamp: int) -> None:
        topic = out.topic
        logs = self._logs.get(topic) or self._topic(topic)
        number = out.partition
        if number is None:
            number = self._choose(out.key, logs)
        log = logs[number]
        records = log.records
        if not timestamp and self._clock is not None:
            timestamp = self._clock.now_ms()
        with self._lock:
            offset = log.base + len(records)
            records.append(
                Record(topic, number, offset, out.key, out.value, timestamp, out.headers)
            )
            if self._waiting:
                self._arrived.notify_all()

    def _choose(self, key: bytes | None, logs: list[_Log]) -> int:
        if key is not None:
            return partition_of(key, len(logs))
        # Kafka deals keyless records out at random; a replay must not.
        return sum(log.end for log in logs) % len(logs)

    def _trim(self, topic: str) -> None:
        groups = [group for group in self._groups.values() if topic in group.topics]
        for place, log in self._places(topic):
            lowest = min((group.committed.get(place, 0) for group in groups), default=0)
            if lowest - log.base >= TRIM_AT:
                del log.records[: lowest - log.base]
                log.base = lowest


class MemorySink:
    """Appends to the broker's topics at once."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def send(self, record: Outgoing, timestamp: int = 0) -> None:
        """Append a record; ``timestamp`` is what a broker would stamp it with."""
        self._broker._append(record, timestamp)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Do nothing: what was sent is stored."""

    def close(self) -> None:
        """Do nothing."""


class MemorySource:
    """One member of a group; made by :meth:`MemoryBroker.source`."""

    def __init__(
        self, broker: MemoryBroker, group: _Group, name: str, topics: Sequence[str]
    ) -> None:
        self.group = name
        self.topics = tuple(topics)
        self._broker = broker
        self._group = group
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._turn = 0
        self._on_assigned: Listener = lambda places: None
        self._on_revoked: Listener = lambda places: None

    def listen(self, on_assigned: Listener, on_revoked: Listener) -> None:
        """Name who is told of gained and lost partitions; see :class:`stream.records.Source`."""
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    def poll(self, max_records: int, wait_ms: int) -> list[Record]:
        """Return up to ``max_records``; see :class:`stream.records.Source`."""
        self._rebalance()
        records = self._take(max_records)
        if records or wait_ms <= 0:
            return records
        deadline = time.monotonic() + wait_ms / 1000
        broker = self._broker
        with broker._lock:
            broker._waiting += 1
            while not (records := self._take(max_records)):
                left = deadline - time.monotonic()
                if left <= 0 or not broker._arrived.wait(left):
                    break
            broker._waiting -= 1
        return records

    def _rebalance(self) -> None:
        """Give up what others are due, take what is due and free: nobody owns a thing twice."""
        with self._broker._lock:
            due = self._due()
            lost = [place for place in self._positions if place not in due]
            owners = self._group.owners
            gained = [place for place in due if owners.get(place) is None]
            if lost:
                self._on_revoked(lost)
                for place in lost:
                    del self._positions[place], owners[place]
                    self._paused.discard(place)
            if gained:
                for place in gained:
                    owners[place] = self
                    start = self._group.committed.get(place)
                    self._positions[place] = self.beginning(place) if start is None else start
                self._paused.update(gained)
                self._on_assigned(gained)

    def _due(self) -> list[TopicPartition]:
        """Return this member's share: every n-th partition of each topic it reads."""
        mine: list[TopicPartition] = []
        for topic in self.topics:
            readers = [one for one in self._group.members if topic in one.topics]
            if self in readers:
                places = [place for place, _ in self._broker._places(topic)]
                mine += places[readers.index(self) :: len(readers)]
        return mine

    def _take(self, most: int) -> list[Record]:
        open_places = [place for place in self._positions if place not in self._paused]
        records: list[Record] = []
        for step in range(len(open_places)):
            place = open_places[(self._turn + step) % len(open_places)]
            records += self._take_from(place, most - len(records))
            if len(records) >= most:
                break
        # The next poll begins with the next partition, so that none starves.
        self._turn += 1
        return records

    def _take_from(self, place: TopicPartition, most: int) -> list[Record]:
        log = self._broker._logs[place.topic][place.partition]
        position = max(self._positions[place], log.base)
        until = min(position + most, log.end)
        if log.marks:
            until = self._mind_marks(log, position, until)
        self._positions[place] = until
        return log.records[position - log.base : until - log.base]

    def _mind_marks(self, log: _Log, position: int, until: int) -> int:
        ahead = [at for at in sorted(log.marks) if position <= at <= until]
        if not ahead:
            return until
        if log.marks[ahead[0]] is Mark.ABORT:
            if ahead[0] > position:
                return ahead[0]
            del log.marks[position]
            raise Aborted(f"abort mark at offset {position}")
        del log.marks[ahead[0]]
        return ahead[0]

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this member owns now."""
        return frozenset(self._positions)

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Read ``offset`` next."""
        self._positions[place] = offset

    def pause(self, places: Iterable[TopicPartition]) -> None:
        """Read nothing of these until they are resumed."""
        self._paused.update(places)

    def resume(self, places: Iterable[TopicPartition]) -> None:
        """Read these again."""
        self._paused.difference_update(places)

    def committed(self, place: TopicPartition) -> int | None:
        """Return the group's committed offset, None where there is none."""
        return self._group.committed.get(place)

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Commit next-to-read offsets; False where a partition is no longer this member's."""
        with self._broker._lock:
            if any(self._group.owners.get(place) is not self for place in positions):
                return False
            self._group.committed.update(positions)
            if not self._broker._keep:
                for topic in {place.topic for place in positions}:
                    self._broker._trim(topic)
            return True

    def beginning(self, place: TopicPartition) -> int:
        """Return the offset of the oldest record kept."""
        return self._broker._topic(place.topic)[place.partition].base

    def end(self, place: TopicPartition) -> int:
        """Return the offset the next record will get."""
        return self._broker._topic(place.topic)[place.partition].end

    def lags(self) -> dict[TopicPartition, int]:
        """Return how many records wait unread in each of its partitions."""
        return {place: self.end(place) - at for place, at in self._positions.items()}

    def close(self) -> None:
        """Leave the group; its partitions are free at once."""
        with self._broker._lock:
            if self in self._group.members:
                self._group.members.remove(self)
            for place in self._positions:
                del self._group.owners[place]
            self._positions.clear()
