"""The floor: what reading, decoding and one write per user cost without any thought."""

from __future__ import annotations

from multiprocessing.synchronize import Event as Flag

from benchmarks.contender import Contender, Reader
from stream.events import BadRecord, decode, partition_key
from stream.records import Record
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, stamp_head

__all__ = ["Floor"]


class Floor(Contender):
    """Writes the same list, but for its stamp, for every user that a batch touches.

    Parameters
    ----------
    settings
        All settings.
    answer
        What is written: a list as Rillet writes it.
    stop
        Ends :meth:`follow`.
    reader
        Where events come from; None reads Kafka.
    """

    def __init__(
        self,
        settings: Settings,
        answer: bytes,
        stop: Flag | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.stop = stop
        self._settings = settings
        self._tail = answer[answer.index(b"}") :]  # without its stamp, but for the end of it
        self._store = Store(settings.redis)
        self._reader = reader or Reader.of(settings)

    def step(self) -> int:
        """Poll, decode, write, commit."""
        records = self._reader.poll(self._settings.batch.max_records)
        newest: dict[str, tuple[Record, int]] = {}
        for record in records:
            event = decode(record.value)
            if not isinstance(event, BadRecord):
                newest[partition_key(event)] = record, event.timestamp
        keys, ttl_ms = self._store.keys, self._store.ttl_ms
        self._store.write_plain(
            [Plain(keys.recs(user), self._list(*last), ttl_ms) for user, last in newest.items()]
        )
        if records:
            self._reader.commit(records)
        self.lists += len(newest)
        return len(records)

    def _list(self, record: Record, time_ms: int) -> bytes:
        head = stamp_head(record.partition, record.offset)
        return head + b',"event_time":%d' % time_ms + self._tail

    def close(self) -> None:
        """Leave the group and disconnect."""
        self._reader.close()
        self._store.close()
