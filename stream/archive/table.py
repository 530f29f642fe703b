"""Rows in and out of Parquet: the only place that knows pyarrow's files.

pyarrow takes a quarter of a second to load, so it is loaded by the first file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from stream.archive.files import Files
from stream.archive.spans import DataFile
from stream.events import Delete, Event, Identify, Item
from stream.records import Record, TopicPartition

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

__all__ = [
    "COLUMNS",
    "EVERYTHING",
    "Row",
    "Within",
    "batch_of",
    "read_table",
    "row_of",
    "write_table",
]

COLUMNS: Final = (
    *("topic", "partition", "offset", "timestamp", "event", "user", "anonymous", "raw"),
)
"""The columns of every file, in their order."""

GROUP_ROWS: Final = 10_000
"""Rows of a row group: what a reader holds of a file at a time."""

BATCH_ROWS: Final = 2048


class Row(NamedTuple):
    """One event as it is archived.

    Attributes
    ----------
    timestamp
        When it happened, in epoch milliseconds.
    user
        Who did it: the user, or where nobody is logged in the session; None for
        what is about items.
    anonymous
        The visitor whom an `identify` event names; None for others.
    raw
        The record as it was published.
    """

    offset: int
    timestamp: int
    event: str
    user: str | None
    anonymous: str | None
    raw: bytes


class Within(NamedTuple):
    """Bounds of what is read: ``lo <= offset < hi`` and ``since <= timestamp < until``."""

    lo: int = 0
    hi: int = 1 << 62
    since: int = 0
    until: int = 1 << 62


EVERYTHING: Final = Within()


@cache
def _schema() -> Schema:
    import pyarrow as pa

    text, count = pa.string(), pa.int64()
    kinds = (text, pa.int32(), count, count, text, text, text, pa.binary())
    return pa.schema(
        [
            pa.field(name, kind, nullable=name in ("user", "anonymous"))
            for name, kind in zip(COLUMNS, kinds, strict=True)
        ]
    )


def row_of(record: Record, event: Event) -> Row:
    """Return an event as it is archived.

    Examples
    --------
    >>> from stream.events import decode
    >>> raw = b'{"event":"search","timestamp":5,"session":"s","query":"tea"}'
    >>> row_of(Record("events", 0, 7, b"s", raw), decode(raw))[:5]
    (7, 5, 'search', 's', None)
    """
    kind = str(type(event).__struct_config__.tag)
    return Row(
        record.offset,
        int(event.timestamp),
        kind,
        _who(event),
        event.anonymous if isinstance(event, Identify) else None,
        record.value,
    )


def _who(event: Event) -> str | None:
    """Return whose event it is: the user's, or where nobody is logged in the session's."""
    if isinstance(event, Item):
        return None
    if isinstance(event, Delete):
        return event.user
    return getattr(event, "actor", None) or event.user


def batch_of(place: TopicPartition, rows: Sequence[Row]) -> RecordBatch:
    """Return rows of one partition, at least one, as a record batch."""
    import pyarrow as pa

    schema, many = _schema(), len(rows)
    columns = ([place.topic] * many, [place.partition] * many, *zip(*rows, strict=True))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write_table(
    files: Files, path: str, place: TopicPartition, batches: Iterable[RecordBatch]
) -> DataFile | None:
    """Write a data file; None, and no file, where there is no row.

    Its Parquet metadata hold, under ``rillet``, the partition, the first and
    the last offset and the number of rows, as JSON.
    """
    import pyarrow.parquet as pq

    filled = (batch for batch in batches if batch.num_rows)
    first = next(filled, None)
    if first is None:
        return None
    tally = _Tally()
    with files.writing(path) as file:
        options: dict[str, Any] = {
            "compression": "zstd",
            "use_dictionary": ["topic", "event", "user"],
        }
        with pq.ParquetWriter(file, _schema(), **options) as writer:
            for batch in _regrouped(first, filled):
                tally.add(batch)
                writer.write_batch(batch, row_group_size=GROUP_ROWS)
            writer.add_key_value_metadata({"rillet": tally.note(place)})
        size = file.tell()
    return tally.data_file(path, size)


def _regrouped(first: RecordBatch, more: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """Put small batches together, so that each makes a row group worth its head."""
    import pyarrow as pa

    waiting, rows = [first], first.num_rows
    for batch in more:
        if rows + batch.num_rows > GROUP_ROWS:
            yield pa.concat_batches(waiting)
            waiting, rows = [], 0
        waiting.append(batch)
        rows += batch.num_rows
    yield pa.concat_batches(waiting)


class _Tally:
    """What is known of a file when it is written."""

    def __init__(self) -> None:
        self.rows = self.identifies = 0
        self.first = self.min_ms = 1 << 62
        self.last = self.max_ms = -1

    def add(self, batch: RecordBatch) -> None:
        import pyarrow.compute as pc

        self.rows += batch.num_rows
        offsets, times = batch.column("offset"), pc.min_max(batch.column("timestamp")).as_py()
        self.first = min(self.first, offsets[0].as_py())
        self.last = max(self.last, offsets[-1].as_py())
        self.min_ms, self.max_ms = min(self.min_ms, times["min"]), max(self.max_ms, times["max"])
        self.identifies += pc.sum(pc.equal(batch.column("event"), "identify")).as_py()

    def note(self, place: TopicPartition) -> str:
        known = {"first": self.first, "last": self.last, "rows": self.rows}
        return msgspec.json.encode(place._asdict() | known).decode()

    def data_file(self, path: str, size: int) -> DataFile:
        return DataFile(
            path=path,
            rows=self.rows,
            bytes=size,
            first=self.first,
            last=self.last,
            min_ms=self.min_ms,
            max_ms=self.max_ms,
            identifies=self.identifies,
        )


def read_table(
    files: Files, path: str, columns: Sequence[str], within: Within = EVERYTHING
) -> Iterator[RecordBatch]:
    """Yield a data file in small batches, by offset; only row groups that may lie within bounds.

    Rows out of bounds may come too.

    Raises
    ------
    FileNotFoundError
        The file is not there, or not any more.
    FolderError
        It is damaged, or cannot be read.
    """
    import pyarrow.parquet as pq

    with files.reading(path) as file:
        table = pq.ParquetFile(file)
        groups = [
            number
            for number in range(table.num_row_groups)
            if _touches(table.metadata.row_group(number), within)
        ]
        if not groups:
            return
        options: dict[str, Any] = {"row_groups": groups, "columns": list(columns)}
        for batch in table.iter_batches(batch_size=BATCH_ROWS, **options):
            yield batch.select(list(columns))


def _touches(group: Any, within: Within) -> bool:
    bounds = {"offset": (within.lo, within.hi), "timestamp": (within.since, within.until)}
    for place in range(group.num_columns):
        column = group.column(place)
        lo, hi = bounds.get(column.path_in_schema, (None, None))
        known = column.statistics if lo is not None else None
        if known is not None and known.has_min_max and (known.max < lo or known.min >= hi):
            return False
    return True
