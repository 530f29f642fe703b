"""One call of the benchmarks: its parts one after the other, with what one leaves to another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import (
    encoding,
    freshness,
    importing,
    index,
    memory,
    processes,
    quality,
    reads,
    scaling,
    search,
    serving,
    startup,
    throughput,
    training,
)
from benchmarks.freshness import Rate
from benchmarks.place import Place, Servers, Vectors
from benchmarks.stage import Stage, stage
from benchmarks.workload import Sizes, Workload, cut
from stream.errors import RilletError

__all__ = ["LONG", "PARTS", "SERVED", "SMALL", "Amounts", "Bench"]

Say = Callable[[str], None]

PARTS: Final = (
    *("throughput", "memory", "reads", "freshness", "scaling", "startup", "training"),
    *("encoding", "import", "index", "processes", "quality", "search", "serve"),
)
SERVED: Final = ("throughput", "memory", "reads", "freshness", "startup", "processes")
"""Parts that need a real Kafka and a real Redis."""

LONG: Final = ("index", "processes", "quality", "search", "serve")
"""Parts that a quick call leaves out, unless they are named."""

STAGED: Final = frozenset({"throughput", "memory", "reads", "freshness"})
"""Parts that look at one warmed-up engine, one after the other."""

COUNTS: Final = (1, 2)
"""Processes whose work is compared."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much the parts measure that have sizes of their own.

    Attributes
    ----------
    catalogues
        Items, ascending, of the part `scaling`; the first is the shop's own.
    loads, rate
        Percent of the capacity at which freshness is measured, and for how long.
    reads, texts, imported, searches
        GETs, texts encoded, events imported, searches measured.
    process_events
        Events that each number of processes works off.
    asked_s
        Seconds for which the service is asked, of each kind and number of clients.
    starts, rounds
        Catalogues that processes are started over, and how often each.
    indexed, questions
        Catalogues in which indexes are asked, ascending, and what they are asked.
    """

    catalogues: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    loads: tuple[int, ...] = (20, 50, 80)
    rate: Rate = Rate()
    reads: int = 50_000
    texts: int = 2000
    imported: int = 1_000_000
    searches: int = 600
    process_events: int = 10_000
    asked_s: float = 5.0
    starts: tuple[int, ...] = (10_000, 100_000)
    rounds: int = 3
    indexed: tuple[int, ...] = (100_000, 300_000)
    questions: int = 300


SMALL: Final = Amounts(
    catalogues=(600, 6000),
    loads=(20, 80),
    rate=Rate(1, 1.0, 3.0),
    reads=2000,
    texts=100,
    imported=20_000,
    searches=20,
    process_events=1000,
    asked_s=0.5,
    starts=(600,),
    rounds=1,
    indexed=(100_000,),
    questions=50,
)
"""Everything works, and no figure means anything."""


@dataclass
class Bench:
    """What is measured, how large, and what was found.

    Attributes
    ----------
    sizes, amounts
        Of the shop, and of what else is measured.
    quick
        Whether everything is small.
    servers
        Where Kafka and Redis are.
    log, evaluate_from
        A further log for the quality, and where its measurement begins.
    results
        By part; a part comes in when it is finished.
    """

    sizes: Sizes
    amounts: Amounts
    quick: bool
    servers: Servers
    log: Path | None
    evaluate_from: float
    results: dict[str, Any] = field(default_factory=dict)
    known: Vectors = field(default_factory=dict)

    def measure(self, parts: list[str], say: Say) -> Iterator[str]:
        """Measure the parts, in an order in which one can use what another has left.

        Yields the name of each that is finished.
        """
        steps: dict[str, Callable[[Say], Any]] = {
            "scaling": self._scaling,
            "startup": self._startup,
            "encoding": self._encoding,
            "import": self._import,
            "index": self._index,
            "processes": self._processes,
            "quality": self._quality,
            "search": self._search,
            "serve": self._serve,
        }
        if STAGED & set(parts):
            yield from self._staged(parts, say)
        if "training" in parts and "training" not in self.results:
            with tempfile.TemporaryDirectory(prefix="rillet-bench-") as registry:
                self._train(cut(self.sizes), registry, say)
            yield "training"
        for name, step in steps.items():
            if name in parts:
                say(name)
                self.results[name] = step(say)
                yield name
        if self.log is not None:
            found = quality.measure_log(self.log, self.evaluate_from, self.known, say)
            self.results["log"] = found
            yield "log"

    def _staged(self, parts: list[str], say: Say) -> Iterator[str]:
        """Measure throughput, and the others in what that has left in Redis."""
        workload = cut(self.sizes)
        with Place(self.servers, "rillet") as place:
            say("loading the catalogue")
            with stage(place, workload, self.known) as staged:
                if "throughput" in parts:
                    with self._tuned(workload, say) as tuned:
                        yield "training"
                        found = throughput.measure(self.servers, staged, tuned, say)
                        self.results["throughput"] = found
                    yield "throughput"
                yield from self._left(parts, staged, say)
                capacity = self._capacity(staged, say) if "freshness" in parts else 0.0
            if "freshness" in parts:
                self.results["freshness"] = self._freshness(place, workload, capacity, say)
                yield "freshness"

    @contextmanager
    def _tuned(self, workload: Workload, say: Say) -> Iterator[Stage]:
        """Train a Transformer, and lend a stage that serves it."""
        with ExitStack() as stack:
            prefix = "rillet-bench-"
            registry = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
            self._train(workload, registry, say)
            place = stack.enter_context(Place(self.servers, "tuned", registry))
            yield stack.enter_context(stage(place, workload, self.known))

    def _train(self, workload: Workload, registry: str, say: Say) -> None:
        say(f"training a Transformer on {len(workload.warm):,} events")
        self.results["training"] = training.measure(workload, Path(registry), self.known)

    def _left(self, parts: list[str], staged: Stage, say: Say) -> Iterator[str]:
        """Look at what lies in Redis."""
        say("a warm-up" if not staged.warm else "what lies in Redis")
        staged.fill()
        if "memory" in parts:
            say("memory: weighing keys")
            store = staged.place.store
            self.results["memory"] = memory.measure(store) | {"typical": memory.typical(store)}
            yield "memory"
        if "reads" in parts:
            say("reads")
            self.results["reads"] = reads.measure(staged.place.store, self.amounts.reads)
            yield "reads"

    def _capacity(self, staged: Stage, say: Say) -> float:
        """Return the events a second that one process can work off."""
        if "throughput" in self.results:
            return float(self.results["throughput"]["rillet"]["events_per_s"])
        say("freshness: the capacity of one process")
        return staged.run(staged.workload.rounds[0])[0].rate

    def _freshness(
        self, place: Place, workload: Workload, capacity: float, say: Say
    ) -> dict[str, Any]:
        deeds = freshness.watchable(workload.rest)
        amounts = self.amounts
        rates = freshness.fitted(capacity, amounts.loads, amounts.rate, len(deeds))
        if rates[0].measured_s < 1:
            message = f"of the shop's events {len(deeds):,} are left for the freshness"
            raise RilletError(message, "take more users or days, or a shorter warm-up")
        found = freshness.measure(place, len(workload.items), deeds, rates, say)
        answer, middle = place.a_list(), rates[len(rates) // 2]
        with Place(self.servers, "floor") as other:
            floor = freshness.measure_floor(other, answer, deeds, middle, say)
        return {"capacity_per_s": round(capacity, 1), **found, "floor": floor}

    def _scaling(self, say: Say) -> dict[str, Any]:
        sizes = replace(self.sizes, warm=self.sizes.warm // 2, events=self.sizes.events // 2)
        return scaling.measure(sizes, self.amounts.catalogues, self.known, say)

    def _startup(self, say: Say) -> dict[str, Any]:
        items = cut(self.sizes).items
        amounts = self.amounts
        return startup.measure(self.servers, items, amounts.starts, amounts.rounds, say)

    def _encoding(self, _: Say) -> dict[str, Any]:
        return encoding.measure(cut(self.sizes).items, self.amounts.texts)

    def _import(self, say: Say) -> dict[str, Any]:
        say(f"import: simulating {self.amounts.imported:,} events")
        return importing.measure(self.sizes, self.amounts.imported)

    def _index(self, say: Say) -> dict[str, Any]:
        sizes = replace(self.sizes, warm=self.sizes.warm // 2)
        amounts = self.amounts
        return index.measure(cut(sizes), amounts.indexed, amounts.questions, self.known, say)

    def _processes(self, say: Say) -> dict[str, Any]:
        events = self.amounts.process_events
        return processes.measure(self.servers, self.sizes, COUNTS, events, say)

    def _quality(self, say: Say) -> dict[str, Any]:
        return quality.measure(self.sizes.world(), self.evaluate_from, self.known, say)

    def _search(self, say: Say) -> dict[str, Any]:
        world, most = self.sizes.world(), self.amounts.searches
        return search.measure(world, self.evaluate_from, most, self.known, say)

    def _serve(self, say: Say) -> dict[str, Any]:
        return serving.measure(cut(self.sizes), self.amounts.asked_s, self.known, say)
