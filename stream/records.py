"""What travels through the pipe, and the two protocols every transport keeps.

:mod:`stream.kafka` speaks them to a broker, :mod:`stream.memory` within the
process; ``tests/contracts`` holds both to the same suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

__all__ = ["Headers", "Listener", "Outgoing", "Record", "Sink", "Source", "TopicPartition"]

Headers = Sequence[tuple[str, bytes]]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(Struct, frozen=True, gc=False):
    """One record as it was read; ``timestamp`` is the broker's, in epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp: int = 0
    headers: Headers = ()

    @property
    def place(self) -> TopicPartition:
        """The partition it was read from."""
        return TopicPartition(self.topic, self.partition)


class Outgoing(Struct, frozen=True, gc=False):
    """One record to be sent; without a partition its key chooses (murmur2, as in Java)."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    headers: Headers = ()


Listener = Callable[[Sequence[TopicPartition]], None]
"""Called with the partitions that were gained or lost."""


class Source(Protocol):
    """Reads records as one member of a consumer group.

    Everything is called from one thread. Offsets are always *next to read*:
    the classic mistake is to commit the offset of the last record read.
    """

    @property
    def group(self) -> str:
        """The consumer group's name."""
        ...

    def listen(self, on_assigned: Listener, on_revoked: Listener) -> None:
        """Name who is told of gained and lost partitions, from within :meth:`poll`.

        Gained partitions come paused: nothing of them is read before they
        are resumed. ``on_revoked`` runs while the group still waits for this
        member, where the transport allows it. Neither may call the source's
        :meth:`poll` or :meth:`commit`.
        """
        ...

    def poll(self, max_records: int, wait_ms: int) -> list[Record]:
        """Return up to ``max_records``, in order within a partition; [] after ``wait_ms``.

        Must be called often (at least every few seconds): it also keeps the
        membership of the group alive.
        """
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this member owns now."""
        ...

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Read ``offset`` next."""
        ...

    def pause(self, places: Iterable[TopicPartition]) -> None:
        """Read nothing of these partitions until they are resumed."""
        ...

    def resume(self, places: Iterable[TopicPartition]) -> None:
        """Read these partitions again."""
        ...

    def committed(self, place: TopicPartition) -> int | None:
        """Return the group's committed next-to-read offset, None where there is none."""
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Commit next-to-read offsets and wait until the broker has them.

        Returns
        -------
        bool
            False where the group no longer counts this member in: another
            one will read these records again.

        Raises
        ------
        BrokerError
            The broker cannot be reached or refuses.
        """
        ...

    def beginning(self, place: TopicPartition) -> int:
        """Return the offset of the oldest record still kept."""
        ...

    def end(self, place: TopicPartition) -> int:
        """Return the offset the next record sent will get."""
        ...

    def lags(self) -> Mapping[TopicPartition, int]:
        """Return how many records of each of its partitions wait unread, where it is known."""
        ...

    def close(self) -> None:
        """Leave the group; nothing is committed by it."""
        ...


class Sink(Protocol):
    """Sends records; what was sent is only sure after :meth:`flush`."""

    def send(self, record: Outgoing) -> None:
        """Hand a record over; does not wait for the broker."""
        ...

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything sent is stored.

        Raises
        ------
        BrokerError
            A record was refused, or the time is up.
        """
        ...

    def close(self) -> None:
        """Flush and end."""
        ...
