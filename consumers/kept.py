"""What `personalize` keeps between batches: users' states, and its partitions' learners."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from features.session import Session, decode_session, new_session
from models.engine import Engine
from models.head import average
from models.learner import Learner, LearnerState, OpenList, decode_learner
from models.lessons import Lessons, Observer
from stream import metrics
from stream.errors import ModelError
from stream.keys import Keys
from stream.records import TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Stamped

__all__ = ["KeptLearners", "KeptSessions"]

log = logging.getLogger(__name__)

SESSIONS: Final = 20_000
"""States kept in the process: the users of the last batches come back soon."""

HEAR_EVERY_S: Final = 3.0
"""Seconds between two looks at the learners of other processes."""

CHECKPOINT_EVERY: Final = 2_000
"""Events between two checkpoints of a learner."""


class KeptSessions:
    """A write-through cache of users' states; valid while their partitions are owned."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store, self._keys = store, keys
        self._held: dict[str, Session] = {}

    def __getitem__(self, user: str) -> Session:
        """Return a loaded state."""
        return self._held[user]

    def load(self, users: Iterable[str]) -> None:
        """Read the states that are not held, in one go; unknown users get an empty one."""
        wanted = list(dict.fromkeys(users))
        missing = [user for user in wanted if user not in self._held]
        raws = self._store.get_many([self._keys.session(user) for user in missing])
        for user, raw in zip(missing, raws, strict=True):
            self._held[user] = decode_session(raw) if raw else new_session(user)
        for user in wanted:  # latest used last, so that trimming drops who was long away
            self._held[user] = self._held.pop(user)

    def trim(self) -> None:
        """Drop the users that were away the longest."""
        for user in list(self._held)[: max(0, len(self._held) - SESSIONS)]:
            del self._held[user]

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()


class KeptLearners:
    """The learners of the partitions this process owns, and the weights of the others.

    Parameters
    ----------
    settings, store, keys
        Where checkpoints lie.
    engine
        Scores with the mean of all partitions' weights.
    observer
        Told of shown lists that got their clicks.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        keys: Keys,
        engine: Engine,
        observer: Observer | None,
    ) -> None:
        self._store, self._keys, self._engine = store, keys, engine
        self._join_ms = int(settings.blend.join_s * 1000)
        self._observer = observer
        self._saved: dict[int, int] = {}
        self._others: list[Learner] = []
        self._asked_at = 0.0
        self.held: dict[int, Learner] = {}

    @property
    def version(self) -> str:
        """The blend's version: how many examples its weights have behind them."""
        heads = [head for learner in self.held.values() for head in learner.heads.values()]
        return f"blend-{sum(head.examples for head in heads)}"

    def begin(self, partitions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Load checkpoints; return from where to reread the lists that were open."""
        places = list(partitions)
        raws = self._store.get_many([self._keys.learner(p.partition) for p in places])
        starts = {}
        for place, raw in zip(places, raws, strict=True):
            learner = self._new()
            self.held[place.partition] = learner
            if raw is not None and (state := self._restored(learner, raw)) is not None:
                starts[place] = state.oldest_open
            self._saved[place.partition] = learner.offset
        self._mix()
        return starts

    def _new(self) -> Learner:
        return Learner(self._engine.new_heads(), self._join_ms, self._closed)

    def _closed(self, shown: OpenList, taken: Sequence[bool]) -> None:
        if self._observer is not None:
            self._observer.closed(shown, taken)
        self._engine.learn_list(shown, taken)

    def _restored(self, learner: Learner, raw: bytes) -> LearnerState | None:
        try:
            state = decode_learner(raw)
            learner.restore(state)
        except (msgspec.MsgspecError, ModelError) as error:
            log.warning("a learner's checkpoint is set aside and learning begins anew: %s", error)
            return None
        return state

    def drop(self, places: Sequence[TopicPartition]) -> None:
        """Let go of partitions."""
        for place in places:
            self.held.pop(place.partition, None)
            self._saved.pop(place.partition, None)

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
        others = []
        for raw in raws:
            learner = self._new()
            if raw is not None and self._restored(learner, raw) is not None:
                others.append(learner)
        self._others = others

    def teach(self, lessons: Lessons) -> None:
        """Teach the partitions' learners, then score with what all partitions know now."""
        drifts = sum(learner.drifts for learner in self.held.values())
        lessons.teach(self.held)
        more = sum(learner.drifts for learner in self.held.values()) - drifts
        if more:
            metrics.count("drift", more)
            log.warning("the blend's loss has shifted: what users do has changed")
        self._mix()

    def _mix(self) -> None:
        if self.held:
            for name in self._engine.weights:
                heads = [one.heads[name] for one in (*self.held.values(), *self._others)]
                matrices = [(head.matrix(), head.examples) for head in heads]
                self._engine.weights[name] = average(matrices)

    def due(self, ttl_ms: int, *, all_of_them: bool = False) -> list[Stamped]:
        """Return the checkpoints that are due to be written."""
        stamped = []
        for partition, learner in self.held.items():
            behind = learner.offset - self._saved[partition]
            if behind >= CHECKPOINT_EVERY or (all_of_them and behind > 0):
                self._saved[partition] = learner.offset
                raw = msgspec.json.encode(learner.state(partition, 0))
                key = self._keys.learner(partition)
                stamped.append(Stamped(key, raw, partition, learner.offset, ttl_ms))
        return stamped
