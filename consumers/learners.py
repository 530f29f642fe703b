"""What `personalize` has learned: kept over restarts, shared between processes.

Each partition's learner is written with every batch that taught it anything,
before the states of its users, together with the shown lists that it opened;
so an event is learned from once, whatever happens in between. What the sources of a process have
learned is written every minute and when it ends: a crash costs them at most
that minute, and no user anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from models.engine import Engine
from models.head import average
from models.learner import Learner, LearnerState, decode_learner
from models.lessons import Lessons, Observer
from models.open_list import OpenList, decode_list, encode_list
from stream import metrics
from stream.errors import ModelError
from stream.keys import Keys
from stream.records import TopicPartition
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain, Stamped, Writes

__all__ = ["KeptLearners"]

log = logging.getLogger(__name__)

HEAR_EVERY_S: Final = 3.0
"""Seconds between two looks at the learners of other processes."""

MODELS_EVERY_S: Final = 60.0
"""Seconds between two checkpoints of what the sources have learned."""

LIST_TTL_MS: Final = DAY_MS
"""Life of an open list, should nobody come to close it."""


class KeptLearners:
    """The learners of the partitions this process owns, and the weights of the others.

    Parameters
    ----------
    settings, store
        Where checkpoints lie.
    engine
        Scores with the mean of all partitions' weights.
    observer
        Told of shown lists that got their clicks.
    """

    def __init__(
        self, settings: Settings, store: Store, engine: Engine, observer: Observer | None
    ) -> None:
        self._store, self._keys, self._engine = store, Keys(settings.redis.prefix), engine
        self._ttl_ms = int(settings.redis.ttl_days * DAY_MS)
        self._join_ms = int(settings.blend.join_s * 1000)
        self._observer = observer
        self._others: list[Learner] = []
        self._asked_at = 0.0
        self._models_at = time.monotonic()
        self.held: dict[int, Learner] = {}

    @property
    def version(self) -> str:
        """The blend's version: how many choices its weights have behind them."""
        learners = (*self.held.values(), *self._others)
        return f"blend-{sum(learner.heads['next'].examples for learner in learners)}"

    def begin(self, places: Iterable[TopicPartition], partitions: int) -> None:
        """Load the checkpoints of partitions that were gained.

        Parameters
        ----------
        places
            The partitions.
        partitions
            How many the events topic has, whoever owns them.
        """
        gained = [place.partition for place in places]
        self._others, self._asked_at = [], 0.0
        self._load_models(gained if self._engine.learned else range(max(partitions, 1)))
        raws = self._store.get_many([self._keys.learner(at) for at in gained])
        for partition, raw in zip(gained, raws, strict=True):
            learner = self._new(partition)
            if raw is not None and not self._restore(learner, raw):
                learner = self._new(partition)  # a checkpoint that fails may have been read in part
            self.held[partition] = learner
        self._mix()

    def _load_models(self, partitions: Iterable[int]) -> None:
        """Take over what the sources of the most experienced process had learned, if it is more."""
        raws = self._store.get_many([self._keys.models(at) for at in partitions])
        found = []
        for raw in raws:
            if raw is not None:
                try:
                    found.append((Engine.experience(raw), raw))
                except ModelError as error:
                    log.warning("%s", error)
        for experience, raw in sorted(found, key=lambda one: -one[0]):
            if experience <= self._engine.learned:
                return
            try:
                self._engine.restore(raw)
            except ModelError as error:  # of other sources, it may be: the next one is older
                log.warning("%s", error)
            else:
                return

    def _new(self, partition: int) -> Learner:
        return Learner(self._engine.new_heads(), self._join_ms, partial(self._closed, partition))

    def _closed(self, partition: int, shown: OpenList, taken: Sequence[bool], offset: int) -> None:
        if self._observer is not None:
            self._observer.closed(shown, taken)
        if offset > self._engine.taught.get(partition, -1):
            self._engine.learn_list(shown, taken)

    def _restore(self, learner: Learner, raw: bytes, *, lists: bool = True) -> bool:
        """Continue from a checkpoint; one that cannot be read is set aside."""
        try:
            state = decode_learner(raw)
            learner.restore(state, self._open_lists(state) if lists else {})
        except (msgspec.MsgspecError, ModelError) as error:
            log.warning("a learner's checkpoint is set aside and learning begins anew: %s", error)
            return False
        return True

    def _open_lists(self, state: LearnerState) -> dict[str, OpenList]:
        """Read the shown lists that waited for clicks; those that expired are let go."""
        names = list(state.open)
        raws = self._store.get_many(
            [self._keys.open_list(state.as_of.partition, name) for name in names]
        )
        catalogue, width = self._engine.world.catalogue, len(self._engine.list_names)
        found = {}
        for name, raw in zip(names, raws, strict=True):
            if raw is not None:
                try:
                    found[name] = decode_list(raw, catalogue, width)
                except ModelError as error:
                    log.warning("%s; it is let go", error)
        return found

    def drop(self, places: Sequence[TopicPartition]) -> None:
        """Let go of partitions."""
        self._others, self._asked_at = [], 0.0
        for place in places:
            self.held.pop(place.partition, None)

    def hear(self, partitions: int) -> None:
        """Read what the learners of other processes know, every few seconds.

        Parameters
        ----------
        partitions
            Partitions of the events topic, whoever owns them.
        """
        now = time.monotonic()
        if partitions <= len(self.held) or now - self._asked_at < HEAR_EVERY_S:
            return
        self._asked_at = now
        elsewhere = [place for place in range(partitions) if place not in self.held]
        raws = self._store.get_many([self._keys.learner(place) for place in elsewhere])
        found = zip(elsewhere, raws, strict=True)
        others = [(self._new(place), raw) for place, raw in found if raw is not None]
        self._others = [one for one, raw in others if self._restore(one, raw, lists=False)]
        self._mix()

    def teach(self, lessons: Lessons) -> None:
        """Teach the partitions' learners, then score with what all partitions know now."""
        drifts = sum(learner.drifts for learner in self.held.values())
        lessons.teach()
        more = sum(learner.drifts for learner in self.held.values()) - drifts
        if more:
            metrics.count("drift", more)
            log.warning("the blend's loss has risen: what users do has changed")
        if any(learner.changed for learner in self.held.values()):
            self._mix()

    def _mix(self) -> None:
        if self.held:
            for name in self._engine.weights:
                heads = [one.heads[name] for one in (*self.held.values(), *self._others)]
                matrices = [(head.matrix(), head.examples) for head in heads]
                self._engine.weights[name] = average(matrices)

    def checkpoint(self, writes: Writes, *, models: bool = False) -> None:
        """Add what has been learned since the last call; to be called before states are added.

        Parameters
        ----------
        writes
            Added to. Lists come before the learner that names them, and are
            deleted after the learner that has closed them.
        models
            Whether the sources' turn has come, however long their last one is ago.
        """
        ids = self._engine.world.catalogue.ids
        for partition, learner in self.held.items():
            if not learner.changed:
                continue
            for name, shown in learner.begun.items():
                key, raw = self._keys.open_list(partition, name), encode_list(shown, partition, ids)
                writes.stamped.append(Stamped(key, raw, partition, shown.offset, LIST_TTL_MS))
            raw, key = msgspec.json.encode(learner.state(partition)), self._keys.learner(partition)
            writes.stamped.append(Stamped(key, raw, partition, learner.offset, self._ttl_ms))
            gone = learner.closed_for_good()
            writes.plain += [Plain(self._keys.open_list(partition, name), None) for name in gone]
            learner.noted()
        now = time.monotonic()
        if self.held and (models or now - self._models_at >= MODELS_EVERY_S):
            self._models_at = now
            key = self._keys.models(min(self.held))
            writes.plain.append(Plain(key, self._engine.state(), self._ttl_ms))
