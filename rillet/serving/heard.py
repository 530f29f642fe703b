"""The blend's weights as the running consumers have learned them, for who only reads them."""

from __future__ import annotations

import logging
import math
import time
from typing import Final

import msgspec

from models.engine import Engine
from models.sharing import Pool, Told, decode_told
from stream.errors import ModelError
from stream.keys import Keys
from stream.settings import Settings
from stream.store import Store

__all__ = ["HeardLearners"]

log = logging.getLogger(__name__)

AT_ONCE: Final = 64
"""Partitions that are looked for at once; where none of so many is there, none follows."""

MODELS_EVERY_S: Final = 60.0
"""Seconds between two looks for new partitions, and at what the sources have learned."""

MORE: Final = 1.05
"""By how much more the sources must have seen to be taken over: it stops the answers shortly."""


class HeardLearners:
    """What all partitions have taught the blend, and what the sources have learned.

    Each method says whether it reads Redis or changes the engine; none does both.

    Parameters
    ----------
    settings, store
        Where it lies.
    engine
        Whose weights are set.

    Attributes
    ----------
    models_every_s
        Seconds between two looks for new partitions, and at what the sources have learned.
    """

    def __init__(self, settings: Settings, store: Store, engine: Engine) -> None:
        self._store, self._keys, self._engine = store, Keys(settings.redis.prefix), engine
        self._shared = bool(settings.blend.share)
        self._pools = {name: Pool(head) for name, head in engine.new_heads().items()}
        self._raws: dict[int, bytes] = {}
        self._told: dict[int, Told] = {}
        self.models_every_s = MODELS_EVERY_S
        self._models_at = -math.inf

    @property
    def version(self) -> str:
        """The blend's version: how many choices its weights have behind them."""
        return f"blend-{self._pools['next'].examples}"

    def read(self) -> bytes | None:
        """Read what is new in Redis; return what the sources have learned, if that is much more."""
        now = time.monotonic()
        if now - self._models_at < self.models_every_s:
            self._read_told(list(self._raws))
            return None
        self._models_at = now
        partitions = self._read_all()
        return self._read_models(partitions)

    def _read_all(self) -> list[int]:
        """Read all partitions' learners, and what was told since; return which there are."""
        found: list[int] = []
        self._raws, self._told = {}, {}  # of a Redis that was emptied nothing is to stay
        for first in range(0, 2**16, AT_ONCE):
            some = range(first, first + AT_ONCE)
            raws = self._store.get_many([self._keys.learner(at) for at in some])
            here = [at for at, raw in zip(some, raws, strict=True) if raw is not None]
            if not here:
                break
            found += here
            for at, raw in zip(some, raws, strict=True):
                self._hear(at, raw)
        self._read_told(found)
        return found

    def _read_told(self, partitions: list[int]) -> None:
        key = self._keys.taught if self._shared else self._keys.learner
        raws = self._store.get_many([key(at) for at in partitions]) if partitions else []
        for at, raw in zip(partitions, raws, strict=True):
            self._hear(at, raw)

    def _hear(self, partition: int, raw: bytes | None) -> None:
        """Note what a partition was taught, unless that is older than what is known of it."""
        if raw is None or self._raws.get(partition) == raw:
            return
        try:
            told = decode_told(raw)
        except msgspec.MsgspecError as error:
            log.warning("what partition %d was taught is left out: %s", partition, error)
            return
        known = self._told.get(partition)
        if known is None or told.as_of.offset >= known.as_of.offset:
            self._raws[partition], self._told[partition] = raw, told

    def _read_models(self, partitions: list[int]) -> bytes | None:
        """Return the checkpoint of the most experienced process' sources, if it has seen more."""
        best, most = None, max(self._engine.learned * MORE, self._engine.learned + 1)
        for raw in self._store.get_many([self._keys.models(at) for at in partitions]):
            if raw is not None:
                try:
                    seen = Engine.experience(raw)
                except ModelError as error:
                    log.warning("%s", error)
                else:
                    best, most = (raw, seen) if seen >= most else (best, most)
        return best

    def apply(self, models: bytes | None) -> None:
        """Have the engine score by what was read."""
        if models is not None:
            try:
                self._engine.restore(models)
            except ModelError as error:  # of other sources, it may be
                log.warning("%s", error)
        for partition, told in self._told.items():
            try:
                for name, pool in self._pools.items():
                    pool.put(partition, told.heads[name])
            except (ModelError, KeyError) as error:
                log.warning("what partition %d was taught is left out: %s", partition, error)
        for name, pool in self._pools.items():
            pool.settle()
            self._engine.weights[name] = pool.head.matrix()
