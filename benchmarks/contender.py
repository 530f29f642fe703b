"""What is compared with what: consumers that work off a topic, one in a process."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event as Flag
from typing import Final

from consumers.personalize import Personalize
from consumers.wiring import build_loop
from stream import metrics
from stream.collector import settle
from stream.errors import RilletError
from stream.kafka import KafkaSource
from stream.loop import Handler
from stream.records import Record, Source, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Writes

__all__ = ["Contender", "Reader", "Rillet", "Run"]

RUN_S: Final = 500.0
"""A run that takes longer is given up."""

QUIET_S: Final = 0.5
"""Silence after which a topic counts as worked off."""

WAIT_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: of this process alone, all of its threads.

    Attributes
    ----------
    events
        Records worked off.
    lists
        Lists of users written.
    wall_s, cpu_s
        Time on the clock, and processor time.
    steps
        Microseconds on the clock of each step, where steps are known.
    """

    events: int
    lists: int
    wall_s: float
    cpu_s: float
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        """Processor microseconds per event."""
        return self.cpu_s / max(1, self.events) * 1e6

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / max(self.wall_s, 1e-9)


class Contender(ABC):
    """Works off one topic, batch by batch."""

    lists = 0
    """Lists of users written so far."""

    stop: Flag | None = None
    """Ends :meth:`follow`."""

    @abstractmethod
    def step(self) -> int:
        """Work off what one poll brings; return how many records that were."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group and disconnect."""

    def steps(self) -> dict[str, float]:
        """Return the microseconds on the clock of each step so far."""
        return {}

    def run(self, events: int) -> Run:
        """Work off so many records, measured; then, unmeasured, what is left.

        Raises
        ------
        RilletError
            They do not come.
        """
        settle()
        lists, steps, done = self.lists, self.steps(), 0
        wall, cpu = time.perf_counter(), time.process_time()
        while done < events:
            done += self.step()
            if time.perf_counter() - wall > RUN_S:
                raise RilletError(f"{done:,} of {events:,} events after {RUN_S:.0f} s")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        took = {name: us - steps.get(name, 0.0) for name, us in self.steps().items()}
        found = Run(done, self.lists - lists, wall, cpu, took)
        self.drain()
        return found

    def drain(self) -> int:
        """Work off what is there until nothing comes any more; return how much it was."""
        done, began = 0, time.monotonic()
        heard = began
        while time.monotonic() - heard < QUIET_S and time.monotonic() - began < RUN_S:
            found = self.step()
            done += found
            heard = time.monotonic() if found else heard
        return done

    def follow(self) -> Run:
        """Work until told to stop, and then off what is left; idle polls do not count."""
        wall, cpu, done = time.perf_counter(), 0.0, 0
        heard = time.monotonic()
        while not self._stopped() or time.monotonic() - heard < QUIET_S:
            before = time.process_time()
            found = self.step()
            if found:
                cpu += time.process_time() - before
                done, heard = done + found, time.monotonic()
        return Run(done, 0, time.perf_counter() - wall, cpu)

    def _stopped(self) -> bool:
        return self.stop is None or self.stop.is_set()


class Reader:
    """Records of the events topic, for contenders that are not Rillet's loop.

    It reads with Rillet's own Kafka client, so that what is compared is what
    is done with the records.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        source.listen(source.resume, lambda _lost: None)

    @classmethod
    def of(cls, settings: Settings) -> Reader:
        """Return a reader in a group that the benchmark drops with the place."""
        topics = [settings.kafka.events]
        return cls(KafkaSource(settings.kafka, topics, f"{settings.kafka.group}.personalize"))

    def poll(self, most: int) -> list[Record]:
        """Return up to ``most`` records."""
        return self.source.poll(most, WAIT_MS)

    def commit(self, records: Sequence[Record]) -> None:
        """Commit the positions after these records."""
        self.source.commit({record.place: record.offset + 1 for record in records})

    def close(self) -> None:
        """Leave the group."""
        self.source.close()


class _Counted:
    """A handler that counts the lists in what another one writes."""

    def __init__(self, inner: Handler, head: str) -> None:
        self.inner, self.name, self.topics = inner, inner.name, inner.topics
        self.lists = 0
        self._head = head

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.inner.assigned(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.inner.revoked(partitions)

    def committed(self) -> None:
        self.inner.committed()

    def handle(self, records: Sequence[Record]) -> Writes:
        writes = self.inner.handle(records)
        self.lists += sum(one.key.startswith(self._head) for one in writes.stamped)
        return writes


class Rillet(Contender):
    """One of Rillet's consumers, as ``rillet consume`` wires it.

    Parameters
    ----------
    name
        The consumer's name.
    settings
        All settings.
    stop
        Ends :meth:`follow`.
    """

    def __init__(self, name: str, settings: Settings, stop: Flag | None = None) -> None:
        self.stop = stop
        self._store = Store(settings.redis)
        try:
            self._loop = build_loop(name, settings, self._store)
        except BaseException:
            self._store.close()
            raise
        self._counted = _Counted(self._loop.handler, self._store.keys.recs(""))
        self._loop.handler = self._counted

    @property
    def lists(self) -> int:  # type: ignore[override]
        """Lists of users written so far."""
        return self._counted.lists

    def step(self) -> int:
        """Do one batch."""
        return self._loop.step()

    def serves(self) -> str:
        """Return the version of the Transformer that `personalize` serves, "" for none."""
        handler = self._counted.inner
        served = handler.served if isinstance(handler, Personalize) else None
        return served.version if served is not None else ""

    def steps(self) -> dict[str, float]:
        """Return what the engine's own timers say."""
        return {name: one.wall_us for name, one in metrics.snapshot().items()}

    def close(self) -> None:
        """Leave the group and disconnect."""
        try:
            self._loop.close()
        finally:
            self._store.close()
