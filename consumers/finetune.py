"""The periodic job: when enough is new, train the next model on the archive, and promote it.

One process at a time does so, over all machines, by a lease in Redis. It is
told of an end between two steps of training; the run then goes on from its
last whole pass when the job is started again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from consumers.training import KIND, Outcome, TrainingJob
from consumers.training_input import catalogue_of, events_of, offsets_at
from features.text import TextEncoder
from features.vectors import VectorCache
from models.manifest import Manifest
from models.registry import Registry
from stream import metrics
from stream.announcement import Announced, announce, announced
from stream.archive.reader import read_archive
from stream.clock import Clock, SystemClock
from stream.errors import FolderError, LogError, ModelError
from stream.events import Event
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain

__all__ = ["Finetune"]

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 30.0
"""Seconds between two looks at whether a run is due."""

LEASE_S: Final = 120.0
"""Life of the lease; it is renewed at every third of it."""

HOUR_MS: Final = 3_600_000


class _Stopped(BaseException):
    """The process is told to end in the middle of a run, or lost the lease."""


class Finetune:
    """Waits, trains, promotes; again.

    Parameters
    ----------
    settings, store
        Where archive, registry and Redis are, and when a run is due.
    encoder
        Whose vectors items have.
    clock
        Says how old the last model is.

    Attributes
    ----------
    registry
        Where models go.
    runs
        Models trained so far.
    """

    name = "finetune"

    def __init__(
        self, settings: Settings, store: Store, encoder: TextEncoder, clock: Clock | None = None
    ) -> None:
        self._settings, self._store, self._encoder = settings, store, encoder
        self._clock = clock or SystemClock()
        self.registry = Registry(settings.training.registry)
        self._heart = metrics.Heart(self.name, f"{settings.kafka.group}.{self.name}")
        self._lost = threading.Event()
        self._tried_at = 0
        self.runs = 0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; an unfinished run is continued by the next process."""
        looked = -math.inf
        while not stop.is_set():
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._announce()
                if self.due():
                    self.once(stop)
            self._beat()
            stop.wait(1.0)

    def _beat(self) -> None:
        """Say that this process is alive, where it is time to."""
        if self._heart.due():
            key = self._store.keys.heartbeat(self._heart.process)
            pulse = self._heart.pulse(self.runs, 0, {})
            self._store.write_plain([Plain(key, pulse, self._heart.LIFE_MS)])

    def due(self) -> bool:
        """Tell whether the last model, kept or refused, is old enough, or enough is new."""
        given, now = self._settings.transformer, self._clock.now_ms()
        if now - self._tried_at < min(HOUR_MS, given.every_hours * HOUR_MS):
            return False
        try:
            last = self._last()
            fresh = self._fresh(0 if last is None else last.data.last_ms + 1)
        except LogError as error:
            log.info("nothing to train on yet: %s", error)
            return False
        except FolderError as error:  # it may be there again when it is looked at next
            log.warning("%s", error)
            return False
        if last is None or now - last.made_at >= given.every_hours * HOUR_MS:
            return fresh > 0
        return fresh >= given.every_events

    def _last(self) -> Manifest | None:
        known = [one.manifest for one in self.registry.entries(KIND) if one.manifest is not None]
        return known[-1] if known else None

    def _fresh(self, since_ms: int) -> int:
        """Return how many interactions the archive has from a time on."""
        batches = read_archive(self._settings.archive.url, since_ms, columns=["event"])
        return sum(batch.column("event").to_pylist().count("interaction") for batch in batches)

    def once(self, stop: threading.Event) -> Outcome | None:
        """Train one model, unless another process does; announce it where it was promoted."""
        with self._lease() as mine:
            if not mine:
                log.info("another process trains")
                return None
            self._tried_at = self._clock.now_ms()
            try:
                outcome = self._train(stop)
            except _Stopped:
                log.info("training stops here and goes on at the next start")
                return None
            except (ModelError, LogError, FolderError) as error:
                log.warning("no model was trained: %s", error)
                return None
        if outcome is None:
            return None
        self.runs += 1
        self._announce()
        word = "promoted" if outcome.verdict.promote else "refused"
        log.info("%s is %s: %s", outcome.version, word, "; ".join(outcome.verdict.reasons))
        return outcome

    def _announce(self) -> None:
        """Tell the consumers what the registry's pointer says, where they were told otherwise."""
        try:
            pointer = self.registry.current(KIND)
        except (ModelError, FolderError) as error:
            log.warning("%s", error)
            return
        if pointer is None:
            return
        news = announced(self._store, KIND)
        current = pointer.current
        if news is None or news.version != current.version:
            announce(self._store, KIND, Announced(current.version, self.registry.url, current.at))

    def _train(self, stop: threading.Event) -> Outcome | None:
        def look_up() -> None:
            if stop.is_set() or self._lost.is_set():
                raise _Stopped
            self._beat()

        def read() -> Iterator[Event]:
            for event in events_of(settings, settings.archive.url):
                look_up()
                yield event

        def watch(step: int, steps: int, loss: float) -> None:
            look_up()
            if step == steps:
                log.info("a pass of %d steps ends with a loss of %.3f", steps, loss)

        settings, store, encoder = self._settings, self._store, self._encoder
        ttl_ms = int(settings.redis.ttl_days * DAY_MS)
        queries = VectorCache(store, store.keys, encoder, ttl_ms=ttl_ms)
        catalogue = catalogue_of(settings, store, encoder)
        job = TrainingJob(settings, catalogue, queries, encoder, self.registry)
        places = partial(offsets_at, settings.archive.url)
        folder = Path(settings.transformer.folder)
        return job.run(read(), folder=folder, watch=watch, offsets=places)

    @contextmanager
    def _lease(self) -> Iterator[bool]:
        """Hold the lease for the body; yield whether it was to be had."""
        lease = self._store.lease(self.name, LEASE_S)
        if not lease.take():
            yield False
            return
        done = threading.Event()
        self._lost.clear()

        def renew() -> None:
            while not done.wait(LEASE_S / 3):
                if not lease.renew():
                    log.warning("another process has begun to train meanwhile")
                    self._lost.set()
                    return

        keeper = threading.Thread(target=renew, name="lease", daemon=True)
        keeper.start()
        try:
            yield True
        finally:
            done.set()
            keeper.join()
            lease.give_up()
