"""Batches cut at fixed offsets, so that two runs over one log cut alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stream.records import Record, TopicPartition

__all__ = ["Cutter"]


class Cutter:
    """Collects records until a batch is whole: all of one partition up to the next cut.

    Parameters
    ----------
    every
        Batches end before each multiple of this offset.

    Examples
    --------
    >>> cutter = Cutter(2)
    >>> cutter.add([Record("t", 0, offset, None, b"") for offset in range(3)])
    >>> [record.offset for record in cutter.take()]
    [0, 1]
    >>> cutter.take()
    []
    >>> [record.offset for record in cutter.take(lambda place, following: following == 3)]
    [2]
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._waiting: dict[TopicPartition, list[Record]] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Take records in, in order within a partition."""
        for record in records:
            self._waiting.setdefault(record.place, []).append(record)

    def take(self, ended: Callable[[TopicPartition, int], bool] | None = None) -> list[Record]:
        """Return one whole batch, [] where there is none.

        Parameters
        ----------
        ended
            Says whether a partition has no record from this offset on; its
            last batch then counts as whole.
        """
        # Oldest first, so that partitions advance together whatever a poll brought.
        for place in sorted(self._waiting, key=lambda one: (self._waiting[one][0].offset, one)):
            records = self._waiting[place]
            limit = (records[0].offset // self._every + 1) * self._every
            last = records[-1].offset
            if last >= limit - 1 or (ended is not None and ended(place, last + 1)):
                batch = [record for record in records if record.offset < limit]
                self._keep(place, records[len(batch) :])
                return batch
        return []

    def _keep(self, place: TopicPartition, rest: list[Record]) -> None:
        if rest:
            self._waiting[place] = rest
        else:
            del self._waiting[place]

    def forget(self, places: Iterable[TopicPartition]) -> None:
        """Drop what waits of these partitions."""
        for place in places:
            self._waiting.pop(place, None)
