"""The catalogue and the statistics as one process sees them: loaded once, then followed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from consumers.re_encoding import ReEncoded
from features.catalogue import Catalogue
from features.content import Content, SharedContent
from features.reader import StoreReader
from features.text import TextEncoder
from features.vectors import VectorCache, query_vectors
from models.beside import at_once, in_a_thread
from models.item_state import ItemView
from models.item_stats import ItemStats
from models.sources.base import World
from stream.settings import Settings
from stream.store import Store

__all__ = ["LiveView"]

log = logging.getLogger(__name__)

CHUNK: Final = 1000
"""Feed entries, and records, that are read at once; items that are encoded at once."""


class _Change(Struct):
    """One entry of the changes feed: items whose card, or whose statistics, changed."""

    items: list[str] = []
    stats: list[str] = []


_CHANGE: Final = msgspec.json.Decoder(_Change)
_VIEW: Final = msgspec.json.Decoder(ItemView)


class LiveView:
    """Keeps a :class:`World` in step with what the other consumers write.

    Parameters
    ----------
    settings, store
        Where the records lie.
    encoder
        Encodes queries, and says whose vectors are read.
    transition_partitions
        Partitions of the transitions topic.
    event_partitions
        Partitions of the events topic; with it, weights learned elsewhere are averaged in.
    every_ms
        How often the feed is read at the most; 0 reads it before every batch, does nothing in
        threads and shares no memory: what comes out then does not depend on the machine.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        encoder: TextEncoder,
        *,
        transition_partitions: int,
        event_partitions: int = 0,
        every_ms: int = 50,
    ) -> None:
        content = self._shared(settings, store, encoder) if every_ms else None
        catalogue = Catalogue(encoder.dim, settings.items, encoder.version, content)
        stats = ItemStats(catalogue, settings.neighbours.served)
        queries = query_vectors(settings, store, encoder)
        beside = in_a_thread if every_ms else at_once
        self.world = World(catalogue, stats, queries, settings.neighbours.half_life_days, beside)
        self._queries = queries
        self.transition_partitions = transition_partitions
        self.event_partitions = event_partitions
        self._store = store
        self._reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
        self._every_s = every_ms / 1000
        self._position: str | None = None
        self._read_at = 0.0
        self._changed: set[str] = set()
        self._missing: dict[str, None] = {}
        self._meanwhile: set[str] = set()

    @staticmethod
    def _shared(settings: Settings, store: Store, encoder: TextEncoder) -> Content | None:
        if not (folder := settings.items.vectors_dir):
            return None
        shop = f"{store.url} {store.keys.prefix}"
        return SharedContent(Path(folder), shop, encoder.dim, encoder.version)

    def begin(self) -> None:
        """Load everything there is, once."""
        if self._position is None:
            self._load()

    def take_queries_from(self, queries: VectorCache) -> None:
        """Have the vectors of queries from there; before anybody has taken the world."""
        self._queries, self.world = queries, replace(self.world, queries=queries)

    @property
    def encoder(self) -> TextEncoder:
        """Whose vectors are read."""
        return self._queries.encoder

    def take_missing(self) -> list[str]:
        """Return at most CHUNK of the items whose texts have no vector, those met first."""
        self.put_back(sorted(self._reader.missing))
        self._reader.missing.clear()
        taken = list(islice(self._missing, CHUNK))
        for item in taken:
            del self._missing[item]
        self._meanwhile.clear()
        return taken

    def put_back(self, items: Sequence[str]) -> None:
        """Have items that were taken be taken again, after the others."""
        self._missing.update(dict.fromkeys(items))

    def complete(self, found: ReEncoded) -> None:
        """Take over the vectors of items that were missing; between two batches.

        Cards that changed since they were taken have been read anew: theirs are of before.
        """
        kept = [at for at, item in enumerate(found.ids) if item not in self._meanwhile]
        ids = [found.ids[at] for at in kept]
        self.world.catalogue.put_vectors(ids, found.vectors[kept])

    def expect(self) -> None:
        """Note from here on which cards change: another encoder reads them meanwhile."""
        self._changed.clear()

    def exchange(self, to: ReEncoded) -> None:
        """Have another encoder's vectors from here on; between two batches.

        Cards that changed since :meth:`expect` are read anew; where they are many, as after
        a gap in the feed, most of them by :meth:`take_missing`, for batches wait meanwhile.
        """
        encoder = to.encoder
        self.world.catalogue.exchange(to.ids, to.vectors, encoder.version)
        self._queries.exchange(encoder)
        store = self._store
        self._reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
        self._missing.clear()  # they lacked a vector of the encoder before
        changed = sorted(self._changed)
        self._reread(changed[:CHUNK])
        self.put_back(changed[CHUNK:])

    def _reread(self, items: Sequence[str]) -> None:
        """Read some cards anew, with their vectors."""
        for first in range(0, len(items), CHUNK):
            self.world.catalogue.refresh(self._reader, items[first : first + CHUNK])

    def _load(self) -> None:
        position = self._store.changes_position()  # before loading: nothing falls in between
        cards = self.world.catalogue.load(self._reader)
        views = 0
        batch: list[ItemView] = []
        for _, raw in self._store.scan("neighbours"):
            batch.append(_VIEW.decode(raw))
            if len(batch) == CHUNK:
                self.world.stats.apply(batch)
                views, batch = views + len(batch), []
        self.world.stats.apply(batch)
        self._position = position
        log.info("loaded %d items and the statistics of %d", cards, views + len(batch))

    def refresh(self) -> None:
        """Take over what changed since the last call; called before every batch."""
        now = time.monotonic()
        if self._position is None or now - self._read_at < self._every_s:
            return
        self._read_at = now
        more = True
        while more:
            feed = self._store.read_changes(self._position, CHUNK)
            if feed.gap:
                log.warning("the feed of changes was cut before it was read; loading all anew")
                self._load()
                self._note(self.world.catalogue.ids)
                return
            self._position = feed.position
            self._apply([_CHANGE.decode(entry) for entry in feed.entries])
            more = len(feed.entries) == CHUNK

    def _note(self, items: Sequence[str]) -> None:
        """Note that cards have been read anew, for who reads them beside."""
        self._changed.update(items)
        self._meanwhile.update(items)

    def _apply(self, changes: list[_Change]) -> None:
        cards = list(dict.fromkeys(item for change in changes for item in change.items))
        self._note(cards)
        self._reread(cards)
        self.world.catalogue.tidy()
        items = list(dict.fromkeys(item for change in changes for item in change.stats))
        for first in range(0, len(items), CHUNK):
            keys = [self._store.keys.neighbours(item) for item in items[first : first + CHUNK]]
            raws = self._store.get_many(keys)
            self.world.stats.apply([_VIEW.decode(raw) for raw in raws if raw])
