"""Writing to an archive: files by day, and then the span that makes them count."""

from __future__ import annotations

from collections.abc import Sequence

from stream.archive.files import Files
from stream.archive.spans import (
    SPANS,
    DataFile,
    Span,
    data_name,
    day_of,
    encode_span,
    end_of,
    place_of,
)
from stream.archive.table import Row, batch_of, write_table
from stream.faults import reach
from stream.records import TopicPartition

__all__ = ["ArchiveWriter"]


class ArchiveWriter:
    """Adds spans to an archive.

    Parameters
    ----------
    url
        A folder, or any URL that fsspec knows; it need not be there yet.

    Raises
    ------
    FolderError
        From any method: the filesystem cannot be reached, or refuses.

    Examples
    --------
    >>> writer, place = ArchiveWriter("memory://writer-doctest"), TopicPartition("events", 0)
    >>> row = Row(7, 86_400_000, "search", "u", None, b"{}")
    >>> [file.day for file in writer.write(place, 5, 8, [row]).files]
    ['1970-01-02']
    >>> writer.end_of(place)
    8
    """

    def __init__(self, url: str) -> None:
        self.files = Files(url)

    def end_of(self, place: TopicPartition) -> int | None:
        """Return the offset after all that is archived of a partition, None where nothing is."""
        found = self.files.below(f"{SPANS}/{place.topic}/{place.partition}")
        return max((end_of(name) for name in found if place_of(name) == place), default=None)

    def write(self, place: TopicPartition, start: int, end: int, rows: Sequence[Row]) -> Span:
        """Archive the offsets ``start`` to before ``end`` of a partition.

        The files first, then the span: a crash between any two of these steps
        leaves files that do not count, and the same call again replaces them.

        Parameters
        ----------
        place
            The partition.
        start, end
            What was read of it, whether or not each offset has a row.
        rows
            What is kept, by offset.
        """
        by_day: dict[str, list[Row]] = {}
        for row in rows:
            by_day.setdefault(day_of(row.timestamp), []).append(row)
        written: list[DataFile] = []
        for day, mine in sorted(by_day.items()):
            path = data_name(place, day, start, end)
            file = write_table(self.files, path, place, [batch_of(place, mine)])
            written += [file] if file is not None else []
        reach("archive-files")
        span = Span(
            topic=place.topic,
            partition=place.partition,
            start=start,
            end=end,
            files=tuple(written),
            forgotten=_forgotten(rows),
        )
        self.files.write(span.path, encode_span(span))
        return span


def _forgotten(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Return whom the rows forget: user -> time and offset."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row.event == "delete" and row.user is not None:
            earlier = found.get(row.user, (0, 0))
            found[row.user] = (max(earlier[0], row.timestamp), row.offset)
    return found
