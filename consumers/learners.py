"""What `personalize` has learned: kept over restarts, shared between processes.

Each partition's learner is written with every batch that taught it anything,
before the states of its users, together with the shown lists that it opened;
so an event is learned from once, whatever happens in between. After every few examples
what the partition has added to the weights is told to the other processes, and theirs is
heard (:mod:`models.sharing`). What the sources of a process have learned is written every
minute and when it ends: a crash costs them at most that minute, and no user anything.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from consumers.turns import LEARNERS, LISTS, STATES
from features.card import AsOf
from models.engine import Engine
from models.learner import Learner, LearnerState, decode_learner
from models.lessons import Lessons, Observer
from models.open_list import OpenList, decode_list, encode_list
from models.sharing import Pool, Share, Told, decode_told
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
"""Seconds after which others are heard, however little was learned here."""

MODELS_EVERY_S: Final = 60.0
"""Seconds between two checkpoints of what the sources have learned."""

LIST_TTL_MS: Final = DAY_MS
"""Life of an open list, should nobody come to close it."""


class _Stamped(Struct):
    as_of: AsOf


_STAMP: Final = msgspec.json.Decoder(_Stamped)


class KeptLearners:
    """The learners of the partitions this process owns, and what those of others have added.

    Parameters
    ----------
    settings, store
        Where checkpoints lie.
    engine
        Scores with what all partitions have taught.
    observer
        Told of shown lists that got their clicks.

    Attributes
    ----------
    held
        The learners of this process, by partition.
    hear_every_s
        Seconds after which others are heard, however little was learned here.
    """

    def __init__(
        self, settings: Settings, store: Store, engine: Engine, observer: Observer | None
    ) -> None:
        self._store, self._keys, self._engine = store, Keys(settings.redis.prefix), engine
        self._ttl_ms = int(settings.redis.ttl_days * DAY_MS)
        self._join_ms = int(settings.blend.join_s * 1000)
        self._observer = observer
        self._every = settings.blend.share
        self.hear_every_s = HEAR_EVERY_S
        self._pools = {name: Pool(head) for name, head in engine.new_heads().items()}
        self._told: dict[int, int] = {}
        self._heard = 0
        self._asked_at = -math.inf
        self._models_at = time.monotonic()
        self.held: dict[int, Learner] = {}

    @property
    def version(self) -> str:
        """The blend's version: how many choices its weights have behind them."""
        return f"blend-{self._pools['next'].examples}"

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
        self._asked_at = -math.inf
        self._load_models(gained if self._engine.learned else range(max(partitions, 1)))
        raws = self._store.get_many([self._keys.learner(at) for at in gained])
        for partition, raw in zip(gained, raws, strict=True):
            self._forget(partition)  # what others were told of it may be older, or newer
            learner = self._new(partition)
            if raw is not None and not self._restore(learner, raw):
                self._forget(partition)  # a checkpoint that fails may have been read in part
                learner = self._new(partition)
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
        heads = {name: Share(pool, partition) for name, pool in self._pools.items()}
        return Learner(heads, self._join_ms, partial(self._closed, partition))

    def _forget(self, partition: int) -> None:
        for pool in self._pools.values():
            pool.drop([partition])
        self._told.pop(partition, None)

    def _closed(self, partition: int, shown: OpenList, taken: Sequence[bool], offset: int) -> None:
        if self._observer is not None:
            self._observer.closed(shown, taken)
        if offset > self._engine.taught.get(partition, -1):
            self._engine.close_list(shown, taken)

    def _restore(self, learner: Learner, raw: bytes) -> bool:
        """Continue from a checkpoint; one that cannot be read is set aside."""
        try:
            state = decode_learner(raw)
            learner.restore(state, self._open_lists(state))
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
        """Let go of partitions; memory may be ahead of what Redis has of them."""
        self._asked_at = -math.inf
        for place in places:
            self.held.pop(place.partition, None)
            self._forget(place.partition)
        self._mix()

    def hear(self, partitions: int) -> None:
        """Take in what other processes learned; after every few examples, or seconds.

        Parameters
        ----------
        partitions
            Partitions of the events topic, whoever owns them.
        """
        elsewhere = [place for place in range(partitions) if place not in self.held]
        if not self.held or not self._every:
            return
        for pool in self._pools.values():
            pool.crowd(partitions / len(self.held))
        if not elsewhere:
            return
        # Reading one partition costs less than learning from an example: so it stays cheap.
        enough = self._learned() - self._heard >= max(self._every, len(elsewhere))
        now = time.monotonic()
        if not enough and now - self._asked_at < self.hear_every_s:
            return
        self._asked_at, self._heard = now, self._learned()
        raws = self._store.get_many([self._keys.taught(place) for place in elsewhere])
        for place, raw in zip(elsewhere, raws, strict=True):
            if raw is not None:
                self._take_in(place, raw)
        self._mix()

    def overtaken(self, done: Mapping[int, int]) -> bool:
        """Tell whether another process has taught a partition that this one has.

        Parameters
        ----------
        done
            Partition to the last offset that was folded in before this process came to it.
        """
        behind = [at for at, offset in done.items() if offset > self.held[at].offset]
        raws = self._store.get_many([self._keys.learner(at) for at in behind])
        found = zip(behind, raws, strict=True)
        return any(
            raw is not None and _STAMP.decode(raw).as_of.offset > self.held[at].offset
            for at, raw in found
        )

    def examples(self) -> dict[tuple[str, ...], float]:
        """Return how many examples the heads of this process' own partitions have."""
        return {
            (name, str(partition)): head.examples
            for partition, learner in self.held.items()
            for name, head in learner.heads.items()
        }

    def _learned(self) -> int:
        """Return how many examples this process' own partitions have."""
        return sum(_examples(learner) for learner in self.held.values())

    def _take_in(self, partition: int, raw: bytes) -> None:
        """Replace what is known of another process' partition, unless it cannot be read."""
        try:
            told = decode_told(raw)
            known = [(pool, told.heads[name]) for name, pool in self._pools.items()]
            for pool, part in known:  # all of them, or none
                pool.check(part)
            for pool, part in known:
                pool.put(partition, part)
        except (msgspec.MsgspecError, ModelError, KeyError) as error:
            log.warning("what partition %d was taught is left out: %s", partition, error)

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
        for name, pool in self._pools.items():
            pool.settle()
            self._engine.weights[name] = pool.head.matrix()

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
        for partition, learner in self.held.items():
            if learner.changed:
                self._keep(partition, learner, writes)
            self._tell(partition, learner, writes, leaving=models)
        now = time.monotonic()
        if self.held and (models or now - self._models_at >= MODELS_EVERY_S):
            self._models_at = now
            key = self._keys.models(min(self.held))
            writes.plain.append(Plain(key, self._engine.state(), self._ttl_ms))

    def _keep(self, partition: int, learner: Learner, writes: Writes) -> None:
        """Add a learner's checkpoint, and the lists that it opened or closed."""
        ids = self._engine.world.catalogue.ids
        for name, shown in learner.begun.items():
            key, raw = self._keys.open_list(partition, name), encode_list(shown, partition, ids)
            opened = Stamped(key, raw, partition, shown.offset, LIST_TTL_MS, LISTS)
            writes.stamped.append(opened)
        raw, key = learner.encode(partition), self._keys.learner(partition)
        kept = Stamped(key, raw, partition, learner.offset, self._ttl_ms, LEARNERS)
        writes.stamped.append(kept)
        gone = learner.closed_for_good()
        writes.plain += [Plain(self._keys.open_list(partition, name), None) for name in gone]
        learner.noted()

    def _tell(self, partition: int, learner: Learner, writes: Writes, *, leaving: bool) -> None:
        """Add what a partition has added to the weights, where it is a few examples more.

        What is told is no newer than the checkpoint, which is written before it.
        """
        examples, told = _examples(learner), self._told.get(partition, 0)
        if not self._every or examples == told:
            return
        if leaving or examples // self._every > told // self._every:
            self._told[partition] = examples
            heads = {name: head.state() for name, head in learner.heads.items()}
            raw = msgspec.json.encode(Told(AsOf(partition, learner.offset, 0), heads))
            key = self._keys.taught(partition)
            one = Stamped(key, raw, partition, learner.offset, self._ttl_ms, STATES)
            writes.stamped.append(one)


def _examples(learner: Learner) -> int:
    return sum(head.examples for head in learner.heads.values())
