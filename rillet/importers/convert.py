"""From any source to one event log: check each row, sort by time, set bad rows aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rillet.importers.base import Importer, Meter, Options, Row
from rillet.importers.sorting import TimeSorter
from stream.events import BadRecord, Event, Millis, decode, encode
from stream.log import LogWriter

__all__ = ["Summary", "convert", "rejected_path"]


@dataclass
class Summary:
    """What an import did."""

    log: str
    read: int = 0
    written: int = 0
    rejected: int = 0
    rejects: str | None = None
    """The file with the rejected rows, None where there are none."""
    kinds: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first_ms: int | None = None
    last_ms: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return vars(self) | {"kinds": dict(self.kinds), "reasons": dict(self.reasons)}


def rejected_path(output: str | Path) -> Path:
    """Return where rejected rows go: beside the log, or here when it goes to standard output.

    Examples
    --------
    >>> rejected_path("log.jsonl.gz").name
    'log.jsonl.gz.rejected.jsonl'
    """
    return Path("rejected.jsonl" if str(output) == "-" else f"{output}.rejected.jsonl")


def convert(
    importer: Importer,
    source: Path,
    output: str | Path,
    options: Options | None = None,
    *,
    tell: Callable[[float], None] | None = None,
) -> Summary:
    """Read a source and write it as an event log in time order.

    Items and users whose time the source does not give come first, with the
    time of the first event. Rows that are no events are counted and written,
    with line and reason, beside the log; the others are not held up by them.

    Raises
    ------
    LogError
        The source is missing, damaged, or not what the importer expects.
    """
    chosen = options or Options()
    chosen.check(importer)
    summary = Summary(str(output))
    with ExitStack() as stack:
        undated = stack.enter_context(TimeSorter())
        dated = stack.enter_context(TimeSorter())
        rejects = _Rejects(rejected_path(output), summary, stack)
        for row in importer.read(source, chosen, Meter(tell)):
            summary.read += 1
            _place(row, dated, undated, rejects, summary)
        first = summary.first_ms or 0
        log = stack.enter_context(LogWriter(output))
        for _, record in undated.sorted():
            log.write(_date(record, first))
        for _, record in dated.sorted():
            log.write(record)
        summary.written = log.records
    return summary


def _place(
    row: Row, dated: TimeSorter, undated: TimeSorter, rejects: _Rejects, summary: Summary
) -> None:
    if row.event is None:
        rejects.add(row, row.reason)
        return
    try:
        record = row.raw if row.as_is else encode(row.event)
    except UnicodeEncodeError:
        rejects.add(row, "not UTF-8")
        return
    checked: Event | BadRecord = row.event if row.as_is else decode(record)
    if isinstance(checked, BadRecord):
        rejects.add(
            row, f"{checked.field}: {checked.message}" if checked.field else checked.message
        )
        return
    summary.kinds[type(checked).__name__.lower()] += 1
    if not row.dated:
        undated.add(0, record)
        return
    time = int(checked.timestamp)
    summary.first_ms = time if summary.first_ms is None else min(summary.first_ms, time)
    summary.last_ms = time if summary.last_ms is None else max(summary.last_ms, time)
    dated.add(time, record)


def _date(record: bytes, time_ms: int) -> bytes:
    event = decode(record)
    if isinstance(event, BadRecord):  # cannot be: it was checked before it was put away
        return record
    return encode(msgspec.structs.replace(event, timestamp=Millis(time_ms)))


class _Rejects:
    """The file of rejected rows; it comes to be with the first of them."""

    def __init__(self, path: Path, summary: Summary, stack: ExitStack) -> None:
        self._path, self._summary, self._stack = path, summary, stack
        self._log: LogWriter | None = None
        path.unlink(missing_ok=True)  # else those of an earlier run would look like ours

    def add(self, row: Row, reason: str) -> None:
        """Set a row aside."""
        if self._log is None:
            self._log = self._stack.enter_context(LogWriter(self._path))
            self._summary.rejects = str(self._path)
        record = {
            "file": row.file,
            "line": row.line,
            "reason": reason,
            "record": row.raw.decode("utf-8", "replace"),
        }
        self._log.write(msgspec.json.encode(record))
        self._summary.rejected += 1
        self._summary.reasons[reason.partition(" - at ")[0][:80]] += 1
