"""One run of the training job: archive in, a model in the registry out, promoted if it may be."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from accelerate import PartialState
from msgspec import Struct
from msgspec.structs import replace as replace_in
from numpy.typing import NDArray

from features.catalogue import Catalogue
from features.text import TextEncoder
from models.examine import Exam, Means, means_of
from models.gate import Verdict, judge
from models.manifest import Kind, Manifest
from models.packing import add_to, read_from
from models.registry import Registry
from models.sequence import SequenceModel
from models.sources.base import QueryVectors
from models.training import Watch
from models.tuning import Tuned, tuner_for
from stream.errors import ModelError
from stream.events import Event
from stream.settings import Settings

__all__ = ["KIND", "Offsets", "Outcome", "Rival", "TrainingJob", "at_once", "no_offsets"]

log = logging.getLogger(__name__)

KIND: Final[Kind] = "sequence"

Offsets = Callable[[int], dict[str, int]]
"""Says where the stream's partitions were at a time (epoch ms)."""


def no_offsets(time_ms: int) -> dict[str, int]:
    """Say of a log that it has none."""
    return {}


def at_once() -> None:
    """Let a new model be promoted without asking anybody."""


class Outcome(Struct, frozen=True):
    """What a run came to.

    Attributes
    ----------
    version, parent
        The new model in the registry, and the one it was tuned from, "" where from none.
    verdict
        What the gate said.
    epochs, best, seconds
        Passes, the one that was kept, and how long they took.
    held_out
        Mean loss of what was held out, after each pass.
    interactions, users, items
        What it knew.
    metrics
        Mean marks of the candidate and of the current model.
    """

    version: str
    parent: str
    verdict: Verdict
    epochs: int
    best: int
    seconds: float
    held_out: list[float]
    interactions: int
    users: int
    items: int
    metrics: Means


@dataclass(frozen=True, slots=True)
class Rival:
    """Where the current model's vectors come from, if not from the new one's encoder.

    Attributes
    ----------
    encoder
        Version of its encoder.
    vectors
        (n, dim) content vectors by it, of the first items of the new one's catalogue.
    queries
        Vectors of queries by it.
    """

    encoder: str
    vectors: NDArray[np.float32]
    queries: QueryVectors

    def over(self, size: int) -> NDArray[np.float32]:
        """Return vectors of all items of the catalogue, those that came since without one."""
        more = np.zeros((size - len(self.vectors), self.vectors.shape[1]), np.float32)
        return np.concatenate([self.vectors, more])

    def of(self, exam: Exam) -> Exam:
        """Return an exam with its queries in the vectors of this encoder."""
        texts, material = exam.material.data.queries, exam.material
        if not texts:
            return exam
        return replace(exam, material=replace(material, queries=self.queries.vectors(texts)))


@dataclass(frozen=True, slots=True)
class _Current:
    """The model that is to be replaced: over the catalogue, and what it has learned from."""

    model: SequenceModel
    version: str
    last_ms: int

    def fair(self, exam: Exam) -> Exam:
        """Return an exam without what it was trained on, or could have been."""
        return replace(exam, wanted=exam.wanted & (exam.material.data.time > self.last_ms))


class TrainingJob:
    """Trains, examines, registers and promotes.

    Parameters
    ----------
    settings
        All settings.
    catalogue, queries, encoder
        Items with their vectors, where queries' vectors come from, and whose these are.
    registry
        Where models are kept.
    rival
        Where the current model is of another encoder: its vectors. What the run comes to is
        then not promoted, for the encoders are to be promoted first.
    """

    def __init__(  # noqa: PLR0913 - five things that all runs need, and one that few have
        self,
        settings: Settings,
        catalogue: Catalogue,
        queries: QueryVectors,
        encoder: TextEncoder,
        registry: Registry,
        rival: Rival | None = None,
    ) -> None:
        self._settings, self._catalogue, self._encoder = settings, catalogue, encoder
        self._registry, self._queries, self._rival = registry, queries, rival

    def run(  # noqa: PLR0913 - what a run is about, and whom it asks and tells on its way
        self,
        events: Iterable[Event],
        *,
        anew: bool = False,
        folder: Path | None = None,
        watch: Watch | None = None,
        offsets: Offsets = no_offsets,
        ready: Callable[[], None] = at_once,
    ) -> Outcome | None:
        """Train the next model on a stream.

        Of several processes that train together, as torchrun starts them, the first one
        does all that follows; the others return None.

        Parameters
        ----------
        events
            The stream, in order; those before the current model's are what it may forget.
        anew
            Begin without the current model, which is still what the new one has to match.
        folder
            Where to keep the unfinished run; removed where it is of no use any more.
        watch
            Told of the progress.
        offsets
            Where the stream was, for the manifest.
        ready
            Asked before the new model is registered, and promoted where it may be; what it
            raises leaves both undone, and the unfinished run where it is.

        Raises
        ------
        ModelError
            There is too little to learn from, or the current model is damaged.
        """
        tuner = tuner_for(self._settings, self._catalogue, self._queries)
        current = self._current(anew)
        if current is not None and not anew:
            tuner.begin_with(current.model, current.last_ms + 1, current.version)
        for event in events:
            tuner.add(event)
        begun = time.monotonic()
        try:
            logs = self._settings.transformer.logs
            tuned = tuner.run(folder, watch, Path(logs) if logs else None, self._encoder.version)
            if not PartialState().is_main_process:
                return None
            seconds = time.monotonic() - begun
            places = offsets(tuned.until_ms)
            outcome, manifest = self._judge(tuned, current, anew, seconds, places)
            ready()
            version = self._keep(tuned, manifest, outcome.verdict)
        except ModelError:  # nor would the run's rest come to anything else
            _remove(folder)
            raise
        _remove(folder)
        return replace_in(outcome, version=version)

    def _current(self, anew: bool) -> _Current | None:
        """Return the current model; one that cannot be read only hinders who starts from it."""
        pointer = self._registry.current(KIND)
        if pointer is None:
            return None
        version = pointer.current.version
        try:
            encoder = self._encoder.version if self._rival is None else self._rival.encoder
            parcel = read_from(self._registry, version, encoder)
        except ModelError as error:
            if not anew:
                raise
            log.warning("the new model is compared with none: %s", error)
            return None
        rows = self._catalogue.rows_of(parcel.names)
        model = parcel.over(self._vectors(), rows)
        return _Current(model, version, parcel.manifest.data.last_ms)

    def _vectors(self) -> NDArray[np.float32]:
        """Return the content vectors that the current model reads."""
        if self._rival is not None:
            return self._rival.over(len(self._catalogue))
        return self._catalogue.vectors.copy()

    def _judge(
        self,
        tuned: Tuned,
        current: _Current | None,
        anew: bool,
        seconds: float,
        offsets: dict[str, int],
    ) -> tuple[Outcome, Manifest]:
        """Return what the run comes to, not registered yet, and what is to be written of it."""
        model, exam = tuned.model, tuned.exam
        parent = "" if current is None or anew else current.version
        marks = {}
        if current is not None:
            exam = current.fair(exam)
            grown = current.model.over(self._vectors())  # items came while events were read
            asked = exam if self._rival is None else self._rival.of(exam)
            marks["current"] = asked.marks(grown)
        marks["candidate"] = exam.marks(model)
        verdict = judge(
            marks["candidate"], marks.get("current"), exam.questions(), self._settings.training
        )
        means = means_of(marks)
        manifest = Manifest(
            KIND,
            offsets=offsets,
            metrics=means,
            parent=parent,
            encoder=self._encoder.version,
            seed=self._settings.transformer.seed,
        )
        epochs = tuned.trained.epochs
        outcome = Outcome(
            "",
            parent,
            verdict,
            len(epochs),
            tuned.trained.best,
            seconds,
            [epoch.held_out for epoch in epochs],
            tuned.interactions,
            tuned.users,
            len(model.contents),
            means,
        )
        return outcome, manifest

    def _keep(self, tuned: Tuned, manifest: Manifest, verdict: Verdict) -> str:
        """Write a version, and what the gate said of it; return its name."""
        names = self._catalogue.ids[: len(tuned.model.contents)]
        version = add_to(self._registry, tuned, names, manifest)
        if not verdict.promote:
            self._registry.mark(version, "refused", verdict.reasons)
        elif self._rival is None:
            self._registry.promote(version, "; ".join(verdict.reasons))
        return version


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
