"""A shop whose text encoder is tuned: what the tests of that job have in common."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consumers.encoder_training import EncoderJob, EncoderOutcome
from consumers.encoders import encoder_at, promoted_encoder
from consumers.finetune import Finetune
from consumers.training import Outcome, TrainingJob
from consumers.training_input import catalogue_of, encode_items
from features.text import load_encoder
from features.vectors import item_vectors, query_vectors
from models.registry import Registry
from stream.clock import HandClock
from stream.events import Event
from stream.folder import Folder
from stream.records import TopicPartition
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, NOON, write_log
from tests.consumers.trained import small
from tests.stream.archives import fill, rows_of
from tests.tuned import TEXTS, goods, home_of, quick, walks

__all__ = ["EARLY", "LATE", "UNTOLD", "Shop"]

UNTOLD: dict[str, Any] = {"holdout": 0.1}
"""How a sequence model is trained that is asked too little to tell whether it is worse."""

EARLY = walks()
LATE = walks(begin=NOON + 3 * DAY, seed=9)


class Shop:
    """A Redis with items, a registry, an archive, and jobs over them."""

    def __init__(self, home: Path, server: str, tiny: Path) -> None:
        self.home, self.tiny = home, tiny
        self.first: EncoderOutcome | None = None
        self._redis = {"url": server, "prefix": home.name}
        self.clock = HandClock(NOON + 30 * DAY)
        self.store = Store(self.settings().redis)
        log = write_log(home / "items.jsonl", goods())
        own = load_encoder(self.settings().encoder)
        encode_items(self.settings(), self.store, own, log)

    def settings(self, **groups: Any) -> Settings:
        groups = {
            "redis": self._redis,
            "encoder": home_of(self.tiny),
            "encoder_tuning": quick(),
            "training": {"tolerance": 0.4},
        } | groups
        return Settings.model_validate(small(self.home, **groups))

    @property
    def registry(self) -> Registry:
        return Registry(Folder(self.settings().training.registry, self.clock))

    def tune(self, events: Sequence[Event], *, anew: bool = False, **groups: Any) -> EncoderOutcome:
        self.clock.advance_to(self.clock.now_ms() + 1000)
        job = EncoderJob(self.settings(**groups), self.store, self.registry)
        return job.run(lambda: events, anew=anew)

    def adopt(self, first: Shop) -> EncoderOutcome:
        """Take over another shop's registry, with its one encoder."""
        shutil.copytree(first.home / "models", self.home / "models")
        self.clock.advance_to(first.clock.now_ms())
        assert first.first is not None
        return first.first

    def train(self, events: Sequence[Event], **groups: Any) -> str:
        """Train a sequence model by the encoder of now; return its version."""
        outcome = self.sequence(events, **groups)
        assert outcome.verdict.promote
        return outcome.version

    def sequence(self, events: Sequence[Event], watch: Any = None, **groups: Any) -> Outcome:
        """Train one; where it is watched, in the folder for what is unfinished."""
        settings = self.settings(**groups)
        encoder = promoted_encoder(settings).encoder
        catalogue = catalogue_of(settings, self.store, encoder)
        queries = query_vectors(settings, self.store, encoder)
        folder = None if watch is None else self.home / "run"
        job = TrainingJob(settings, catalogue, queries, encoder, self.registry)
        outcome = job.run(events, folder=folder, watch=watch)
        assert outcome is not None
        return outcome

    def current(self, kind: Any) -> str:
        pointer = self.registry.current(kind)
        return "" if pointer is None else pointer.current.version

    def job(self, **groups: Any) -> Finetune:
        """Return the periodic job as a process has it that starts now."""
        groups.setdefault("encoder_tuning", quick(enabled=True))
        job = Finetune(self.settings(**groups), self.store, clock=self.clock)
        job.registry = self.registry
        return job

    def archive(self, events: Sequence[Event], partition: int = 0) -> None:
        place = TopicPartition("rillet.events", partition)
        fill(self.settings().archive.url, rows_of(events), place=place)

    def vectors(self, version: str) -> int:
        """Return how many of the items' texts have a vector by an encoder in Redis."""
        cache = item_vectors(self.settings(), self.store, encoder_at(self.settings(), version))
        cache.lookup(TEXTS)
        return cache.hits
