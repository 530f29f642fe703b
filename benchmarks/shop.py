"""An engine that replays a shop's log from round to round, without Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from benchmarks.filler import bare, fill
from benchmarks.place import embedded
from benchmarks.workload import Workload
from consumers.replay import Replay, Replayed
from features.text import load_encoder
from stream.events import Event, Item, encode
from stream.log import LogWriter

__all__ = ["Logs", "Shop", "write_log"]


@dataclass(frozen=True, slots=True)
class Logs:
    """A workload as files, its items bare.

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
        items = [bare(item, number) for number, item in enumerate(workload.items)]
        warm = write_log(folder / "warm.jsonl", [*items, *workload.warm])
        rounds = [
            write_log(folder / f"round-{number}.jsonl", events)
            for number, events in enumerate(workload.rounds)
        ]
        return cls(items, warm, rounds)


class Shop:
    """One engine and its embedded Redis, to be held by a :class:`benchmarks.worker.Worker`.

    Parameters
    ----------
    logs
        What is replayed.
    filler
        Items that are in Redis before, beside those of the shop.
    """

    def __init__(self, logs: Logs, filler: int = 0) -> None:
        self._logs, self._stack = logs, ExitStack()
        try:
            settings, self._store = self._stack.enter_context(embedded())
            fill(self._store, settings, logs.items, filler)
            self._replay = Replay(settings, self._store, load_encoder(settings.encoder))
            self._replay.run(logs.warm)
        except BaseException:
            self.close()
            raise

    def round(self, number: int) -> Replayed:
        """Replay one round."""
        return self._replay.run(self._logs.rounds[number])

    def memory(self) -> float:
        """Return the MiB that Redis has in use."""
        client: Any = redis.Redis.from_url(self._store.url)
        with client:
            return float(client.info("memory")["used_memory"]) / 2**20

    def close(self) -> None:
        """End the Redis."""
        self._stack.close()


def write_log(path: Path, events: Iterable[Event]) -> Path:
    """Write events as a log; return its path."""
    with LogWriter(path) as log:
        for event in events:
            log.write(encode(event))
    return path
