"""The consumer that archives events and items as they were published, each once.

It does not run in :class:`stream.loop.Loop`, which commits every batch: here
records wait in memory until they make files worth having. What says how far
the archive is, is the archive itself: a partition is read on from the end of
its last span, and what Kafka has as the group's position is only told to others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from stream import metrics
from stream.archive.table import Row, row_of
from stream.archive.writer import ArchiveWriter
from stream.clock import Clock, SystemClock
from stream.errors import CheckpointError, FolderError, StoreError
from stream.events import BadRecord, Event, Merge, decode
from stream.faults import reach
from stream.records import Record, Source, TopicPartition
from stream.routing import about_items
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["Archive"]

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
SILENT_S: Final = 30.0
"""After a heartbeat that Redis did not take, none is tried for so long."""

T = TypeVar("T")


class _GivenUp(BaseException):
    """A wait for the archive's filesystem ended early: told to stop, or the partition is lost."""


@dataclass(slots=True)
class _Held:
    """What is in hand of one partition: the offsets ``start`` to before ``following``."""

    start: int
    following: int
    rows: list[Row] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0
    oldest_ms: int = 0

    def take(self, record: Record, row: Row | None) -> None:
        if self.start == self.following:
            self.since, self.oldest_ms = time.monotonic(), record.timestamp
        self.following = record.offset + 1
        if row is not None:
            self.rows.append(row)
            self.bytes += len(row.raw)


class Archive:
    """Reads both topics of published records, and writes them to the archive.

    Parameters
    ----------
    settings
        All settings; ``archive.*`` say where it lies and how files are cut.
    source
        Reads the events and the catalogue topic; closed with this.
    store
        Takes the heartbeats, and may be away; None beats nowhere.
    clock
        Tells which events are from the future; the wall where None.

    Raises
    ------
    FolderError
        The archive's URL cannot be used; later: it cannot be written for ``archive.retry_s``.
    """

    name = "archive"

    def __init__(
        self, settings: Settings, source: Source, store: Store | None, clock: Clock | None = None
    ) -> None:
        self.events = 0
        self.source = source
        self.writer = ArchiveWriter(settings.archive.url)
        self._settings, self._store = settings, store
        self._clock: Clock = clock or SystemClock()
        self._held: dict[TopicPartition, _Held] = {}
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()
        self._owed: dict[TopicPartition, int] = {}
        self._stop = threading.Event()
        self._heart: metrics.Heart | None = None
        self._silent_until = 0.0
        source.listen(self._on_assigned, self._on_revoked)

    @staticmethod
    def topics(settings: Settings) -> tuple[str, str]:
        """Return what it reads: everything that applications publish."""
        return settings.kafka.events, settings.kafka.catalogue

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; what is in hand is written, then the source is closed.

        Raises
        ------
        FolderError
            The archive could not be written for ``archive.retry_s``.
        CheckpointError
            A topic was created anew under an archive that holds the old one.
        BrokerError
            Kafka cannot be reached or refuses.
        """
        self._stop = stop
        self._heart = metrics.Heart(self.name, self.source.group)
        try:
            while not stop.is_set():
                self.step()
            self.flush()
        finally:
            self.source.close()

    def step(self, *, wait_ms: int | None = None) -> int:
        """Read a little, and write what is due; return how many records were read."""
        try:
            self._settle()
            read = self._read(self._settings.batch.wait_ms if wait_ms is None else wait_ms)
            with metrics.step("checkpoint"):
                self._write(self._due())
        except _GivenUp:
            return 0
        self._beat()
        return read

    def flush(self) -> None:
        """Write all that is in hand."""
        try:
            with metrics.step("checkpoint"):
                self._write([place for place, held in self._held.items() if _waits(held)])
        except _GivenUp:
            log.warning("the archive cannot be written; what is in hand is read again next time")

    def _read(self, wait_ms: int) -> int:
        while True:
            with metrics.step("poll"):
                records = self.source.poll(self._settings.batch.max_records, wait_ms)
            # Gained partitions come paused: begin them, then ask again.
            again = bool(self._gained)
            with metrics.step("handle"):
                # Before anything may wait: who loses a partition and gains it again reads it anew.
                self._take(one for one in records if one.place not in self._lost)
            self._settle()
            if records or not again:
                return len(records)

    def close(self) -> None:
        """Leave the group; what is in hand is dropped, and read again by whoever comes next."""
        self.source.close()

    def _on_assigned(self, places: Sequence[TopicPartition]) -> None:
        self._gained.update(places)

    def _on_revoked(self, places: Sequence[TopicPartition]) -> None:
        self._lost.update(places)
        self._gained.difference_update(places)

    def _settle(self) -> None:
        """Drop lost partitions, begin gained ones; not done within a poll."""
        self._drop()
        while self._gained:
            place = min(self._gained)
            start = self._patiently(partial(self._start, place))
            if place not in self._gained:  # lost again while the archive was asked
                continue
            self._held[place] = _Held(start, start)
            self._owed[place] = start  # so that others see the same place as the archive
            self.source.seek(place, start)
            self.source.resume([place])
            self._gained.discard(place)
            log.info("%s reads %s from %d", self.name, place, start)

    def _drop(self) -> None:
        lost, self._lost = self._lost, set()
        for place in lost:
            self._held.pop(place, None)
            self._owed.pop(place, None)

    def _start(self, place: TopicPartition) -> int:
        """Return where to read on: after what is archived, whatever Kafka has as the position."""
        archived = self.writer.end_of(place)
        beginning, end = self.source.beginning(place), self.source.end(place)
        if archived is None:
            return beginning
        if archived > end:
            raise CheckpointError(
                f"{place} ends at {end}, but {self.writer.files.url} holds it up to {archived}: "
                "the topic was created anew",
                "name another folder in archive.url for the new topic; the old one stays readable",
            )
        if archived < beginning:
            log.warning(
                "%s: the records %d to %d were deleted before they were archived",
                *(place, archived, beginning - 1),
            )
        return max(archived, beginning)

    def _take(self, records: Iterable[Record]) -> None:
        batch = self._settings.batch
        latest, before = self._clock.now_ms() + batch.future_s * 1000, self.events
        for record in records:
            held = self._held[record.place]
            if record.offset < held.following:
                continue
            event = decode(record.value, max_bytes=batch.max_bytes)
            kept = self._belongs(record, event, latest)
            held.take(record, kept)
            self.events += 1
            metrics.count("archived" if kept is not None else "left_out")
            reach("archive-polled")
        metrics.count("events", self.events - before)

    def _belongs(self, record: Record, event: Event | BadRecord, latest: float) -> Row | None:
        """Return the row of an event; None for what others set aside, and for our own hand-overs.

        A replay makes the hand-overs anew from their `identify` events.
        """
        if isinstance(event, BadRecord | Merge) or event.timestamp > latest:
            return None
        if about_items(event) != (record.topic == self._settings.kafka.catalogue):
            return None
        return row_of(record, event)

    def _due(self) -> list[TopicPartition]:
        """Return the partitions whose rows are many or old enough, or take up too much."""
        archive, now = self._settings.archive, time.monotonic()
        waiting = {place: held for place, held in self._held.items() if _waits(held)}
        due = [
            place
            for place, held in waiting.items()
            if len(held.rows) >= archive.max_rows or now - held.since >= archive.max_s
        ]
        left = sum(held.bytes for place, held in waiting.items() if place not in due)
        rest = sorted((p for p in waiting if p not in due), key=lambda p: -waiting[p].bytes)
        while rest and left > archive.max_mb * 1e6:
            left -= waiting[rest[0]].bytes
            due.append(rest.pop(0))
        return due

    def _write(self, places: Iterable[TopicPartition]) -> None:
        """Archive what is in hand of these, then tell Kafka how far the archive is."""
        for place in places:
            held = self._held.get(place)
            if held is None:  # lost while another one was written
                continue
            with metrics.step("checkpoint.archive"):
                span = (place, held.start, held.following, held.rows)
                self._patiently(partial(self.writer.write, *span), place)
            metrics.note_written(held.oldest_ms)
            reach("archive-span")
            log.debug("%s: %d to %d archived", place, held.start, held.following - 1)
            self._held[place] = _Held(held.following, held.following)
            self._owed[place] = held.following
        if self._owed:
            with metrics.step("checkpoint.commit"):
                # Where Kafka refuses, amid a rebalance, the archive knows the place all the same.
                if self.source.commit(self._owed):
                    self._owed.clear()
            reach("archive-committed")

    def _patiently(self, action: Callable[[], T], place: TopicPartition | None = None) -> T:
        """Do it; where the archive's filesystem fails, again and again until the patience ends."""
        deadline, delay = time.monotonic() + self._settings.archive.retry_s, FIRST_WAIT_S
        while True:
            try:
                return action()
            except FolderError as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("%s; trying again in %g s", error, delay)
            self._wait(delay)
            if self._stop.is_set() or (place is not None and place not in self._held):
                raise _GivenUp
            delay = min(delay * 2, LONGEST_WAIT_S)

    def _wait(self, seconds: float) -> None:
        """Wait as a member of the group: paused, and polling."""
        until = time.monotonic() + seconds
        mine = self.source.assignment()
        self.source.pause(mine)
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            for record in self.source.poll(1, max(1, int(min(left, 0.2) * 1000))):
                self.source.seek(record.place, record.offset)  # for later: none is to be missed
            self._drop()
            self._beat()
        self.source.resume(self.source.assignment() - self._gained)

    def _beat(self) -> None:
        """Say how it goes; a Redis that is away keeps nothing from being archived."""
        heart, now = self._heart, time.monotonic()
        if heart is None or self._store is None or not heart.due() or now < self._silent_until:
            return
        places = {str(place): held.start for place, held in self._held.items()}
        pulse = heart.pulse(self.events, self.source.lags(), places)
        key = self._store.keys.heartbeat(heart.process)
        try:
            self._store.write_plain([Plain(key, pulse, heart.LIFE_MS)])
        except StoreError as error:
            log.warning("no heartbeat: %s; archiving goes on", error)
            self._silent_until = time.monotonic() + SILENT_S


def _waits(held: _Held) -> bool:
    return held.following > held.start
