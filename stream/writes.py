"""What a handler wants written: plain values, carried out by a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from stream.records import Outgoing

__all__ = ["Plain", "Refused", "Stamped", "Writes", "stamp_head"]

STAMP_BYTES: Final = 96
"""The stamp ends within this many bytes, whatever its numbers are."""


def stamp_head(partition: int, offset: int) -> bytes:
    """Return how every stamped value begins.

    Examples
    --------
    >>> stamp_head(3, 41)
    b'{"as_of":{"partition":3,"offset":41'
    """
    return b'{"as_of":{"partition":%d,"offset":%d' % (partition, offset)


class Stamped(Struct, frozen=True, gc=False):
    """A value that must not replace a newer one of the same partition.

    ``value`` is a JSON object that begins with :func:`stamp_head` of the last
    record folded into it. Readers in other languages see ``as_of`` first.

    Of a batch those of a lower ``turn`` are written before those of a higher one, also
    where they lie on different nodes of a cluster. Give each as low a turn as will do: on a
    cluster every turn is a round trip. On one server the order of the list is kept, which
    must not contradict.
    """

    key: str
    value: bytes
    partition: int
    offset: int
    ttl_ms: int
    turn: int = 0


class Plain(Struct, frozen=True, gc=False):
    """A value that the last writer wins; ``None`` deletes the key."""

    key: str
    value: bytes | None
    ttl_ms: int = 0


class Refused(Struct, frozen=True, gc=False):
    """A stamped write that came too late: ``present`` is the offset already there."""

    key: str
    offset: int
    present: int


@dataclass(slots=True)
class Writes:
    """Everything one batch changes, in the order in which it is written.

    Attributes
    ----------
    stamped
        State, and whatever else must not go back in time; in list order, on a cluster turn
        by turn.
    plain
        Values without a stamp; in list order.
    changes
        Entries for the feed of changed items.
    produced
        Records for Kafka, flushed before anything else is written.
    ahead
        How many of those, the first ones, were sent already.
    """

    stamped: list[Stamped] = field(default_factory=list)
    plain: list[Plain] = field(default_factory=list)
    changes: list[bytes] = field(default_factory=list)
    produced: list[Outgoing] = field(default_factory=list)
    ahead: int = 0

    def add(self, others: Sequence[Writes]) -> None:
        """Append what the others hold, in order."""
        for other in others:
            self.stamped += other.stamped
            self.plain += other.plain
            self.changes += other.changes
            self.produced += other.produced
