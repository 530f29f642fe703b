"""What an archive holds, in figures."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from stream.archive.files import Files
from stream.archive.spans import Part
from stream.archive.table import Within, read_table
from stream.archive.view import View

__all__ = ["Day", "Place", "Survey", "survey"]


class Day(Struct):
    """One day of events: how many rows, files and bytes it has."""

    day: str
    rows: int = 0
    files: int = 0
    bytes: int = 0


class Place(Struct, frozen=True):
    """One partition: the offsets ``start`` to before ``end`` are archived, in so many spans."""

    topic: str
    partition: int
    start: int
    end: int
    spans: int
    rows: int


class Survey(Struct, frozen=True):
    """What an archive holds.

    Attributes
    ----------
    url
        Where it lies.
    days, places
        By day of the events, and by partition. Rows of forgotten users count
        until a compaction has removed them.
    first_ms, last_ms
        Times of the earliest and the latest event; None where there is none.
    forgotten
        How many users are forgotten.
    missing
        Files that are gone though the archive names them.
    """

    url: str
    days: list[Day]
    places: list[Place]
    first_ms: int | None
    last_ms: int | None
    forgotten: int
    missing: list[str]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(day.rows for day in self.days)

    @property
    def bytes(self) -> int:
        """The size of all files that count."""
        return sum(day.bytes for day in self.days)

    @property
    def files(self) -> int:
        """How many files count."""
        return sum(day.files for day in self.days)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {"rows": self.rows, "files": self.files, "bytes": self.bytes}


def survey(url: str) -> Survey:
    """Look at an archive; its files are only opened where spans overlap.

    Raises
    ------
    LogError
        There is no archive, or a part of it is damaged.
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    view = View(Files(url))
    days: dict[str, Day] = {}
    places: list[Place] = []
    files = {part.file.path: part.file for parts in view.parts.values() for part in parts}
    for file in files.values():
        day = days.setdefault(file.day, Day(file.day))
        day.files += 1
        day.bytes += file.bytes
    for place, parts in view.parts.items():
        spans, rows = view.spans[place], 0
        for part in parts:
            many = _rows(view, part)
            days[part.file.day].rows += many
            rows += many
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        places.append(Place(*place, start, end, len(spans), rows))
    return Survey(
        url=view.files.url,
        days=[days[day] for day in sorted(days)],
        places=places,
        first_ms=min((file.min_ms for file in files.values()), default=None),
        last_ms=max((file.max_ms for file in files.values()), default=None),
        forgotten=len(view.forgotten),
        missing=view.missing,
    )


def _rows(view: View, part: Part) -> int:
    if part.whole:
        return part.file.rows
    rows = 0
    try:
        for batch in read_table(view.files, part.file.path, ("offset",), Within(part.lo, part.hi)):
            offsets = batch.column("offset").to_numpy()
            rows += int(((offsets >= part.lo) & (offsets < part.hi)).sum())
    except FileNotFoundError:  # compacted at this moment
        return rows
    return rows
