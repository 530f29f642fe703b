"""The periodic job: when enough is new, train the next model on the archive, and promote it.

One process at a time does so, over all machines, by a lease in Redis. It is
told of an end between two steps of training; the run then goes on from its
last whole pass when the job is started again, one of the encoder from its
beginning.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from consumers.announcing import IN_ORDER, announce_current
from consumers.encoder_training import EncoderJob, EncoderOutcome
from consumers.encoders import Promoted, encoder_at, promoted_encoder, same_but_form
from consumers.lease import held
from consumers.training import KIND, Outcome, TrainingJob
from consumers.training_input import catalogue_of, events_of, offsets_of
from features.text import TextEncoder
from features.vectors import query_vectors
from models.encoder_packing import KIND as ENCODER
from models.gate import Verdict
from models.manifest import Kind, Manifest
from models.registry import Registry
from models.training import Watch
from stream import metrics
from stream.archive.reader import read_archive
from stream.clock import Clock, SystemClock
from stream.errors import EncoderError, FolderError, LogError, ModelError
from stream.events import Event
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain

__all__ = ["Finetune"]

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_EVERY_S: Final = 30.0
"""Seconds between two looks at whether a run is due."""

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
        Whose vectors items have; the promoted one where None.
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
        self,
        settings: Settings,
        store: Store,
        encoder: TextEncoder | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings, self._store = settings, store
        begun = promoted_encoder(settings) if encoder is None else Promoted(encoder, "")
        self._encoder, self._encoded_by = begun
        self._clock = clock or SystemClock()
        self.registry = Registry(settings.training.registry)
        self._heart = metrics.Heart(self.name, f"{settings.kafka.group}.{self.name}")
        self._lost = threading.Event()
        self._tried_at = self._tuned_at = 0
        self._told_of = ""
        self.runs = 0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; an unfinished run is continued by the next process."""
        looked = -math.inf
        while not stop.is_set():
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._follow()
                self._announce()
                if self.encoder_due():
                    self.once_encoder(stop)
                elif self.due():
                    self.once(stop)
            self._beat()
            stop.wait(1.0)

    def _beat(self) -> None:
        """Say that this process is alive, where it is time to."""
        if self._heart.due():
            key = self._store.keys.heartbeat(self._heart.process)
            pulse = self._heart.pulse(self.runs, {}, {})
            self._store.write_plain([Plain(key, pulse, self._heart.LIFE_MS)])

    def _follow(self) -> None:
        """Have the encoder that the pointer names, which somebody else may have moved.

        One that fails is tried again at each look, and told once.
        """
        version = ""
        try:
            pointer = self.registry.current(ENCODER)
            if pointer is not None and pointer.current.version != self._encoded_by:
                version = pointer.current.version
                self._encoder = encoder_at(self._settings, version)
                self._encoded_by, self._told_of = version, ""
        except (ModelError, FolderError, EncoderError) as error:
            if self._told_of != (problem := f"{version}: {error}"):
                self._told_of = problem
                metrics.count("models.refused")
                log.error(
                    "nothing is trained: the text encoder is still %s, the promoted one fails: %s",
                    *(self._encoder.version, error),
                )

    def _able(self) -> bool:
        """Tell whether this process has the current encoder, in the form that others have it.

        What it trained otherwise, nobody could serve; and what is current would seem to be
        of another encoder.
        """
        pointer = self.registry.current(ENCODER)
        if pointer is not None and pointer.current.version != self._encoded_by:
            return False
        mine, read = self._encoder.version, self._read_by()
        if mine == read or not same_but_form(mine, read):
            return True
        if self._told_of != read:
            self._told_of = read
            log.error(
                "nothing is trained: the current model reads vectors by %s, here it is %s;"
                " set encoder.int8 alike on all machines, or `rillet train --anew`",
                *(read, mine),
            )
        return False

    def _read_by(self) -> str:
        """Return the encoder whose vectors the current model reads; "" where that is unknown."""
        try:
            pointer = self.registry.current(KIND)
            return (
                "" if pointer is None else self.registry.manifest(pointer.current.version).encoder
            )
        except ModelError:
            return ""

    def _foreign(self) -> bool:
        """Tell whether the current model reads vectors of another encoder than the present one.

        Nobody can serve it: after a rollback of the encoder, or a crash between the two
        promotions of an encoder and its model.
        """
        return self._read_by() not in ("", self._encoder.version)

    def encoder_due(self) -> bool:
        """Tell whether the text encoder is to be tuned: with the models, but less often.

        Where a sequence model is current another one has to go with the encoder, and is
        compared on what is newer than the current one: so the time for it has to have come.
        """
        given, now = self._settings.encoder_tuning, self._clock.now_ms()
        life = given.every_days * DAY_MS
        if not given.enabled or now - self._tuned_at < min(HOUR_MS, life):
            return False
        try:
            if not self._able():
                return False
            # One without a word of the gate is of a run that was interrupted.
            last = self._last(ENCODER, lambda one: bool(one.notes))
            if last is not None and now - last.made_at < life:
                return False
            return self.registry.current(KIND) is None or self.due()
        except (ModelError, FolderError) as error:
            log.warning("%s", error)
            return False

    def due(self) -> bool:
        """Tell whether the last model, kept or refused, is old enough, or enough is new.

        One that reads vectors of another encoder is to be replaced at once.
        """
        given, now = self._settings.transformer, self._clock.now_ms()
        if now - self._tried_at < min(HOUR_MS, given.every_hours * HOUR_MS):
            return False
        try:
            if not (able := self._able()) or self._foreign():
                return able
            # One by another encoder was tried with that, and refused with it.
            last = self._last(KIND, lambda one: one.encoder == self._encoder.version)
            fresh = self._fresh(0 if last is None else last.data.last_ms + 1)
        except LogError as error:
            log.info("nothing to train on yet: %s", error)
            return False
        except (ModelError, FolderError) as error:  # it may be there again at the next look
            log.warning("%s", error)
            return False
        if last is None or now - last.made_at >= given.every_hours * HOUR_MS:
            return fresh > 0
        return fresh >= given.every_events

    def _last(self, kind: Kind, counts: Callable[[Manifest], bool]) -> Manifest | None:
        known = (one.manifest for one in self.registry.entries(kind))
        return next((one for one in reversed([*known]) if one is not None and counts(one)), None)

    def _fresh(self, since_ms: int) -> int:
        """Return how many interactions the archive has from a time on."""
        batches = read_archive(self._settings.archive.url, since_ms, columns=["event"])
        return sum(batch.column("event").to_pylist().count("interaction") for batch in batches)

    def once(self, stop: threading.Event) -> Outcome | None:
        """Train one model, unless another process does; announce it where it was promoted."""
        outcome = self._alone(lambda: self._train(stop), "goes on at the next start")
        if outcome is not None:
            self._told(outcome.version, outcome.verdict)
        return outcome

    def once_encoder(self, stop: threading.Event) -> EncoderOutcome | None:
        """Tune the text encoder, unless another process trains; announce it where promoted."""
        outcome = self._alone(lambda: self._tune(stop), "begins anew at the next start")
        if outcome is not None:
            self._follow()
            self._told(outcome.version, outcome.verdict)
        return outcome

    def _alone(self, work: Callable[[], T | None], later: str) -> T | None:
        """Do it while holding the lease; None where it came to nothing."""
        with held(self._store, self._lost) as mine:
            if not mine:
                log.info("another process trains")
                return None
            try:
                return work()
            except _Stopped:
                log.info("training stops here and %s", later)
            except (ModelError, LogError, FolderError, EncoderError) as error:
                log.warning("no model was trained: %s", error)
        return None

    def _told(self, version: str, verdict: Verdict) -> None:
        self.runs += 1
        self._announce()
        word = "promoted" if verdict.promote else "refused"
        metrics.count(f"trainings.{word}")
        log.info("%s is %s: %s", version, word, "; ".join(verdict.reasons))

    def _announce(self) -> None:
        """Tell the consumers what the registry's pointers say; of one that is damaged, go on."""
        for kind in IN_ORDER:
            try:
                announce_current(self._store, self.registry, kind)
            except (ModelError, FolderError) as error:
                log.warning("%s", error)

    def _look_up(self, stop: threading.Event) -> None:
        if stop.is_set() or self._lost.is_set():
            raise _Stopped
        self._beat()

    def _read(self, stop: threading.Event) -> Iterator[Event]:
        for event in events_of(self._settings, self._settings.archive.url):
            self._look_up(stop)
            yield event

    def _watch(self, stop: threading.Event) -> Watch:
        def watch(step: int, steps: int, loss: float) -> None:
            self._look_up(stop)
            if step == steps:
                log.info("a pass of %d steps ends with a loss of %.3f", steps, loss)

        return watch

    def _train(self, stop: threading.Event) -> Outcome | None:
        self._tried_at = self._clock.now_ms()
        settings, store, encoder = self._settings, self._store, self._encoder
        queries = query_vectors(settings, store, encoder)
        catalogue = catalogue_of(settings, store, encoder)
        job = TrainingJob(settings, catalogue, queries, encoder, self.registry)
        folder, anew = Path(settings.transformer.folder), self._foreign()
        if anew:
            log.warning("the current model reads vectors of another encoder; it is trained anew")
        return job.run(
            self._read(stop),
            anew=anew,
            folder=folder,
            watch=self._watch(stop),
            offsets=offsets_of(settings.archive.url),
            ready=lambda: self._look_up(stop),
        )

    def _tune(self, stop: threading.Event) -> EncoderOutcome:
        def progress(done: int, total: int) -> None:
            self._look_up(stop)

        self._tuned_at = self._clock.now_ms()
        watch = self._watch(stop)
        job = EncoderJob(self._settings, self._store, self.registry, watch, progress)
        outcome = job.run(
            lambda: self._read(stop),
            offsets=partial(offsets_of, self._settings.archive.url),
            ready=lambda: self._look_up(stop),
        )
        if outcome.sequence is not None and outcome.verdict.promote:
            self._tried_at = self._tuned_at
        return outcome
