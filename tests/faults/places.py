"""Places in the events topic that can be compared between runs, though merges lie in between.

What an ``identify`` hands over comes back through the topic, behind whatever was published
until then; so in each run the records after it have other offsets, and one that was handled
twice after a crash is handed over twice. A record's number among the others is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stream.events import Merge, decode
from stream.records import Record

__all__ = ["MERGE", "Places"]

MERGE: Final = -2
"""The number of what was handed over, wherever it lies."""


class Places:
    """Numbers the records of the events topic as if nothing had been handed over.

    Parameters
    ----------
    records
        The topic's, of all partitions.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._merges: defaultdict[int, list[int]] = defaultdict(list)
        for record in records:
            if isinstance(decode(record.value), Merge):
                self._merges[record.partition].append(record.offset)
        for offsets in self._merges.values():
            offsets.sort()

    def number(self, partition: int, offset: int) -> int:
        """Return the number of the record at an offset; that of no record stays what it is."""
        merges = self._merges.get(partition, [])
        before = bisect_left(merges, offset)
        return MERGE if offset in merges[before : before + 1] else offset - before

    def within(self, kind: str, raw: bytes) -> dict[str, Any]:
        """Return a value of Redis with numbers in place of offsets of the events topic."""
        value: dict[str, Any] = msgspec.json.decode(raw)
        if kind in ("session", "forgotten", "open"):
            as_of = value["as_of"]
            as_of["offset"] = self.number(as_of["partition"], as_of["offset"])
            for visitor, (partition, offset) in value.get("merged", {}).items():
                value["merged"][visitor] = [partition, self.number(partition, offset)]
        for partition, offset in value.get("seen", {}).items():
            value["seen"][partition] = self.number(int(partition), offset)
        return value
