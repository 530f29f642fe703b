"""The engine over a log: same consumers, an in-process broker, an embedded Redis.

A replay *is* the engine with another source and another clock. The consumers
take turns in one thread, so that the same log and settings give the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from consumers.catalogue import CatalogueConsumer
from consumers.neighbours import Neighbours
from consumers.personalize import Personalize
from consumers.snapshot import Snapshot
from consumers.view import LiveView
from features.text import TextEncoder
from models.evaluation import Evaluation
from models.loaded import Loaded
from models.sources.registry import SOURCES
from models.sources.transformer import Transformer
from models.tuning import Tuned, Tuner, tuner_for
from stream import metrics
from stream.errors import ModelError
from stream.events import BadRecord, Item, decode
from stream.log import read_log
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.routing import outgoing
from stream.settings import Settings
from stream.store import Store
from stream.writes import Writes

__all__ = ["Replay", "Replayed", "source_names", "time_at"]

log = logging.getLogger(__name__)

ITEMS_AT_ONCE: Final = 512
"""Item events that are gathered before the catalogue consumer encodes them."""

Progress = Callable[[int], None]


def time_at(lines: Iterable[tuple[int, bytes]], share: float) -> int:
    """Return the time before which the given share of what users did lies, epoch milliseconds.

    Returns 0 for a log in which nobody did anything.
    """
    times = []
    for _, raw in lines:
        event = decode(raw)
        if not isinstance(event, (BadRecord, Item)):
            times.append(int(event.timestamp))
    times.sort()
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0


@dataclass(slots=True)
class Replayed:
    """What a replay found out: the report's figures, and where the state lies."""

    log: str
    events: int
    bad: int
    wall_s: float
    cpu_us_per_event: float
    steps: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "log": self.log,
            "events": self.events,
            "bad": self.bad,
            "wall_s": round(self.wall_s, 3),
            "cpu_us_per_event": round(self.cpu_us_per_event, 1),
            "steps_us_per_event": {name: round(us, 1) for name, us in self.steps.items()},
            **self.metrics,
        }


class Replay:
    """Runs a log through catalogue, personalize and neighbours.

    Parameters
    ----------
    settings
        All settings; ``redis.url`` is where the state goes (``embedded:`` for nowhere).
    store, encoder
        Opened by the caller, who also closes the store.
    partitions
        Partitions of all topics, or of each by its name.
    evaluation
        Measures predictions on the way; None does not.
    train_every
        Events after which the Transformer is trained, again and again; 0 never does.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        encoder: TextEncoder,
        *,
        partitions: int | Mapping[str, int] = 1,
        evaluation: Evaluation | None = None,
        train_every: int = 0,
    ) -> None:
        self.settings, self.evaluation = settings, evaluation
        kafka = settings.kafka
        topics = (kafka.events, kafka.catalogue, kafka.transitions, kafka.deadletters)
        if isinstance(partitions, int):
            partitions = dict.fromkeys(topics, partitions)
        self.broker = MemoryBroker({topic: partitions[topic] for topic in topics})
        view = LiveView(
            settings,
            store,
            encoder,
            transition_partitions=partitions[kafka.transitions],
            event_partitions=partitions[kafka.events],
            every_ms=0,
        )
        self.personalize = Personalize(settings, store, view, observer=evaluation)
        handlers = (
            CatalogueConsumer(settings, store, encoder),
            self.personalize,
            Neighbours(settings, store),
        )
        self._catalogue, self._events, self._transitions = (
            Loop(
                handler,
                self.broker.source(f"{kafka.group}.{handler.name}", handler.topics),
                self.broker.sink(),
                store,
                settings.batch,
            )
            for handler in handlers
        )
        self._store = store
        self._train_every = train_every
        self._tuner: Tuner | None = None
        if train_every:
            self._tuner = tuner_for(settings, view.world.catalogue, view.world.queries)
        self.tuned: list[Tuned] = []

    def run(self, path: str | Path, *, on_bytes: Progress | None = None) -> Replayed:
        """Read the log to its end; return what was measured."""
        metrics.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        sink, settings = self.broker.sink(), self.settings
        events = bad = waiting = items = 0
        self._turn(flush=False)
        for _, raw in read_log(path, on_bytes=on_bytes):
            event = decode(raw, max_bytes=settings.batch.max_bytes)
            record = outgoing(raw, event, settings)
            sink.send(record)
            events += 1
            if self._tuner is not None:
                if not isinstance(event, BadRecord):
                    self._tuner.add(event)
                if events % self._train_every == 0:
                    self._turn(flush=False)
                    self._tune(self._tuner)
            bad += isinstance(event, BadRecord)
            if record.topic == settings.kafka.catalogue:
                items += 1
            else:
                waiting += 1
            if waiting >= settings.batch.max_records or items >= ITEMS_AT_ONCE:
                self._turn(flush=False)
                waiting = items = 0
        self._turn(flush=True)
        self._finish()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        steps = {
            name: figures.cpu_us / max(1, events) for name, figures in metrics.snapshot().items()
        }
        found = self.evaluation.report() if self.evaluation is not None else {}
        return Replayed(str(path), events, bad, wall, cpu / max(1, events) * 1e6, steps, found)

    def _turn(self, *, flush: bool) -> None:
        """Let every consumer work off what waits for it, the catalogue first."""
        _drain(self._catalogue, flush=True)
        for _ in _steps(self._events, flush=flush):
            _drain(self._transitions, flush=True)

    def _tune(self, tuner: Tuner) -> None:
        """Train the next Transformer on what has passed, and serve it from here on."""
        try:
            with metrics.step("train"):
                logs = self.settings.transformer.logs
                self.tuned.append(tuner.run(logs=Path(logs) if logs else None))
        except ModelError as error:  # too early in the log: the next time there is more of it
            log.warning("%s", error)
            return
        for source in self.personalize.engine.sources:
            if isinstance(source, Transformer):
                vectors, seen = source.place()
                model = self.tuned[-1].model.over(vectors)
                name, given = f"replay-{len(self.tuned)}", self.settings.transformer
                loaded = Loaded.of(model, name, seen, given.serve, given.window)
                source.swap(loaded)
        if self.evaluation is not None and self.evaluation.measures_stale:
            self.evaluation.then = Snapshot(self._store)

    def _finish(self) -> None:
        """Close the lists that still wait for clicks, and write the learners' checkpoints."""
        for learner in self.personalize.learners.held.values():
            learner.close_all()
        writes = Writes()
        self.personalize.learners.checkpoint(writes, models=True)
        self._store.write(writes)


def _steps(loop: Loop, *, flush: bool) -> Iterator[int]:
    while count := loop.step(wait_ms=0, flush=flush):
        yield count


def _drain(loop: Loop, *, flush: bool) -> None:
    for _ in _steps(loop, flush=flush):
        pass


def source_names(settings: Settings) -> list[str]:
    """Return the names of the enabled sources, in their order."""
    enabled = settings.sources.enabled
    return [name for name in SOURCES if not enabled or name in enabled]
