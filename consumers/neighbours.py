"""The consumer that keeps items' statistics: what follows what, how often shown and taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from features.card import AsOf
from models.activity import Activity, decode_activity, rows_by_item
from models.item_state import ItemState, decode_item_state
from models.kept_item import KeptItem
from stream import metrics
from stream.deadletters import dead_letter
from stream.events import BadRecord
from stream.keys import Keys
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Stamped, Writes

__all__ = ["Neighbours"]

CACHED: Final = 50_000
"""Item states kept in the process between batches."""


class Neighbours:
    """Folds the transitions topic into item statistics.

    Parameters
    ----------
    settings
        All settings.
    store
        Where states are read from; writes go through the checkpoint.
    """

    name = "neighbours"

    def __init__(self, settings: Settings, store: Store) -> None:
        self.topics = (settings.kafka.transitions,)
        self._settings = settings
        self._store = store
        self._keys = Keys(settings.redis.prefix)
        self._state_head, self._view_head = self._keys.item_state(""), self._keys.neighbours("")
        self._ttl_ms = int(settings.redis.ttl_days * 86_400_000)
        self._items: dict[str, KeptItem] = {}

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget what was cached: another process may have written since."""
        self._items.clear()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget what was cached."""
        self._items.clear()

    def committed(self) -> None:
        """Keep the cache within its bound."""
        if (most := len(self._items) - CACHED) > 0:
            for item in list(islice(self._items, most)):
                del self._items[item]

    def handle(self, records: Sequence[Record]) -> Writes:
        """Fold a batch; return the states and public views of every item it touches."""
        produced: list[Outgoing] = []
        with metrics.step("decode"):
            decoded = self._decode(records, produced)
        writes = self.fold([((r.partition, r.offset), activity) for r, activity in decoded])
        writes.produced = produced
        return writes

    def fold(self, told: Sequence[tuple[tuple[int, int], Activity]]) -> Writes:
        """Fold what was told at places (partition, offset) of the transitions topic."""
        writes = Writes()
        work = [(place, activity, rows_by_item(activity)) for place, activity in told]
        touched = list(dict.fromkeys(item for _, _, rows in work for item in rows))
        with metrics.step("read"):
            self._load(touched)
        with metrics.step("fold"):
            for place, activity, rows in work:
                for item, its_rows in rows.items():
                    kept = self._items[item]
                    kept.fold(activity, its_rows)
                    kept.state.as_of = AsOf(*place, kept.state.newest)
        with metrics.step("encode"):
            for item in touched:
                self._write(self._items[item], writes)
        if touched:
            writes.changes.append(msgspec.json.encode({"stats": touched}))
        return writes

    def _decode(
        self, records: Sequence[Record], produced: list[Outgoing]
    ) -> list[tuple[Record, Activity]]:
        decoded = []
        for record in records:
            try:
                decoded.append((record, decode_activity(record.value)))
            except (msgspec.MsgspecError, RecursionError) as error:
                bad = BadRecord("malformed", "", str(error), record.value)
                produced.append(dead_letter(bad, record, self._settings.kafka.deadletters))
        return decoded

    def _load(self, items: Sequence[str]) -> None:
        missing = [item for item in items if item not in self._items]
        found = self._store.get_many([self._keys.item_state(item) for item in missing])
        for item, raw in zip(missing, found, strict=True):
            state = decode_item_state(raw) if raw else ItemState(AsOf(-1, -1, 0), item)
            self._items[item] = KeptItem(state, self._settings.neighbours)

    def _write(self, kept: KeptItem, writes: Writes) -> None:
        item, as_of = kept.state.item, kept.state.as_of
        partition, offset, life = as_of.partition, as_of.offset, self._ttl_ms
        writes.stamped += (
            Stamped(self._state_head + item, kept.encode(), partition, offset, life),
            Stamped(self._view_head + item, kept.encode_view(), partition, offset, life),
        )
