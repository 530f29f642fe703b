"""What training reads: items with their vectors, and the stream, from a live engine or a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from consumers.catalogue import CatalogueConsumer
from consumers.re_encoding import fill
from consumers.training import Offsets
from features.catalogue import Catalogue
from features.reader import StoreReader
from features.text import TextEncoder
from stream.archive.reader import ends_at, ends_of, is_archive
from stream.events import BadRecord, Event, decode
from stream.log import Progress, read_log
from stream.records import Record
from stream.routing import about_items
from stream.settings import Settings
from stream.store import Store

__all__ = ["catalogue_of", "encode_items", "events_of", "offsets_of"]

ITEMS_AT_ONCE: Final = 512
"""Item events that are folded and encoded at once."""


def encode_items(settings: Settings, store: Store, encoder: TextEncoder, log: str | Path) -> None:
    """Fold a log's items into a store, as the consumer ``catalogue`` does."""
    consumer = CatalogueConsumer(settings, store, encoder)
    batch: list[Record] = []
    for number, raw in read_log(log):
        event = decode(raw, max_bytes=settings.batch.max_bytes)
        if not isinstance(event, BadRecord) and about_items(event):
            batch.append(Record(settings.kafka.catalogue, 0, number, None, raw))
        if len(batch) == ITEMS_AT_ONCE:
            store.write(consumer.handle(batch))
            batch = []
    if batch:
        store.write(consumer.handle(batch))


def catalogue_of(settings: Settings, store: Store, encoder: TextEncoder) -> Catalogue:
    """Return the catalogue that lies in a store; texts without a vector are encoded."""
    catalogue = Catalogue(encoder.dim, settings.items, encoder.version)
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    catalogue.load(reader)
    if reader.missing:
        filled = fill(settings, store, encoder, sorted(reader.missing))
        catalogue.put_vectors(filled.ids, filled.vectors)
    return catalogue


def events_of(
    settings: Settings, log: str | Path, on_bytes: Progress | None = None
) -> Iterator[Event]:
    """Yield what users did, from a log or an archive; bad records are passed over."""
    for _, raw in read_log(log, on_bytes=on_bytes):
        event = decode(raw, max_bytes=settings.batch.max_bytes)
        if not isinstance(event, BadRecord) and not about_items(event):
            yield event


def offsets_of(log: str | Path) -> Offsets:
    """Return what says where the partitions of an archive were at a time, before it is read.

    What is archived after this call does not count. A log has no partitions.

    Raises
    ------
    LogError, FolderError
        The archive cannot be read.
    """
    if not is_archive(log):
        return lambda _: {}
    begun = ends_of(str(log))
    return lambda time_ms: ends_at(str(log), time_ms, begun)
