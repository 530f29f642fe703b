"""Vectors of queries for who only reads: what is new stays in the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final

from features.text import TextEncoder
from features.vectors import VectorCache
from stream.errors import StoreError
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain

__all__ = ["Unwritten", "unwritten_queries"]

MOST: Final = 4096
"""Values that are kept, those of the latest writes: 3 MB of vectors."""


class Unwritten:
    """A :class:`features.vectors.VectorStore` that reads Redis and keeps what it is to write.

    Without Redis nothing is found there, and queries are encoded.

    Parameters
    ----------
    store
        What is read.

    Attributes
    ----------
    keys
        Builds its keys.
    away
        Whether Redis need not be asked: it is known to be gone.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.keys = store, store.keys
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()
        self.away = False

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        asked = [key for key in keys if key not in found]
        if asked and not self.away:
            try:
                values = self._store.get_many(asked)
            except StoreError:
                self.away = True
            else:
                found |= {key: raw for key, raw in zip(asked, values, strict=True) if raw}
        return [found.get(key) for key in keys]

    def write_plain(self, plain: Sequence[Plain]) -> None:
        """Keep the values in memory."""
        with self._lock:
            for one in plain:
                if one.value is not None:
                    self._kept[one.key] = one.value
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)


def unwritten_queries(settings: Settings, store: Unwritten, encoder: TextEncoder) -> VectorCache:
    """Return the vectors of queries, as :func:`features.vectors.query_vectors` does."""
    keys, ttl_ms = store.keys, int(settings.redis.ttl_days * DAY_MS)
    # what it remembers itself is not for several threads
    return VectorCache(store, keys, encoder, ttl_ms=ttl_ms, remembered=0)
