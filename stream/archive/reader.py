"""Reading an archive: as a log, in the order of events, or in batches of columns for training."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from stream.archive.files import Files
from stream.archive.forgotten import ASKED
from stream.archive.spans import DAY_MS, SPANS, Part, day_start
from stream.archive.table import COLUMNS, EVERYTHING, Within, read_table
from stream.archive.view import View
from stream.errors import LogError
from stream.records import TopicPartition

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = [
    "archive_bytes",
    "ends_at",
    "ends_of",
    "is_archive",
    "part_batches",
    "read_archive",
    "read_events",
]

TRIES: Final = 10
T = TypeVar("T")


class _Event(NamedTuple):
    """What a log wants to know of a row; sorts by offset."""

    offset: int
    time: int
    later: bool
    raw: bytes


def is_archive(path: str | Path) -> bool:
    """Tell whether a path names an archive: any URL, or a folder with spans in it."""
    text = str(path)
    return "://" in text or text.startswith("file:") or Path(text, SPANS).is_dir()


def archive_bytes(url: str) -> int:
    """Return the bytes of an archive's files that count."""
    view = View(Files(url))
    return sum({p.file.path: p.file.bytes for parts in view.parts.values() for p in parts}.values())


def ends_of(url: str) -> dict[str, int]:
    """Return ``topic:partition`` -> the offset up to which an archive has it now.

    Raises
    ------
    LogError, FolderError
        As :func:`read_archive`.
    """
    spans = View(Files(url)).spans
    return {
        f"{place.topic}:{place.partition}": max(span.end for span in its)
        for place, its in sorted(spans.items())
    }


def ends_at(url: str, time_ms: int, begun: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return ``topic:partition`` -> the offset after the last event that had happened by a time.

    Parameters
    ----------
    url
        Where the archive lies.
    time_ms
        The time.
    begun
        What :func:`ends_of` said earlier: what was archived since does not count.

    Raises
    ------
    LogError, FolderError
        As :func:`read_archive`.
    """
    ends: dict[str, int] = {}
    for batch in read_archive(url, until_ms=time_ms + 1, columns=["topic", "partition", "offset"]):
        # A batch is of one partition, in the order of its offsets.
        name = f"{batch.column('topic')[0].as_py()}:{batch.column('partition')[0].as_py()}"
        offsets = batch.column("offset").to_numpy()
        if begun is not None:
            offsets = offsets[offsets < begun.get(name, 0)]
        if len(offsets):
            ends[name] = max(ends.get(name, 0), int(offsets[-1]) + 1)
    return dict(sorted(ends.items()))


def read_archive(
    url: str,
    since_ms: int | None = None,
    until_ms: int | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[RecordBatch]:
    """Yield the rows of an archive in batches of columns, day by day.

    Within a day partition by partition, each in its own order. One batch of
    some thousand rows is held at a time, however large the archive is. Rows of
    users who were forgotten do not come.

    Parameters
    ----------
    url
        Where it lies: a folder, or any URL that fsspec knows.
    since_ms, until_ms
        Only events that happened at or after the one, and before the other; all where None.
    columns
        Some of ``topic``, ``partition``, ``offset``, ``timestamp``, ``event``,
        ``user``, ``anonymous`` and ``raw``; all where None.

    Raises
    ------
    LogError
        There is no archive, a part of it is damaged, or there is no such column.
    FolderError
        Its filesystem cannot be reached or refuses.

    Examples
    --------
    >>> from stream.archive.table import Row
    >>> from stream.archive.writer import ArchiveWriter
    >>> url, place = "memory://reader-doctest", TopicPartition("events", 0)
    >>> rows = [Row(n, n * 1000, "search", "u", None, b"{}") for n in range(5)]
    >>> _ = ArchiveWriter(url).write(place, 0, 5, rows)
    >>> [batch.to_pydict() for batch in read_archive(url, 3000, columns=["user", "offset"])]
    [{'user': ['u', 'u'], 'offset': [3, 4]}]
    """
    wanted = list(COLUMNS if columns is None else columns)
    if unknown := sorted(set(wanted) - set(COLUMNS)):
        mend = f"the columns are {', '.join(COLUMNS)}"
        raise LogError(f"an archive has no column {', '.join(unknown)}", mend)
    within = EVERYTHING._replace(
        since=since_ms or 0, until=EVERYTHING.until if until_ms is None else until_ms
    )
    view = View(Files(url))
    for day in view.days():
        start = day_start(day)
        if start + DAY_MS <= within.since or start >= within.until:
            continue
        for place in list(view.parts):
            yield from _day(view, place, day, wanted, within)


def _day(
    view: View, place: TopicPartition, day: str, columns: list[str], within: Within
) -> Iterator[RecordBatch]:
    def begin(at: int) -> Iterator[RecordBatch]:
        for part in view.parts.get(place, ()):
            if part.file.day == day and part.file.last >= at:
                yield from part_batches(view, place, part, columns, within._replace(lo=at))

    for batch in _resumed(view, begin, lambda batch: int(batch.column("offset")[-1].as_py()) + 1):
        yield batch.select(columns)


def part_batches(
    view: View, place: TopicPartition, part: Part, columns: Sequence[str], within: Within
) -> Iterator[RecordBatch]:
    """Yield what counts of a data file, within bounds, with the columns of the bookkeeping too.

    Raises
    ------
    FileNotFoundError
        It was compacted away meanwhile; the view is to be renewed.
    """
    bounds = within._replace(lo=max(within.lo, part.lo), hi=min(within.hi, part.hi))
    for batch in read_table(
        view.files, part.file.path, [*dict.fromkeys([*columns, *ASKED])], bounds
    ):
        offsets = batch.column("offset").to_numpy()
        times = batch.column("timestamp").to_numpy()
        keep = (offsets >= bounds.lo) & (offsets < bounds.hi)
        keep &= (times >= bounds.since) & (times < bounds.until)
        dropped = view.forgotten.dropped(place, batch)
        if dropped is not None:
            keep &= ~dropped
        if keep.all():
            yield batch
        elif keep.any():
            yield batch.take(np.flatnonzero(keep))


def _resumed(
    view: View, begin: Callable[[int], Iterator[T]], following: Callable[[T], int]
) -> Iterator[T]:
    """Go through something by offset; where a file was compacted away, go on in its successor."""
    at = tries = 0
    while True:
        try:
            for one in begin(at):
                at, tries = following(one), 0
                yield one
            return
        except FileNotFoundError as error:
            tries += 1
            if tries > TRIES:
                mend = "try again when it is not being compacted"
                raise LogError(f"{view.files.url}: {error} is gone", mend) from error
            view.renew()


def read_events(
    url: str, on_bytes: Callable[[int], None] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield a running number and the bytes of every event, as :func:`stream.log.read_log` does.

    The events of a partition come in their own order; between partitions the
    earlier event comes first, and of two at one time that of an item. Of each
    partition a few thousand events are held, more only where its days overlap.

    Raises
    ------
    LogError
        There is no archive, or a part of it is damaged.
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    view, read = View(Files(url)), 0

    def told(read_more: float) -> None:
        nonlocal read
        read += int(read_more)
        if on_bytes is not None:
            on_bytes(read)

    streams = [_partition(view, place, told) for place in view.parts]
    for number, event in enumerate(_merged(streams), start=1):
        yield number, event.raw


def _merged(streams: Sequence[Iterator[_Event]]) -> Iterator[_Event]:
    """Merge partitions by time; one that turns back in time keeps its order all the same."""
    heap: list[tuple[int, bool, int, _Event]] = []
    for number, stream in enumerate(streams):
        event = next(stream, None)
        if event is not None:
            heap.append((event.time, event.later, number, event))
    heapq.heapify(heap)
    while heap:
        _, _, number, event = heap[0]
        yield event
        following = next(streams[number], None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.time, following.later, number, following))


def _partition(
    view: View, place: TopicPartition, told: Callable[[float], None]
) -> Iterator[_Event]:
    """Yield the events of a partition by offset, however its days lie in one another."""

    def begin(at: int) -> Iterator[_Event]:
        # Days mostly follow each other: a file is opened when its first offset is near.
        waiting = deque(part for part in view.parts.get(place, ()) if part.file.last >= at)
        open_files: list[tuple[_Event, int, Iterator[_Event]]] = []
        number = 0
        while waiting or open_files:
            while waiting and (not open_files or _first(waiting[0]) <= open_files[0][0].offset):
                events = _events(view, place, waiting.popleft(), at, told)
                number += 1
                if (head := next(events, None)) is not None:
                    heapq.heappush(open_files, (head, number, events))
            if not open_files:
                continue
            event, its, events = open_files[0]
            yield event
            if (following := next(events, None)) is not None:
                heapq.heapreplace(open_files, (following, its, events))
            else:
                heapq.heappop(open_files)

    return _resumed(view, begin, lambda event: event.offset + 1)


def _first(part: Part) -> int:
    return max(part.lo, part.file.first)


def _events(
    view: View, place: TopicPartition, part: Part, at: int, told: Callable[[float], None]
) -> Iterator[_Event]:
    size = part.file.bytes / part.file.rows
    for batch in part_batches(view, place, part, ("raw",), EVERYTHING._replace(lo=at)):
        told(size * batch.num_rows)
        columns = (
            batch.column(name).to_pylist() for name in ("offset", "timestamp", "event", "raw")
        )
        for offset, time, event, raw in zip(*columns, strict=True):
            yield _Event(offset, time, event != "item", raw)
