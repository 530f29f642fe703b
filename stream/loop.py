"""The loop: poll, handle, checkpoint; again.

It owns everything that can go wrong around a handler: partitions that move,
a Redis that goes away, a signal to stop. A handler only turns records into
:class:`stream.writes.Writes`.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Final, Protocol

from stream import metrics
from stream.checkpoint import Checkpoint, start_position
from stream.collector import settle
from stream.cutting import Cutter
from stream.errors import BrokerError, RilletError
from stream.faults import reach
from stream.records import Record, Sink, Source, TopicPartition
from stream.settings import BatchSettings
from stream.store import Store
from stream.tracing import Tracer
from stream.writes import Plain, Writes

__all__ = ["Handler", "Loop", "stop_on_signals"]

log = logging.getLogger(__name__)

_PUBLISHED: Final = attrgetter("timestamp")


class Handler(Protocol):
    """What one kind of consumer does with its records. Everything runs in one thread."""

    @property
    def name(self) -> str:
        """The consumer's name, as in ``rillet consume NAME``."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """The topics it reads."""
        ...

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take over partitions, before the first of their records is read."""
        ...

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop what is held in memory of these: another process may change it from now on.

        Called too when a batch was given up in an outage of Redis; the same
        partitions may come back right away.
        """
        ...

    def handle(self, records: Sequence[Record]) -> Writes:
        """Turn a batch into writes; must not write by itself.

        What it changes in memory must be what it returns: the writes are
        carried out, or :meth:`revoked` is called for every partition.
        """
        ...

    def committed(self) -> None:
        """Take note that everything handled so far is written."""
        ...


class GivenUp(BaseException):
    """The batch at hand is given up: memory is dropped, and read again from where Redis is.

    A BaseException, so that nothing swallows it on its way to the loop.
    """


class Loop:
    """Runs a handler over a source.

    Parameters
    ----------
    handler
        What to do with the records.
    source, sink, store
        Where they come from and where results go. The loop closes source
        and sink; it also sets ``store.wait``.
    batch
        How to cut batches.

    Attributes
    ----------
    events
        Records handled so far.
    tracer
        Makes spans of a sample of the batches; None, the usual case, of none.
    """

    def __init__(
        self, handler: Handler, source: Source, sink: Sink, store: Store, batch: BatchSettings
    ) -> None:
        self.handler, self.source, self.sink, self.store = handler, source, sink, store
        self.events = 0
        self.tracer: Tracer | None = None
        self._batch = batch
        self._checkpoint = Checkpoint(source, sink, store, batch.commit_ms / 1000)
        self._cutter = Cutter(batch.cut) if batch.cut else None
        self._held: set[TopicPartition] = set()
        self._gained: set[TopicPartition] = set()
        self._lost: set[TopicPartition] = set()
        self._stop = threading.Event()
        self._thread = threading.get_ident()
        self._heart: metrics.Heart | None = None
        self._fresh = False
        source.listen(self._on_assigned, self._on_revoked)
        store.wait, store.restarts.hook = self._wait, self._restarted
        store.restarts.watching, store.restarts.owner = True, self._thread

    def step(self, *, wait_ms: int | None = None, flush: bool = True) -> int:
        """Do one batch; return how many records it had.

        Parameters
        ----------
        wait_ms
            How long to wait for a first record; None: as in the settings.
        flush
            With ``batch.cut``: whether the end of a log completes a batch. A
            replay that is still being fed says False.
        """
        try:
            self.store.restarts.tell()
            records = self._next(self._batch.wait_ms if wait_ms is None else wait_ms, flush)
            if records:
                self._do(records)
            elif self._checkpoint.owes:
                self._make_up()
            if self._heart is not None and self._heart.due():
                self._beat(self._heart)
        except GivenUp:
            self._begin_again()
            return 0
        return len(records)

    def begin(self, stop: threading.Event) -> None:
        """Belong to this thread from here on, and send heartbeats; :meth:`run` does it itself.

        For who takes the steps of several loops by turns in one thread.

        Parameters
        ----------
        stop
            Ends a wait for Redis.
        """
        self._stop, self._thread = stop, threading.get_ident()
        self.store.restarts.owner = self._thread
        self._heart = metrics.Heart(self.handler.name, self.source.group)
        self._fresh = True

    def run(self, stop: threading.Event, ended: Callable[[], None] | None = None) -> None:
        """Work until ``stop`` is set; the batch at hand is finished, then all is closed.

        Parameters
        ----------
        stop
            Ends the work.
        ended
            Called where it ended well, before the partitions are left to others.
        """
        self.begin(stop)
        try:
            while not stop.is_set():
                self.step()
            if ended is not None:
                self.end_well(ended)
        except BaseException:  # who leaves in an error does not wait for Kafka once more
            self._checkpoint.forget(tuple(self._held))
            raise
        finally:
            self.close()

    def end_well(self, ended: Callable[[], None]) -> None:
        """Do what is left to do before the partitions are left; what Redis refuses is not kept."""
        try:
            ended()
        except GivenUp:  # what is in memory may be ahead of Redis; the next one reads it again
            log.warning("Redis was restarted; what was learned since the last batch is not kept")

    def close(self) -> None:
        """Tell Kafka the last positions, leave the group and close source and sink.

        The store stays open.
        """
        self.store.wait, self.store.restarts.hook = time.sleep, lambda: None
        self.store.restarts.owner = None
        try:
            if self._checkpoint.owes:
                self._checkpoint.repay()
        except BrokerError as error:  # what it would spare the next one is known to the state
            log.warning("the last positions are not in Kafka: %s", error)
        finally:
            try:
                self.sink.close()
            finally:
                self.source.close()

    def _next(self, wait_ms: int, flush: bool) -> list[Record]:
        """Return the next batch, [] where there is none for now."""
        while True:
            self._settle()
            if self._cutter is not None and (whole := self._cutter.take()):
                return whole
            with metrics.step("poll"):
                records = self.source.poll(self._batch.max_records, wait_ms)
            # Gained partitions come paused: begin them, then ask again.
            again = bool(self._gained)
            if self._lost:
                records = [one for one in records if one.place not in self._lost]
            self._settle()
            if self._cutter is not None:
                self._cutter.add(records)
                again = again or bool(records)
                records = [] if again or not flush else self._cutter.take(self._ended)
            if records or not again:
                return records

    def _make_up(self) -> None:
        """Tell Kafka the positions that it was not told, or did not take."""
        refused = self._checkpoint.refused
        if self._checkpoint.repay() and refused:
            self.handler.committed()

    def _ended(self, place: TopicPartition, following: int) -> bool:
        return self.source.end(place) <= following

    def _do(self, records: Sequence[Record]) -> None:
        positions = _following(records)
        reach("polled")
        try:
            with metrics.step("handle"):
                writes = self.handler.handle(records)
        except RilletError:
            raise
        except Exception:  # any bug of a handler: told with its records, then raised
            log.exception("%s failed on %s", self.handler.name, _span(records))
            raise
        reach("handled")
        self.store.restarts.tell()
        with metrics.step("checkpoint"):
            outcome = self._checkpoint.commit(writes, positions)
        self.events += len(records)
        metrics.count("events", len(records))
        metrics.note_written(min(map(_PUBLISHED, records)))
        if self.tracer is not None:
            self.tracer.batch(records, self.source.group)
        if outcome.refused:
            metrics.count("refused", len(outcome.refused))
            late = outcome.refused[0]  # not its key, which names a user
            words = "%d writes came too late: one of offset %d found %d"
            log.warning(words, len(outcome.refused), late.offset, late.present)
        if outcome.kept:
            self.handler.committed()
        else:
            log.warning("the group is shared out anew; the positions are committed after that")

    def _on_assigned(self, places: Sequence[TopicPartition]) -> None:
        self._gained.update(places)

    def _on_revoked(self, places: Sequence[TopicPartition]) -> None:
        self._lost.update(places)
        self._gained.difference_update(places)

    def _settle(self) -> None:
        """Let go of lost partitions, begin gained ones; not done within a poll.

        Beginning reads Redis, which may be away, which polls to stay in the group.
        """
        if self._lost:
            lost, self._lost = self._lost, set()
            self._drop(lost)
        if not self._gained:
            return
        gained = sorted(self._gained)
        self._held.update(gained)
        starts = {place: start_position(self.source, self.store, place) for place in gained}
        reach("gained")
        self.handler.assigned(gained)
        if self._fresh:
            self._fresh = False
            settle()
        for place, start in starts.items():
            self.source.seek(place, start)
            self._checkpoint.begin(place, start)
        self.source.resume(gained)
        self._gained.difference_update(gained)
        log.info("%s reads %s", self.handler.name, ", ".join(map(str, gained)))

    def _drop(self, places: Iterable[TopicPartition]) -> None:
        known = sorted(self._held.intersection(places))
        self._held.difference_update(known)
        self._checkpoint.forget(known)
        if self._cutter is not None:
            self._cutter.forget(known)
        if known:
            self.handler.revoked(known)

    def _begin_again(self) -> None:
        """Give up the batch at hand: memory may be ahead of Redis, so all of it goes."""
        self._lost.clear()
        self._drop(tuple(self._held))
        mine = self.source.assignment()
        self.source.pause(mine)
        self._gained = set(mine)

    def _wait(self, seconds: float) -> None:
        """Wait for Redis, as a member of the group: paused, and polling."""
        if threading.get_ident() != self._thread:
            time.sleep(seconds)
            return
        until = time.monotonic() + seconds
        mine = self.source.assignment()
        self.source.pause(mine)
        while (left := until - time.monotonic()) > 0:
            self.source.poll(1, max(1, int(min(left, 0.2) * 1000)))
            if self._lost or self._stop.is_set():
                raise GivenUp
        self.source.resume(mine - self._gained)

    def _restarted(self) -> None:
        """Redis may have lost its last seconds: begin again from what it still has.

        Otherwise positions that are written from here on would say that all before is there.
        """
        raise GivenUp

    def _beat(self, heart: metrics.Heart) -> None:
        places = {str(place): at for place, at in self._checkpoint.positions.items()}
        pulse = heart.pulse(self.events, self.source.lags(), places)
        key = self.store.keys.heartbeat(heart.process)
        self.store.write_plain([Plain(key, pulse, heart.LIFE_MS)])
        if self._checkpoint.owes:
            self._make_up()
        self._checkpoint.confirm()


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; to be called in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _following(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """Return the next-to-read offset of each partition in the batch."""
    positions: dict[TopicPartition, int] = {}
    last = records[0]
    for record in records:
        if record.partition != last.partition or record.topic != last.topic:
            positions[last.place] = last.offset + 1
        last = record
    positions[last.place] = last.offset + 1
    return positions


def _span(records: Sequence[Record]) -> str:
    first: dict[TopicPartition, int] = {}
    for record in records:
        first.setdefault(record.place, record.offset)
    following = _following(records)
    return ", ".join(f"{place} {at} to {following[place] - 1}" for place, at in first.items())
