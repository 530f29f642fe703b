"""Keeping an archive small and lawful: compaction, retention, and users who are forgotten.

All three are one thing: each partition gets one new span in the place of all it
has, which names files that stay as they are and files that are written anew.
The new span is written in one go, after its files and before what it replaces
is removed; so a crash loses nothing, and the next run sweeps up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from stream.archive.files import Files
from stream.archive.forgotten import ASKED
from stream.archive.reader import part_batches
from stream.archive.spans import (
    DAY_MS,
    SPANS,
    DataFile,
    Part,
    Span,
    data_name,
    day_of,
    day_start,
    encode_span,
    range_of,
)
from stream.archive.table import COLUMNS, EVERYTHING, read_table, write_table
from stream.archive.view import FORGOTTEN, Mark, View, mark_path, marks_in, no_archive
from stream.errors import LogError
from stream.records import TopicPartition

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = ["Tidied", "compact", "forget", "prune"]

log = logging.getLogger(__name__)

FULL_ROWS: Final = 1_000_000
"""A file with so many rows is not put together with others any more."""

GRACE_MS: Final = 3_600_000
"""Files that no span names are debris after so long; before, somebody may be about to name them."""

LOCK: Final = "_lock.json"
LOCK_MS: Final = 900_000
"""A lock that was not renewed for so long is that of a process that died."""


class Tidied(Struct):
    """What an archive was before and after: partitions' files that count, their rows and bytes."""

    files_before: int = 0
    files: int = 0
    rows_before: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes: int = 0
    swept: int = 0


class _Lock(Struct, frozen=True):
    host: str
    pid: int
    at: int


def compact(url: str) -> Tidied:
    """Put an archive's small files together, one or a few a day and partition.

    Rows of forgotten users leave the files, doubled offsets too, and what
    crashes left behind is removed. Consumers and readers may go on meanwhile.

    Raises
    ------
    LogError
        There is no archive, it is damaged, or somebody else works on it.
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    files = Files(url)
    with _locked(files) as renew:
        tidied = _tidy(_Work(View(files), renew, merge=True))
        tidied.swept = _sweep(View(files))
        return tidied


def prune(url: str, keep_days: int, *, dry: bool = False) -> Tidied:
    """Remove the days that lie more than ``keep_days`` before today; by UTC.

    Parameters
    ----------
    url
        Where the archive lies.
    keep_days
        How many full days are kept, beside today.
    dry
        Only say what would be removed.

    Raises
    ------
    LogError
        There is no archive, it is damaged, or somebody else works on it.
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    files = Files(url)
    keep_from = day_of(max(0, files.clock.now_ms() - keep_days * DAY_MS))
    if dry:
        return _would_leave(View(files), keep_from)
    with _locked(files) as renew:
        return _tidy(_Work(View(files), renew, keep_from=keep_from))


def forget(url: str, user: str, until_ms: int | None = None) -> Tidied:
    """Remove all that a user did, and the visitors who turned out to be him, at once.

    A mark stays behind, so that what a consumer still has in hand does not
    bring him back; it holds a hash of his id, and goes with :func:`prune`.

    Parameters
    ----------
    url
        Where the archive lies.
    user
        Who is forgotten.
    until_ms
        Up to when, epoch milliseconds; now where None.

    Raises
    ------
    LogError
        There is no archive, it is damaged, or somebody else works on it.
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    files = Files(url)
    with _locked(files) as renew:
        until = files.clock.now_ms() if until_ms is None else until_ms
        for token, time in View(files).linked_to(user, until).items():
            files.write(mark_path(token), msgspec.json.encode(Mark(token, time)))
        return _tidy(_Work(View(files), renew))


class _Work(NamedTuple):
    """What is to be done: to put small files together, to keep only days from one on.

    ``renew`` is to be called from time to time.
    """

    view: View
    renew: Callable[[], None]
    merge: bool = False
    keep_from: str = ""


def _tidy(work: _Work) -> Tidied:
    tidied = Tidied()
    for place, parts in list(work.view.parts.items()):
        before = {part.file.path: part.file for part in parts}
        after = _one_span(work, place).files
        tidied.files_before += len(before)
        tidied.files += len(after)
        tidied.rows_before += sum(file.rows for file in before.values())
        tidied.rows += sum(file.rows for file in after)
        tidied.bytes_before += sum(file.bytes for file in before.values())
        tidied.bytes += sum(file.bytes for file in after)
    if work.keep_from:
        _drop_marks(work.view.files, work.keep_from)
    return tidied


def _one_span(work: _Work, place: TopicPartition) -> Span:
    """Put one span in the place of all that a partition has; return it."""
    files, old = work.view.files, work.view.spans[place]
    horizon = day_start(work.keep_from) if work.keep_from else 0
    named = work.view.forgotten.named_in(place)
    span = Span(
        topic=place.topic,
        partition=place.partition,
        start=min(span.start for span in old),
        end=max(span.end for span in old),
        generation=max(span.generation for span in old) + 1,
        forgotten={user: at for user, at in named.items() if at[0] >= horizon},
    )
    span = replace(span, files=tuple(_files_of(work, span)))
    if len(old) == 1 and (old[0].files, old[0].forgotten) == (span.files, span.forgotten):
        return old[0]
    files.write(span.path, encode_span(span))
    for one in old:
        files.remove(one.path)
    kept = {file.path for file in span.files}
    for path in sorted({file.path for one in old for file in one.files} - kept):
        files.remove(path)
    log.info("%s: %d spans became one, up to %d", place, len(old), span.end)
    return span


def _files_of(work: _Work, span: Span) -> Iterator[DataFile]:
    """Yield the files of a new span: those that may stay, and others written anew."""

    def day(part: Part) -> str:
        return part.file.day

    # A stable sort: within a day the parts stay in the order of their offsets.
    for its_day, parts in groupby(sorted(work.view.parts[span.place], key=day), key=day):
        if its_day < work.keep_from:
            continue
        for run in _runs(parts, work.merge):
            work.renew()
            file = _put_together(work.view, span, run)
            if file is not None:
                yield file


def _runs(parts: Iterable[Part], merge: bool) -> Iterator[list[Part]]:
    """Yield what is to become one file each; neighbours only, so that no two overlap."""
    run: list[Part] = []
    rows = 0
    for part in parts:
        if run and (not merge or rows + part.file.rows > FULL_ROWS):
            yield run
            run, rows = [], 0
        run.append(part)
        rows += part.file.rows
    if run:
        yield run


def _put_together(view: View, span: Span, run: Sequence[Part]) -> DataFile | None:
    first, last = run[0], run[-1]
    place = span.place
    try:
        if len(run) == 1 and first.whole and not _has_forgotten(view, place, first):
            return first.file
        start, end = max(first.lo, first.file.first), min(last.hi, last.file.last + 1)
        path = data_name(place, first.file.day, start, end, span.generation)
        return write_table(view.files, path, place, _rows_of(view, place, run))
    except FileNotFoundError as error:
        mend = "somebody removed it; try again"
        raise LogError(f"{view.files.url}: {error} is gone", mend) from error


def _rows_of(view: View, place: TopicPartition, run: Sequence[Part]) -> Iterator[RecordBatch]:
    for part in run:
        yield from part_batches(view, place, part, COLUMNS, EVERYTHING)


def _has_forgotten(view: View, place: TopicPartition, part: Part) -> bool:
    if not view.forgotten:
        return False
    batches = read_table(view.files, part.file.path, ASKED)
    return any(view.forgotten.dropped(place, batch) is not None for batch in batches)


def _would_leave(view: View, keep_from: str) -> Tidied:
    tidied = Tidied()
    files = {part.file.path: part.file for parts in view.parts.values() for part in parts}
    for file in files.values():
        stays = file.day >= keep_from
        tidied.files_before += 1
        tidied.files += stays
        tidied.rows_before += file.rows
        tidied.rows += file.rows * stays
        tidied.bytes_before += file.bytes
        tidied.bytes += file.bytes * stays
    return tidied


def _drop_marks(files: Files, keep_from: str) -> None:
    for path, mark in marks_in(files, files.below(FORGOTTEN)).items():
        if mark.until < day_start(keep_from):
            files.remove(path)


def _sweep(view: View) -> int:
    """Remove files that no span names and none will: old ones, of offsets that are archived."""
    named = {file.path for spans in view.spans.values() for span in spans for file in span.files}
    before = view.files.clock.now_ms() - GRACE_MS
    swept = 0
    for path in sorted(view.files.below() - named):
        written = view.files.written_ms(path) if _is_debris(view, path) else None
        if written is not None and written < before:
            view.files.remove(path)
            swept += 1
    return swept


def _is_debris(view: View, path: str) -> bool:
    name = path.rsplit("/", maxsplit=1)[-1]
    if name.startswith(".") and name.endswith(".tmp"):
        return True
    found = range_of(path)
    if found is None:
        return False
    place, _, end = found
    # A consumer that is about to name it writes past what is archived.
    return any(end <= span.end for span in view.spans.get(place, ()))


@contextlib.contextmanager
def _locked(files: Files) -> Iterator[Callable[[], None]]:
    """Keep others from rewriting meanwhile; yields what is to be called from time to time."""
    host, pid = socket.gethostname(), os.getpid()
    if not files.below(SPANS):  # else the lock would make a folder of it
        raise no_archive(files)
    raw = files.read(LOCK)
    held = msgspec.json.decode(raw, type=_Lock) if raw else None
    if held is not None and _holds(held, host, files.clock.now_ms()):
        raise LogError(
            f"{files.url} is being rewritten by process {held.pid} on {held.host}",
            f"wait until it is done; if it is gone, remove {files.url}/{LOCK}",
        )

    last = 0

    def renew() -> None:
        nonlocal last
        now = files.clock.now_ms()
        if now - last > LOCK_MS // 10:
            files.write(LOCK, msgspec.json.encode(_Lock(host, pid, now)))
            last = now

    renew()
    try:
        yield renew
    finally:
        files.remove(LOCK)


def _holds(lock: _Lock, host: str, now_ms: int) -> bool:
    if now_ms - lock.at > LOCK_MS:
        return False
    if lock.host != host:
        return True
    return lock.pid != os.getpid() and _alive(lock.pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
