"""What ``rillet status`` shows: the running consumers, their lag, how fresh the lists are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from rillet.checks import PATIENCE_S, topics_of
from rillet.heartbeats import Heartbeats
from stream.errors import BrokerError
from stream.keys import DEFAULT_USER
from stream.metrics import Pulse
from stream.settings import Settings
from stream.store import Store

__all__ = ["Blend", "State", "look"]

DEAD: Final = "dead."
"""Counters that begin so count dead letters, by reason."""

AT_ONCE: Final = 64
"""Partitions that are looked for at once; where none of so many is there, none follows."""


class Blend(Struct, frozen=True):
    """What one partition's learner has behind it: examples by head, newest event."""

    partition: int
    examples: dict[str, int]
    event_time: int


class State(Struct, frozen=True):
    """Everything ``status`` shows; times are epoch milliseconds.

    Attributes
    ----------
    at
        When it was asked for.
    processes
        Heartbeats of the consumers that are alive.
    lag
        Consumer to how many records it is behind; empty where Kafka is away.
    deadletters
        Records on the dead-letter topic; None where Kafka is away.
    newest
        Time of the newest event behind the list for unknown users, which is
        refreshed every 10 s of event time.
    generated_at, model
        When that list was written, by which version of the blend.
    blends
        The partitions' learners, as of their last checkpoints.
    kafka
        What is wrong with Kafka; "" where nothing is.
    """

    at: int
    processes: list[Pulse]
    lag: dict[str, int]
    deadletters: int | None
    newest: int | None
    generated_at: int | None
    model: str
    blends: list[Blend]
    kafka: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, with ``freshness_ms`` = now - newest."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        freshness = self.at - self.newest if self.newest is not None else None
        return plain | {"freshness_ms": freshness}

    def counters(self) -> dict[str, int]:
        """Return what all processes have counted; the consumers within one share its counters."""
        newest = {(one.host, one.pid): one for one in sorted(self.processes, key=lambda p: p.at)}
        found: Counter[str] = Counter()
        for pulse in newest.values():
            found.update(pulse.counters)
        return dict(found)

    def set_aside(self) -> dict[str, int]:
        """Return how many records the running processes have set aside, by reason."""
        counted = self.counters().items()
        return {name.removeprefix(DEAD): n for name, n in counted if name.startswith(DEAD)}


class _AsOf(Struct):
    event_time: int = 0
    partition: int = 0


class _List(Struct):
    as_of: _AsOf
    model: str = ""
    generated_at: int = 0


class _Head(Struct):
    examples: int = 0


class _Learner(Struct):
    as_of: _AsOf
    heads: dict[str, _Head] = {}


_LIST: Final = msgspec.json.Decoder(_List)
_LEARNER: Final = msgspec.json.Decoder(_Learner)


def look(
    settings: Settings, store: Store, *, kafka: bool = True, heartbeats: Heartbeats | None = None
) -> State:
    """Return the present state.

    Parameters
    ----------
    settings
        All settings.
    store
        Where heartbeats and lists lie.
    kafka
        Whether to ask Kafka for lag and dead letters too.
    heartbeats
        Those of the look before, for who looks again and again.

    Raises
    ------
    StoreError
        Redis cannot be reached.
    """
    raw = store.get(store.keys.recs(DEFAULT_USER))
    listed = _LIST.decode(raw) if raw is not None else None
    processes = (heartbeats or Heartbeats()).read(store)
    topics = topics_of(settings, [pulse.name for pulse in processes])
    lag, dead, problem = _from_kafka(settings, topics) if kafka else ({}, None, "")
    return State(
        at=time.time_ns() // 1_000_000,
        processes=processes,
        lag=lag,
        deadletters=dead,
        newest=listed.as_of.event_time if listed else None,
        generated_at=listed.generated_at if listed else None,
        model=listed.model if listed else "",
        blends=_blends(store),
        kafka=problem,
    )


def _blends(store: Store) -> list[Blend]:
    found: list[Blend] = []
    for first in range(0, 2**16, AT_ONCE):
        some = range(first, first + AT_ONCE)
        raws = store.get_many([store.keys.learner(partition) for partition in some])
        if not any(raws):
            break
        for partition, raw in zip(some, raws, strict=True):
            if raw is not None:
                learner = _LEARNER.decode(raw)
                examples = {head: state.examples for head, state in learner.heads.items()}
                found.append(Blend(partition, examples, learner.as_of.event_time))
    return found


def _from_kafka(
    settings: Settings, topics: Mapping[str, Sequence[str]]
) -> tuple[dict[str, int], int | None, str]:
    """Return lag, dead letters, and what is wrong with Kafka."""
    from stream.topics import group_lag

    timeout = min(PATIENCE_S, settings.kafka.timeout_s)
    kafka = settings.kafka.model_copy(update={"timeout_s": timeout})
    lag = {}
    try:
        for name, read in topics.items():
            found = group_lag(kafka, f"{kafka.group}.{name}", read)
            lag[name] = sum(one.lag for one in found)
        letters = group_lag(kafka, f"{kafka.group}.status", [kafka.deadletters])
    except BrokerError as error:
        return lag, None, str(error)
    return lag, sum(one.lag for one in letters), ""
