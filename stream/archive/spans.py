"""The archive's format: data files by day, and spans, which say which of them count.

::

    archive/
        day=2026-11-24/rillet.events-0-00000000000000000100-00000000000000000350-0.parquet
        _spans/rillet.events/0/00000000000000000100-00000000000000000350-0.json

A span stands for the offsets ``start`` to ``end`` of one partition and names
the files with their rows, one or more a day. It is written after these files,
in one go: without it they do not count, with it all of them do. Where spans
overlap, each offset is taken from one of them alone; see :func:`parts_of`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from stream.errors import LogError
from stream.records import TopicPartition

__all__ = [
    "DAY_MS",
    "SPANS",
    "DataFile",
    "Part",
    "Span",
    "data_name",
    "day_of",
    "day_start",
    "encode_span",
    "end_of",
    "parse_span",
    "parts_of",
    "place_of",
    "range_of",
]

SPANS: Final = "_spans"
"""The folder of the spans; readers of Parquet datasets pass over names that begin so."""

FORMAT: Final = 1
DAY_MS: Final = 86_400_000
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_SPAN: Final = re.compile(rf"{SPANS}/([^/]+)/(\d+)/(\d+)-(\d+)-(\d+)\.json")
_DATA: Final = re.compile(r"day=[\d-]+/(.+)-(\d+)-(\d{20})-(\d{20})-\d+\.parquet")


class DataFile(Struct, frozen=True, kw_only=True):
    """One Parquet file: rows of one partition whose events happened on one day, by offset.

    Attributes
    ----------
    path
        Where it lies in the archive.
    rows, bytes
        How many rows, and how large it is.
    first, last
        The lowest and the highest offset.
    min_ms, max_ms
        Times of its earliest and its latest event, epoch milliseconds.
    identifies
        How many of its rows are `identify` events.
    """

    path: str
    rows: int
    bytes: int
    first: int
    last: int
    min_ms: int
    max_ms: int
    identifies: int = 0

    @property
    def day(self) -> str:
        """The day of its events, in UTC: ``2026-11-24``."""
        return self.path.split("/", maxsplit=1)[0].removeprefix("day=")


class Span(Struct, frozen=True, kw_only=True):
    """What is archived of the offsets ``start`` to before ``end`` of a partition.

    Attributes
    ----------
    generation
        0 as the consumer writes it; higher where it was written anew out of others.
    files
        Where the rows lie. Offsets without a row were no events, or are none any more.
    forgotten
        User -> time and offset of the `delete` event that forgets him.
    format
        Of the archive; a reader refuses what is newer than it knows.
    """

    topic: str
    partition: int
    start: int
    end: int
    generation: int = 0
    files: tuple[DataFile, ...] = ()
    forgotten: dict[str, tuple[int, int]] = {}
    format: int = FORMAT

    @property
    def place(self) -> TopicPartition:
        """The partition it is of."""
        return TopicPartition(self.topic, self.partition)

    @property
    def path(self) -> str:
        """Where it lies in the archive."""
        name = f"{self.start:020d}-{self.end:020d}-{self.generation}"
        return f"{SPANS}/{self.topic}/{self.partition}/{name}.json"


class Part(NamedTuple):
    """What counts of a data file: its rows with ``lo <= offset < hi``."""

    file: DataFile
    lo: int
    hi: int

    @property
    def whole(self) -> bool:
        """Whether all its rows count."""
        return self.lo <= self.file.first and self.file.last < self.hi


_DECODER: Final = msgspec.json.Decoder(Span)
_ENCODER: Final = msgspec.json.Encoder()


def parse_span(path: str, raw: bytes) -> Span:
    """Read a span.

    Raises
    ------
    LogError
        It is damaged, or of a newer format.
    """
    try:
        span = _DECODER.decode(raw)
    except msgspec.MsgspecError as error:
        mend = "put it back from a copy; without it the rows that it names do not count"
        raise LogError(f"{path} of the archive is damaged: {error}", mend) from error
    if span.format > FORMAT:
        raise LogError(f"{path} of the archive has format {span.format}", "use a newer Rillet")
    return span


def encode_span(span: Span) -> bytes:
    """Write a span; the mirror of :func:`parse_span`."""
    return _ENCODER.encode(span)


def place_of(path: str) -> TopicPartition | None:
    """Return the partition of a span by its path, None where it is none."""
    found = _SPAN.fullmatch(path)
    return TopicPartition(found[1], int(found[2])) if found else None


def end_of(path: str) -> int:
    """Return where a span ends, by its path."""
    return int(path.rsplit("-", 2)[1])


def range_of(path: str) -> tuple[TopicPartition, int, int] | None:
    """Return the partition and the offsets that a data file was written for, by its path.

    Examples
    --------
    >>> path = data_name(TopicPartition("a-b", 3), "2026-11-24", 5, 9)
    >>> range_of(path)
    (TopicPartition(topic='a-b', partition=3), 5, 9)
    """
    found = _DATA.fullmatch(path)
    if found is None:
        return None
    return TopicPartition(found[1], int(found[2])), int(found[3]), int(found[4])


def data_name(place: TopicPartition, day: str, start: int, end: int, generation: int = 0) -> str:
    """Return the path of a data file: the same for the same offsets, so that a redo replaces it."""
    name = f"{place.topic}-{place.partition}-{start:020d}-{end:020d}-{generation}.parquet"
    return f"day={day}/{name}"


def day_of(time_ms: int) -> str:
    """Return the day of a moment, in UTC.

    Examples
    --------
    >>> day_of(86_400_000), day_start("1970-01-02")
    ('1970-01-02', 86400000)
    """
    return dt.date.fromordinal(_EPOCH + time_ms // DAY_MS).isoformat()


def day_start(day: str) -> int:
    """Return the first millisecond of a day; the mirror of :func:`day_of`."""
    return (dt.date.fromisoformat(day).toordinal() - _EPOCH) * DAY_MS


def parts_of(spans: Iterable[Span], present: Container[str]) -> list[Part]:
    """Return what counts of one partition's files, each offset once, by offset.

    Several spans may hold an offset: a consumer that did not know that its
    partition had moved, a crash in the middle of a compaction. Spans whose
    files are all there come before those with missing ones, then the one that
    begins first, then the longer, then the newer; an offset is taken from the
    first that has it.

    Parameters
    ----------
    spans
        All spans of the partition.
    present
        The paths of the files that are there.

    Examples
    --------
    >>> one = DataFile(path="a", rows=9, bytes=1, first=0, last=9, min_ms=0, max_ms=0)
    >>> two = DataFile(path="b", rows=9, bytes=1, first=5, last=14, min_ms=0, max_ms=0)
    >>> spans = [Span(topic="t", partition=0, start=0, end=10, files=(one,)),
    ...          Span(topic="t", partition=0, start=5, end=15, files=(two,))]
    >>> [(part.file.path, part.lo, part.hi) for part in parts_of(spans, {"a", "b"})]
    [('a', 0, 10), ('b', 10, 15)]
    """

    def rank(span: Span) -> tuple[bool, int, int, int]:
        lacking = any(file.path not in present for file in span.files)
        return lacking, span.start, -span.end, -span.generation

    parts: list[Part] = []
    covered: list[tuple[int, int]] = []
    for span in sorted(spans, key=rank):
        for lo, hi in _uncovered(span.start, span.end, covered):
            parts += [
                Part(file, lo, hi)
                for file in span.files
                if file.first < hi and file.last >= lo and file.path in present
            ]
        covered = _joined([*covered, (span.start, span.end)])
    return sorted(parts, key=lambda part: (part.lo, part.file.first))


def _uncovered(
    start: int, end: int, covered: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    at = start
    for lo, hi in covered:
        if hi <= at:
            continue
        if lo >= end:
            break
        if lo > at:
            yield at, lo
        at = hi
    if at < end:
        yield at, end


def _joined(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return sorted intervals, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for lo, hi in sorted(intervals):
        if joined and lo <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(hi, joined[-1][1]))
        else:
            joined.append((lo, hi))
    return joined
