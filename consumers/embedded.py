"""The engine within another program: three consumers by turns in one thread, no Kafka.

What Kafka is elsewhere is here a broker in memory. An event that it has taken and that was not
handled yet is lost where the process dies; for a shop that matters there is Kafka.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from consumers.encoders import promoted_encoder
from consumers.wiring import CONSUMERS, end_beside, group_of, handler_of, save_learners
from features.text import TextEncoder
from models.answer import decode_answer
from stream.clock import Clock, ShiftedClock, SystemClock
from stream.errors import BrokerError, RilletError, SettingsError
from stream.keys import DEFAULT_USER
from stream.loop import Loop
from stream.memory import MemoryBroker, MemorySink
from stream.records import Outgoing, Record, Sink, TopicPartition
from stream.settings import KafkaSettings, Settings
from stream.store import Store

__all__ = ["Embedded"]

log = logging.getLogger(__name__)

IDLE_MS: Final = 50
"""How long an event on another topic than the busiest may wait while nothing happens."""

REST_S: Final = 20.0
"""How long what was accepted is still worked on after the end was asked for."""


class Embedded:
    """Runs catalogue, personalize and neighbours over a Redis of this machine.

    State that a replay or an earlier run has left in the folder is gone on with.

    Parameters
    ----------
    settings
        All settings; ``redis.url`` is ``embedded:DIR``.
    resume_clock
        Let time go on from the newest event, as if none had passed since: a simulated shop then
        is not as old as its log.

    Attributes
    ----------
    clock
        The engine's.
    encoder
        The text encoder.
    failed
        Why it has ended before it was told to; None where it has not.

    Raises
    ------
    SettingsError
        ``redis.url`` names no folder of an embedded Redis, or one that another engine works on.
    StoreError
        The embedded Redis does not start.
    """

    def __init__(self, settings: Settings, *, resume_clock: bool = False) -> None:
        url = settings.redis.url.get_secret_value()
        if not url.removeprefix("embedded:") or not url.startswith("embedded:"):
            raise SettingsError(
                f"an engine within the process cannot share {url}",
                "name a folder: embedded:DIR",
            )
        self.settings = settings
        self.failed: RilletError | None = None
        self._store = Store(settings.redis)
        try:
            self._store.claim()
        except SettingsError:
            self._store.close()
            raise
        self.encoder: TextEncoder = promoted_encoder(settings).encoder
        newest = _newest(self._store) if resume_clock else None
        self.clock: Clock = SystemClock() if newest is None else ShiftedClock(newest)
        begin = _positions(settings, self._store)
        self._partitions = {topic: _partitions(topic, begin) for topic in _topics(settings)}
        # Records are stamped by the wall clock, from which freshness is measured.
        wall = SystemClock()
        self._broker = MemoryBroker(self._partitions, keep=False, begin=begin, clock=wall)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Handle what was accepted, keep what was learned, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._store.close()

    def sink(self, _: KafkaSettings) -> Sink:
        """Return the way in for events; it takes none that nobody would handle.

        Its ``send`` and ``flush`` raise BrokerError once the engine has ended, or is told to.
        """
        return _WayIn(self._broker.sink(), self._check)

    def letters(self) -> list[Record]:
        """Return the records that were set aside since the start."""
        return self._broker.records(self.settings.kafka.deadletters)

    def _check(self) -> None:
        if self.failed is not None:
            raise BrokerError(f"the engine has ended: {self.failed}", self.failed.mend)
        if self._stop.is_set():
            raise BrokerError("the engine ends, or has ended", "start it again")

    def _run(self) -> None:
        try:
            self._work()
        except RilletError as error:
            self.failed = error
            log.error("the engine has ended: %s", error)
        except Exception as error:  # any bug of a handler: who sends events must learn of it
            what = f"{type(error).__name__}: {error}"
            self.failed = RilletError(what, "the log says where; start it again")
            log.exception("the engine has ended")
        finally:
            self._stop.set()  # however it went, nothing more is taken

    def _work(self) -> None:
        loops: list[Loop] = []
        try:
            loops = [self._loop(name) for name in CONSUMERS]
            for loop in loops:
                loop.begin(self._stop)
            while not self._stop.is_set():
                self._turn(*loops)
            _finish(loops)
            for loop in loops:
                loop.end_well(partial(save_learners, loop.handler, self._store))
        finally:
            for loop in loops:
                end_beside(loop.handler)
                loop.close()
            left = sum(self._broker.waiting(group_of(name, self.settings)) for name in CONSUMERS)
            if left:
                log.warning("%d records that were accepted are not handled", left)

    def _loop(self, name: str) -> Loop:
        settings = self.settings
        parts = (self._store, self._partitions, self.encoder, self.clock)
        handler = handler_of(name, settings, *parts)
        source = self._broker.source(group_of(name, settings), handler.topics)
        return Loop(handler, source, self._broker.sink(), self._store, settings.batch)

    @staticmethod
    def _turn(catalogue: Loop, personalize: Loop, neighbours: Loop) -> None:
        while catalogue.step(wait_ms=0):
            pass
        personalize.step(wait_ms=IDLE_MS)
        while neighbours.step(wait_ms=0):
            pass


def _finish(loops: Sequence[Loop]) -> None:
    """Handle what is left, the catalogue's first."""
    until = time.monotonic() + REST_S
    while any(loop.step(wait_ms=0) for loop in loops) and time.monotonic() < until:
        pass


class _WayIn:
    """A sink that is shut as soon as a check fails."""

    def __init__(self, sink: MemorySink, check: Callable[[], None]) -> None:
        self._sink, self._check = sink, check

    def send(self, record: Outgoing) -> None:
        self._check()
        self._sink.send(record)

    def flush(self, timeout_s: float = 30.0) -> None:
        self._check()
        self._sink.flush(timeout_s)

    def close(self) -> None:
        self._sink.close()


def _topics(settings: Settings) -> tuple[str, ...]:
    kafka = settings.kafka
    return kafka.events, kafka.catalogue, kafka.transitions, kafka.deadletters


def _positions(settings: Settings, store: Store) -> dict[TopicPartition, int]:
    """Return up to where each partition was read by an earlier run."""
    heads = {f"{group_of(name, settings)}:" for name in CONSUMERS}
    found: dict[TopicPartition, int] = {}
    for name, raw in store.scan("position"):
        head = next((one for one in heads if name.startswith(one)), None)
        if head is not None:
            topic, _, number = name.removeprefix(head).rpartition(":")
            place = TopicPartition(topic, int(number))
            found[place] = max(found.get(place, 0), int(raw))
    return found


def _newest(store: Store) -> int | None:
    """Return the time of the newest event behind the list for unknown users, None without one."""
    raw = store.get(store.keys.recs(DEFAULT_USER))
    return None if raw is None else decode_answer(raw).as_of.event_time


def _partitions(topic: str, begin: Mapping[TopicPartition, int]) -> int:
    return 1 + max((place.partition for place in begin if place.topic == topic), default=0)
