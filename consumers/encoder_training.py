"""One run of the encoder's job: archive in, an adapter in the registry out, promoted if it may be.

A sequence model reads the vectors of one encoder. Where one is current, another
is trained on the candidate's vectors, and the two are promoted together or not
at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from consumers.encoder_stock import Stock
from consumers.encoders import encoder_at
from consumers.re_encoding import re_encode
from consumers.training import KIND as SEQUENCE
from consumers.training import Offsets, Outcome, Rival, TrainingJob, at_once, no_offsets
from features.merging import Adapter, load_adapted
from features.model_folder import find_base
from features.text import Progress, TextEncoder
from features.trunk import Trunk
from features.vectors import Found, VectorCache, item_vectors
from models.encoder_exam import ContentExam
from models.encoder_packing import KIND, add_adapter, add_untouched, read_adapter
from models.encoder_tuning import Lesson, TunedEncoder, tune
from models.examine import Exam, Means, means_of
from models.gate import MIN_QUESTIONS, Verdict, judge
from models.interactions import Interactions, recorder_for
from models.manifest import Manifest, Span
from models.registry import Registry
from models.training import Watch
from models.training_data import Material
from stream.errors import ModelError
from stream.events import Event
from stream.settings import Settings
from stream.store import Store

__all__ = ["EncoderJob", "EncoderOutcome"]

log = logging.getLogger(__name__)


def nowhere() -> Offsets:
    """Say of a log that it has no offsets."""
    return no_offsets


UNTOUCHED: Final = Adapter("", {}, 0, 0)
NO_BETTER: Final = "no pass lowered the loss of what was held out"


class EncoderOutcome(Struct, frozen=True):
    """What a run came to.

    Attributes
    ----------
    version, parent
        The new encoder in the registry, and the one it was tuned from, "" for the settings'.
    verdict
        What the gate said; of the two models where a sequence model goes with it.
    epochs, best, seconds
        Passes, the one that was kept (-1: none), and how long they took.
    before, held_out
        Mean loss of what was held out, before the first pass and after each.
    pairs, items
        Trained on, and in the catalogue.
    metrics
        Mean marks of the candidate and of the current encoder, as the source `content`.
    sequence
        The sequence model that was trained on its vectors, if any.
    """

    version: str
    parent: str
    verdict: Verdict
    epochs: int
    best: int
    seconds: float
    before: float
    held_out: list[float]
    pairs: int
    items: int
    metrics: Means
    sequence: Outcome | None = None


@dataclass(frozen=True, slots=True)
class _Current:
    """The encoder that is to be replaced, and until when it has learned."""

    encoder: TextEncoder
    adapter: Adapter | None
    last_ms: int


@dataclass(frozen=True, slots=True)
class _Source:
    """The stream, and whom to ask: where it is, and whether there may be a promotion."""

    events: Callable[[], Iterable[Event]]
    offsets: Callable[[], Offsets]
    ready: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Trial:
    """A candidate: what it was tuned from and on, and itself, loaded as it would be served."""

    version: str
    encoder: TextEncoder
    tuned: TunedEncoder
    lesson: Lesson
    stock: Stock
    current: _Current


class EncoderJob:
    """Tunes, examines, registers, re-encodes and promotes.

    Parameters
    ----------
    settings, store
        All settings; where cards lie, and vectors go.
    registry
        Where models are kept.
    watch, progress
        Told of the steps of training; of the texts that are encoded by the candidate.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        registry: Registry,
        watch: Watch | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._settings, self._store, self._registry = settings, store, registry
        self._watch, self._progress = watch, progress
        self._base = find_base(settings.encoder)

    def run(
        self,
        events: Callable[[], Iterable[Event]],
        *,
        anew: bool = False,
        offsets: Callable[[], Offsets] = nowhere,
        ready: Callable[[], None] = at_once,
    ) -> EncoderOutcome:
        """Tune the next encoder on a stream.

        A run that is ended by what ``watch``, ``progress`` or ``ready`` raises leaves at most
        a version that the gate has said nothing of.

        Parameters
        ----------
        events
            Gives the stream, in order; it is read again for the sequence model.
        anew
            Begin with the settings' own encoder; the current one is still what is to be matched.
        offsets
            Asked before the stream is read: where it is then, for the manifests.
        ready
            Asked before anything is promoted.

        Raises
        ------
        ModelError
            There is too little to learn from, or the current encoder is damaged.
        EncoderError, StoreError
        """
        given = self._settings
        current = self._current(anew)
        stock = Stock.of(given, self._store, current.encoder)
        recorder = recorder_for(given, stock.catalogue.ensure)
        source = _Source(events, offsets, ready)
        places = source.offsets()
        for event in events():
            recorder.add(event)
        data, stock = recorder.columns(), stock.grown()
        self._demand_newer(data)
        start = None if anew else current.adapter
        since_ms = 0 if start is None else current.last_ms + 1
        lesson = Lesson(data, stock.texts, stock.vectors, since_ms)
        begun = time.monotonic()
        tuned = self._tune(lesson, start)
        version = self._add(tuned, lesson, start, places)
        seconds = time.monotonic() - begun
        trial = _Trial(version, encoder_at(given, version), tuned, lesson, stock, current)
        verdict, metrics, found = self._examine(trial)
        outcome = EncoderOutcome(
            version,
            "" if start is None else start.version,
            verdict,
            len(tuned.epochs),
            tuned.best,
            seconds,
            tuned.before,
            [epoch.held_out for epoch in tuned.epochs],
            tuned.pairs,
            len(stock.texts),
            metrics,
        )
        return self._decide(trial, outcome, found, source)

    def _demand_newer(self, data: Interactions) -> None:
        """Refuse a run that could only be refused in the end: before it trains, not after.

        Raises
        ------
        ModelError
            Too little is newer than the current sequence model to compare another one with it.
        """
        pointer = self._registry.current(SEQUENCE)
        if pointer is None:
            return
        try:
            known_ms = self._registry.manifest(pointer.current.version).data.last_ms
        except ModelError:  # nothing is compared with one that cannot be read
            return
        newer = int(((data.time > known_ms) & (data.weight > 0)).sum())
        if newer < MIN_QUESTIONS:
            raise ModelError(
                f"{newer} positive interactions are newer than the current Transformer:"
                " the one that has to go with the encoder cannot be compared with it",
                "wait for more events, or give the encoder a registry of its own (--registry)",
            )

    def _current(self, anew: bool) -> _Current:
        """Return the current encoder; one that cannot be read only hinders who starts from it."""
        encoder, base = self._settings.encoder, self._base
        pointer = self._registry.current(KIND)
        if pointer is not None:
            try:
                adapter, manifest = read_adapter(self._registry, pointer.current.version, base)
                there = adapter if adapter.arrays else None
                return _Current(load_adapted(encoder, base, adapter), there, manifest.data.last_ms)
            except ModelError as error:
                if not anew:
                    raise
                log.warning("the new encoder is compared with the settings' own: %s", error)
        return _Current(load_adapted(encoder, base, UNTOUCHED), None, 0)

    def _tune(self, lesson: Lesson, start: Adapter | None) -> TunedEncoder:
        given = self._settings.encoder_tuning
        if start is not None:  # the shape is that of what it starts from
            given = given.model_copy(update={"rank": start.rank, "alpha": start.alpha})
        trunk = Trunk(self._base.folder, self._settings.encoder, given.max_tokens)
        arrays = None if start is None else start.arrays
        return tune(trunk, lesson, given, arrays, self._watch)

    def _add(
        self, tuned: TunedEncoder, lesson: Lesson, start: Adapter | None, offsets: Offsets
    ) -> str:
        given, data = self._settings.encoder_tuning, lesson.data
        shape = (given.rank, given.alpha) if start is None else (start.rank, start.alpha)
        users, items = len(np.unique(data.user)), len(np.unique(data.item))
        span = Span(lesson.since_ms, int(data.time.max(initial=0)), len(data), users, items)
        parent = "" if start is None else start.version
        ends = offsets(span.last_ms)
        manifest = Manifest(KIND, data=span, offsets=ends, parent=parent, seed=given.seed)
        return add_adapter(self._registry, tuned.arrays, self._base, shape, manifest)

    def _examine(self, trial: _Trial) -> tuple[Verdict, Means, Found]:
        """Return what the gate says, mean marks, and the candidate's vectors, not stored yet."""
        lesson, stock = trial.lesson, trial.stock
        material = Material(lesson.data, np.zeros((0, 1), np.float32), lesson.since_ms)
        alive = stock.catalogue.alive.copy()
        exam = ContentExam.of(Exam(material, trial.tuned.held, alive), stock.known)
        exam = exam.after(trial.current.last_ms)
        marks = {"current": exam.marks(stock.vectors)}
        found = Found(stock.vectors, [])
        if trial.tuned.best < 0:
            verdict = Verdict(False, [NO_BETTER])
        else:
            found = self._cache(trial.encoder).lookup(stock.texts, progress=self._progress)
            marks["candidate"] = exam.marks(found.vectors)
            asked, rules = exam.questions(), self._settings.training
            verdict = judge(marks["candidate"], marks["current"], asked, rules)
        return verdict, means_of(marks), found

    def _cache(self, encoder: TextEncoder) -> VectorCache:
        return item_vectors(self._settings, self._store, encoder)

    def _decide(
        self,
        trial: _Trial,
        outcome: EncoderOutcome,
        found: Found,
        source: _Source,
    ) -> EncoderOutcome:
        """Promote the candidate, with a sequence model of its own where one is current."""
        registry, version = self._registry, outcome.version
        if outcome.verdict.promote and registry.current(SEQUENCE) is not None:
            outcome = self._with_sequence(trial, outcome, found, source)
        reasons = outcome.verdict.reasons
        if not outcome.verdict.promote:
            registry.mark(version, "refused", reasons, metrics=outcome.metrics)
            return outcome
        self._store.write_plain(found.writes)
        # Also what has come meanwhile.
        re_encode(self._settings, self._store, trial.encoder, self._progress)
        source.ready()
        registry.mark(version, "candidate", reasons, metrics=outcome.metrics)
        if registry.current(KIND) is None:
            untouched = add_untouched(registry, self._base)
            registry.promote(untouched, "the encoder as it is, for a rollback to go to")
        registry.promote(version, "; ".join(reasons))
        if outcome.sequence is not None:
            registry.promote(outcome.sequence.version, f"goes with the encoder {version}")
        return outcome

    def _with_sequence(
        self,
        trial: _Trial,
        outcome: EncoderOutcome,
        found: Found,
        source: _Source,
    ) -> EncoderOutcome:
        """Train a sequence model on the candidate's vectors; where it is refused, so are both."""
        stock, old, new = trial.stock, trial.current.encoder, trial.encoder
        cache = self._cache(new)
        catalogue = stock.by(found.vectors[: len(stock.cards)])
        rival = Rival(old.version, stock.catalogue.vectors.copy(), self._cache(old))
        job = TrainingJob(self._settings, catalogue, cache, new, self._registry, rival)
        try:
            places = source.offsets()
            sequence = job.run(
                source.events(), anew=True, watch=self._watch, offsets=places, ready=source.ready
            )
        except ModelError as error:
            words = f"no sequence model could be trained on its vectors: {error}"
            return replace(outcome, verdict=Verdict(False, [words]))
        assert sequence is not None
        said = "; ".join(sequence.verdict.reasons)
        words = f"the sequence model on its vectors, {sequence.version}: {said}"
        both = sequence.verdict.promote
        kept = [*outcome.verdict.reasons, words] if both else [words]
        verdict = replace(outcome.verdict, promote=both, reasons=kept)
        return replace(outcome, verdict=verdict, sequence=sequence)
