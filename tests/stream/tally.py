"""A small consumer with per-user state, as the real ones have it; tests run it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream.records import Outgoing, Record, TopicPartition
from stream.store import Store
from stream.writes import Plain, Stamped, Writes, stamp_head

DAY_MS = 86_400_000


class Tally:
    """Counts and sums each user's numbers, in Redis and in memory.

    State is ``{"as_of":{"partition","offset"},"count","total"}``; the sum of
    what was counted twice or not at all would differ. Every record is also
    written as a plain value and sent on to ``echo``.
    """

    name = "tally"

    def __init__(self, store: Store, topics: Sequence[str], echo: str = "") -> None:
        self.topics = tuple(topics)
        self.held: set[TopicPartition] = set()
        self.dropped: list[TopicPartition] = []
        self.batches: list[list[int]] = []
        self.commits = 0
        self._store = store
        self._echo = echo
        self._memory: dict[str, tuple[int, int, int, int]] = {}

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.held.update(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.dropped += partitions
        gone = {place.partition for place in partitions}
        self.held.difference_update(partitions)
        self._memory = {user: one for user, one in self._memory.items() if one[0] not in gone}

    def committed(self) -> None:
        self.commits += 1

    def handle(self, records: Sequence[Record]) -> Writes:
        self.batches.append([record.offset for record in records])
        users = {(record.key or b"").decode() for record in records}
        self._load(sorted(users - self._memory.keys()))
        writes = Writes()
        for record in records:
            self._fold((record.key or b"").decode(), record, writes)
        return writes

    def _load(self, users: Sequence[str]) -> None:
        keys = [self._store.keys.session(user) for user in users]
        for user, raw in zip(users, self._store.get_many(keys), strict=True):
            self._memory[user] = (-1, -1, 0, 0)
            if raw is not None:
                state = msgspec.json.decode(raw)
                stamp = state["as_of"]
                self._memory[user] = (
                    *(stamp["partition"], stamp["offset"]),
                    *(state["count"], state["total"]),
                )

    def _fold(self, user: str, record: Record, writes: Writes) -> None:
        partition, offset, count, total = self._memory[user]
        if partition != record.partition or offset < record.offset:
            count, total = count + 1, total + int(record.value)
            self._memory[user] = (record.partition, record.offset, count, total)
            head = stamp_head(record.partition, record.offset)
            value = head + b'},"count":%d,"total":%d}' % (count, total)
            key = self._store.keys.session(user)
            writes.stamped.append(Stamped(key, value, record.partition, record.offset, DAY_MS))
        recs = self._store.keys.recs(user)
        writes.plain.append(Plain(recs, b"%d" % self._memory[user][3], DAY_MS))
        if self._echo:
            writes.produced.append(Outgoing(self._echo, record.value, record.key))


def contents(store: Store, kind: str) -> dict[str, bytes]:
    """Return every key of a kind, for comparison."""
    return dict(store.scan(kind))
