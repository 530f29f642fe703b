"""Small archives, and what comes out of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from stream.archive.reader import read_archive, read_events
from stream.archive.table import Row, row_of
from stream.archive.writer import ArchiveWriter
from stream.events import Event, encode
from stream.records import Record, TopicPartition
from tests.builders import DAY, MINUTE, NOON, interaction

__all__ = ["EVENTS", "Key", "archived", "events_of", "fill", "logged", "rows_of"]

EVENTS = TopicPartition("shop.events", 0)

Key = tuple[str, int, int, bytes]


def events_of(many: int, *, seed: int = 1, days: int = 3, user: str = "") -> list[Event]:
    """Return interactions that mostly go forward in time, over some days."""
    chance = random.Random(seed)
    step = days * DAY // max(1, many)
    return [
        interaction(
            f"i{chance.randrange(20)}",
            NOON + n * step - chance.choice([0, 0, 0, 40 * MINUTE]),
            user or f"u{chance.randrange(9)}",
        )
        for n in range(many)
    ]


def rows_of(events: Iterable[Event], first: int = 0) -> list[Row]:
    """Return the rows of events that lie one after another in a partition."""
    return [
        row_of(Record("t", 0, offset, None, encode(event)), event)
        for offset, event in enumerate(events, first)
    ]


def fill(
    url: str, rows: Sequence[Row], *cuts: int, place: TopicPartition = EVENTS
) -> ArchiveWriter:
    """Archive rows, cut into spans at these offsets."""
    writer = ArchiveWriter(url)
    edges = [0, *cuts, rows[-1].offset + 1]
    for start, end in zip(edges, edges[1:], strict=False):
        writer.write(place, start, end, [row for row in rows if start <= row.offset < end])
    return writer


def archived(url: str) -> list[Key]:
    """Return every row as (topic, partition, offset, raw), as training reads them; sorted."""
    found: list[Key] = []
    for batch in read_archive(url, columns=["topic", "partition", "offset", "raw"]):
        found += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return sorted(found)


def logged(url: str) -> list[bytes]:
    """Return every event, as a replay reads them."""
    return [raw for _, raw in read_events(url)]
