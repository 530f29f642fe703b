"""The floor: what reading, decoding and one write per user cost without any thought."""

from __future__ import annotations

from benchmarks.contender import Contender, Reader
from stream.events import BadRecord, decode, partition_key
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["Floor"]


class Floor(Contender):
    """Writes the same list for every user that a batch touches.

    Parameters
    ----------
    settings
        All settings.
    answer
        What is written: a list as Rillet writes it.
    """

    def __init__(self, settings: Settings, answer: bytes) -> None:
        self._settings, self._answer = settings, answer
        self._store = Store(settings.redis)
        self._reader = Reader.of(settings)

    def step(self) -> int:
        """Poll, decode, write, commit."""
        records = self._reader.poll(self._settings.batch.max_records)
        events = [decode(record.value) for record in records]
        users = {partition_key(one): None for one in events if not isinstance(one, BadRecord)}
        keys, ttl_ms = self._store.keys, self._store.ttl_ms
        self._store.write_plain([Plain(keys.recs(user), self._answer, ttl_ms) for user in users])
        if records:
            self._reader.commit(records)
        self.lists += len(users)
        return len(records)

    def close(self) -> None:
        """Leave the group and disconnect."""
        self._reader.close()
        self._store.close()
