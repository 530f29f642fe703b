"""One run of the training job: archive in, a model in the registry out, promoted if it may be."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from msgspec import Struct

from features.catalogue import Catalogue
from features.text import TextEncoder
from models.gate import Verdict, judge
from models.manifest import Manifest
from models.packing import add_to, read_from
from models.registry import Registry
from models.sequence import SequenceModel
from models.sources.base import QueryVectors
from models.training import Watch
from models.tuning import Tuned, Tuner, tuner_for
from stream.events import Event
from stream.settings import Settings

__all__ = ["Outcome", "TrainingJob"]

log = logging.getLogger(__name__)

KIND: Final = "sequence"


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
    metrics: dict[str, dict[str, float]]


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
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        queries: QueryVectors,
        encoder: TextEncoder,
        registry: Registry,
    ) -> None:
        self._settings, self._catalogue, self._encoder = settings, catalogue, encoder
        self._registry, self._queries = registry, queries

    def run(
        self,
        events: Iterable[Event],
        *,
        anew: bool = False,
        folder: Path | None = None,
        watch: Watch | None = None,
    ) -> Outcome:
        """Train the next model on a stream.

        Parameters
        ----------
        events
            The stream, in order; those before the current model's are what it may forget.
        anew
            Begin without the current model.
        folder
            Where to keep the unfinished run.
        watch
            Told of the progress.

        Raises
        ------
        ModelError
            There is too little to learn from, or the current model is damaged.
        """
        tuner = tuner_for(self._settings, self._catalogue, self._queries)
        current, parent = (None, "") if anew else self._begin(tuner)
        for event in events:
            tuner.add(event)
        begun = time.monotonic()
        tuned = tuner.run(folder, watch)
        outcome = self._judge(tuned, current, parent, time.monotonic() - begun)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _begin(self, tuner: Tuner) -> tuple[SequenceModel | None, str]:
        """Let the tuner go on from the current model; return it and its version."""
        pointer = self._registry.current(KIND)
        if pointer is None:
            return None, ""
        version = pointer.current.version
        parcel = read_from(self._registry, version, self._encoder.version)
        rows = self._catalogue.rows_of(parcel.names)
        model = parcel.over(self._catalogue.vectors.copy(), rows)
        tuner.begin_with(model, parcel.manifest.data.last_ms + 1)
        return model, version

    def _judge(
        self, tuned: Tuned, current: SequenceModel | None, parent: str, seconds: float
    ) -> Outcome:
        model, exam = tuned.model, tuned.exam
        marks = {"candidate": exam.marks(model)}
        if current is not None:
            known = np.arange(len(current.contents))
            vectors = torch.from_numpy(self._catalogue.vectors.copy())
            marks["current"] = exam.marks(current.over(vectors, torch.from_numpy(known)).eval())
        questions = exam.questions()
        settings = self._settings.training
        verdict = judge(marks["candidate"], marks.get("current"), questions, settings)
        means = {
            name: {value: float(m.mean()) for value, m in one.items()}
            for name, one in marks.items()
        }
        manifest = Manifest(
            KIND,
            metrics=means,
            parent=parent,
            encoder=self._encoder.version,
            seed=self._settings.transformer.seed,
        )
        names = self._catalogue.ids[: len(model.contents)]
        version = add_to(self._registry, tuned, names, manifest)
        if verdict.promote:
            self._registry.promote(version, "; ".join(verdict.reasons))
        else:
            self._registry.mark(version, "refused", verdict.reasons)
        epochs = tuned.trained.epochs
        return Outcome(
            version,
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
