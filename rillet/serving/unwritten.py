"""Redis for who only reads: what is to be written stays in the process, an outage is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from features.text import TextEncoder
from features.vectors import VectorCache
from rillet.serving.recent import Recent
from stream.errors import StoreError
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain

__all__ = ["Reads", "Unwritten", "unwritten_queries"]

MOST: Final = 4096
"""Values that are kept, those used last: 3 MB of vectors."""


class Reads:
    """Reads Redis; where it is known to be away, that is told at once.

    Parameters
    ----------
    store
        What is read.

    Attributes
    ----------
    keys
        Builds keys.
    away
        Whether Redis is known to be gone, and is not asked until somebody says otherwise.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.keys, self.away = store, store.keys, False

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none.

        Raises
        ------
        StoreError
            Redis is away.
        """
        if self.away:
            raise StoreError("Redis is away", "start it; it is looked for every second")
        try:
            return self._store.get_many(keys)
        except StoreError:
            self.away = True
            raise


class Unwritten:
    """A :class:`features.vectors.VectorStore` that keeps in memory what it reads and is to write.

    While Redis is away it has what is in memory.

    Parameters
    ----------
    reads
        What is read.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads, self.keys = reads, reads.keys
        self._kept = Recent[bytes](MOST)

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none."""
        found = self._kept.find(keys)
        asked = [key for key in keys if key not in found]
        new: dict[str, bytes] = {}
        with suppress(StoreError):
            read = zip(asked, self._reads.get_many(asked), strict=True)
            new = {key: raw for key, raw in read if raw is not None}
        self._kept.put(new)
        return [found.get(key) or new.get(key) for key in keys]

    def write_plain(self, plain: Sequence[Plain]) -> None:
        """Keep the values in memory."""
        self._kept.put({one.key: one.value for one in plain if one.value is not None})


def unwritten_queries(settings: Settings, reads: Reads, encoder: TextEncoder) -> VectorCache:
    """Return the vectors of queries, as :func:`features.vectors.query_vectors` does."""
    ttl_ms = int(settings.redis.ttl_days * DAY_MS)
    # what it remembers itself is not for several threads
    return VectorCache(Unwritten(reads), reads.keys, encoder, ttl_ms=ttl_ms, remembered=0)
