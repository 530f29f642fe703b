"""What it costs in quality that several processes learn, each from its share of the users.

    python -m benchmarks.sharing events.jsonl.gz --limit 60000
    python -m benchmarks.sharing events.jsonl.gz --processes 1 4 --json build/sharing.json

A replay with several `personalize` processes' consumers in one: the partitions of the events
topic are dealt out among them as Kafka does, each has an engine, sources and weights of its own,
and what they share goes through Redis (an embedded one). They take turns: a round is so many events
of the log, of which each handles its own users' as one batch; so a process knows what the others
learned up to the round before, and the same log gives the same figures every time. Every
prediction is measured before anything is learned from it, by whichever process makes it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.environment import describe
from consumers.catalogue import CatalogueConsumer
from consumers.neighbours import Neighbours
from consumers.personalize import Personalize
from consumers.replay import source_names
from consumers.view import LiveView
from features.text import TextEncoder, load_encoder
from models.evaluation import Evaluation
from stream.events import decode
from stream.log import read_log
from stream.loop import Handler, Loop
from stream.memory import MemoryBroker
from stream.routing import outgoing
from stream.settings import Settings, load_settings
from stream.store import Store

__all__ = ["Crowd", "measure"]

MODES: Final = ("strict", "order")
MARKS: Final = ("hr@10", "ndcg@10")
ITEMS_AT_ONCE: Final = 512


@dataclass
class Crowd:
    """Several processes' consumers over one log, taking turns.

    Parameters
    ----------
    settings
        All settings; Redis is embedded.
    processes, partitions
        How many there are, and among how many partitions users are spread.
    evaluation
        Told of every prediction, whoever makes it.
    """

    settings: Settings
    encoder: TextEncoder
    processes: int
    partitions: int
    evaluation: Evaluation
    stack: ExitStack
    members: list[Personalize] = field(default_factory=list)

    def __post_init__(self) -> None:
        kafka = self.settings.kafka
        topics = (kafka.catalogue, kafka.transitions, kafka.deadletters)
        self._broker = MemoryBroker(dict.fromkeys(topics, 1) | {kafka.events: self.partitions})
        store = self._store(self.settings)
        # All others go to the server that the first one has started.
        redis = self.settings.redis.model_dump() | {"url": store.url}
        self._own = Settings.model_validate(self.settings.model_dump() | {"redis": redis})
        self._catalogue = self._loop(CatalogueConsumer(self._own, store, self.encoder), store)
        self._transitions = self._loop(Neighbours(self._own, store), store)
        self._loops = [self._process() for _ in range(self.processes)]

    def _store(self, settings: Settings) -> Store:
        store = Store(settings.redis)
        self.stack.callback(store.close)
        return store

    def _process(self) -> Loop:
        store = self._store(self._own)
        view = LiveView(
            self._own,
            store,
            self.encoder,
            transition_partitions=1,
            event_partitions=self.partitions,
            every_ms=0,
        )
        member = Personalize(self._own, store, view, observer=self.evaluation)
        member.learners.hear_every_s = math.inf  # by examples alone: every run hears alike
        self.members.append(member)
        return self._loop(member, store)

    def _loop(self, handler: Handler, store: Store) -> Loop:
        source = self._broker.source(handler.name, handler.topics)
        return Loop(handler, source, self._broker.sink(), store, self._own.batch)

    def run(self, log: Path, limit: int) -> int:
        """Read a log to its end, or so many events of it; return how many there were."""
        sink, waiting, items, events = self._broker.sink(), 0, 0, 0
        self._turn()
        for _, raw in read_log(log):
            record = outgoing(raw, decode(raw), self._own)
            sink.send(record)
            events += 1
            about_items = record.topic == self._own.kafka.catalogue
            items, waiting = items + about_items, waiting + (not about_items)
            most = self._own.batch.max_records
            if waiting >= most or items >= ITEMS_AT_ONCE:
                self._turn()
                waiting = items = 0
            if events == limit:
                break
        self._turn()
        return events

    def _turn(self) -> None:
        """Let everybody work off what waits, batch by batch in turns, the catalogue first."""
        while self._catalogue.step(wait_ms=0):
            pass
        while sum([loop.step(wait_ms=0) for loop in self._loops]):
            while self._transitions.step(wait_ms=0):
                pass


def measure(settings: Settings, encoder: TextEncoder, given: argparse.Namespace) -> dict[str, Any]:
    """Replay the log once for each number of processes, with sharing and without.

    Returns
    -------
    dict
        ``runs``: of each its processes, whether they shared, HR@10 and NDCG@10 of the blend by
        what a question knows of its user, and the same of each source alone.
    """
    kinds = (True,) if given.only_shared else (True, False)
    plans = [(count, share) for count in given.processes for share in kinds]
    runs = []
    for count, share in plans:
        if count == 1 and not share:  # nobody to share with
            continue
        begun = time.process_time()
        changed = settings if share else _alone(settings)
        names = source_names(changed)
        evaluation = Evaluation(0, names, given.share)
        with ExitStack() as stack:
            crowd = Crowd(changed, encoder, count, given.partitions, evaluation, stack)
            events = crowd.run(Path(given.log), given.limit)
        report = evaluation.report()["next"]
        rows = {mode: {n: _marks(row) for n, row in report[mode].items()} for mode in MODES}
        run = {"processes": count, "shared": share, "n": report["order"]["blend"]["n"], **rows}
        runs.append(run | {"cpu_us_per_event": (time.process_time() - begun) / events * 1e6})
        _say(run, runs[0])
    return {"log": str(given.log), "partitions": given.partitions, "events": events, "runs": runs}


def _alone(settings: Settings) -> Settings:
    blend = settings.blend.model_copy(update={"share": 0})
    return settings.model_copy(update={"blend": blend})


def _marks(row: dict[str, float]) -> dict[str, float]:
    return {mark: row[mark] for mark in MARKS}


def _say(run: dict[str, Any], first: dict[str, Any]) -> None:
    cells = []
    for mode in MODES:
        for mark in MARKS:
            value, base = run[mode]["blend"][mark], first[mode]["blend"][mark]
            cells.append(f"{value:.4f} {value / base - 1:+7.2%}")
    sharing = "shared" if run["shared"] else "alone"
    print(f"{run['processes']:>9}  {sharing:<7}" + "".join(f"{one:>18}" for one in cells))
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, run, and print a table; with --json, write it too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", help="an event log")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--partitions", type=int, default=8, help="of the events topic")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many events")
    parser.add_argument("--share", type=float, default=1.0, help="measure this share, drawn")
    parser.add_argument(
        "--batch", type=int, default=256, help="events of a round, of all processes"
    )
    parser.add_argument("--only-shared", action="store_true", help="without those that do not")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args()
    if max(given.processes) > given.partitions:
        parser.error("more processes than --partitions: some would have nothing to do")
    redis, batch = {"url": "embedded:"}, {"max_records": given.batch}
    settings = load_settings(None, redis=redis, batch=batch)
    print(
        f"{'processes':>9}  {'':<7}" + "".join(f"{m + ' ' + k:>18}" for m in MODES for k in MARKS)
    )
    found = {"environment": describe()} | measure(settings, load_encoder(settings.encoder), given)
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
