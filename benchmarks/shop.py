"""An engine that replays a shop's log from round to round, without Kafka."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.filler import crowd
from benchmarks.place import Vectors, embedded, shelve, unshelve
from benchmarks.procfs import rss_mib
from benchmarks.workload import Workload
from consumers.replay import Replay, Replayed
from features.text import load_encoder
from stream.collector import settle
from stream.events import Event, Item, encode
from stream.log import LogWriter

__all__ = ["Logs", "Shop", "write_log"]


@dataclass(frozen=True, slots=True)
class Logs:
    """A workload as files.

    Attributes
    ----------
    items
        The catalogue, which the warm-up begins with too.
    warm, rounds
        Paths of the logs.
    """

    items: list[Item]
    warm: Path
    rounds: list[Path]

    @classmethod
    def of(cls, workload: Workload, folder: Path) -> Self:
        """Write the logs of a workload into a folder."""
        warm = write_log(folder / "warm.jsonl", [*workload.items, *workload.warm])
        rounds = [
            write_log(folder / f"round-{number}.jsonl", events)
            for number, events in enumerate(workload.rounds)
        ]
        return cls(workload.items, warm, rounds)


class Shop:
    """One engine and its embedded Redis, to be held by a :class:`benchmarks.worker.Worker`.

    Parameters
    ----------
    logs
        What is replayed.
    known
        Vectors of texts that were encoded before.
    filler
        Items that are in the catalogue beside those of the shop, from after the warm-up on.
    """

    def __init__(self, logs: Logs, known: Vectors, filler: int = 0) -> None:
        self._logs, self._stack = logs, ExitStack()
        self._empty_mib = rss_mib(os.getpid())
        try:
            settings, self._store = self._stack.enter_context(embedded())
            unshelve(self._store, known)
            self._replay = Replay(settings, self._store, load_encoder(settings.encoder))
            self._replay.run(logs.warm)
            catalogue = self._replay.personalize.engine.world.catalogue
            crowd(catalogue, settings, logs.items, filler)
            settle()
        except BaseException:
            self.close()
            raise

    def round(self, number: int) -> Replayed:
        """Replay one round."""
        return self._replay.run(self._logs.rounds[number])

    def empty_mib(self) -> float:
        """Return the memory that the process had before there was an engine: libraries, torch."""
        return self._empty_mib

    def vectors(self) -> Vectors:
        """Return the vectors of all texts that were encoded so far."""
        known: Vectors = {}
        shelve(self._store, known)
        return known

    def close(self) -> None:
        """End the Redis."""
        self._stack.close()


def write_log(path: Path, events: Iterable[Event]) -> Path:
    """Write events as a log; return its path."""
    with LogWriter(path) as log:
        for event in events:
            log.write(encode(event))
    return path
