"""Rillet set up over a real Kafka and a real Redis, with its catalogue loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event as Flag
from typing import NamedTuple

from benchmarks.contender import Rillet, Run
from benchmarks.place import Place, Vectors, shelve, unshelve
from benchmarks.procfs import rss_mib
from benchmarks.worker import CONTEXT, Worker
from benchmarks.workload import Workload
from stream.events import Event, Item

__all__ = ["Loaded", "Stage", "load_catalogue", "stage"]


class Loaded(NamedTuple):
    """What loading a catalogue took, and how many texts were encoded for it."""

    run: Run
    encoded: int


def load_catalogue(place: Place, items: Sequence[Item], known: Vectors) -> Loaded:
    """Publish items and run the catalogue consumer over them, as a process of its own.

    Parameters
    ----------
    place
        Where.
    items
        The catalogue.
    known
        Vectors of texts that were encoded before; new ones are added.
    """
    unshelve(place.store, known)
    before = len(known)
    place.publish(items)
    with Worker("catalogue", Rillet, "catalogue", place.settings) as catalogue:
        run: Run = catalogue.call("run", len(items))
    shelve(place.store, known)
    return Loaded(run, len(known) - before)


@dataclass
class Stage:
    """A place in which personalize and neighbours run, each in a process of its own.

    Attributes
    ----------
    place, workload
        Where, and what they work off.
    loaded
        What loading the catalogue took.
    personalize, neighbours
        The two processes.
    stop
        Ends a run of neighbours.
    """

    place: Place
    workload: Workload
    loaded: Loaded
    personalize: Worker
    neighbours: Worker
    stop: Flag
    warm: bool = field(default=False, init=False)

    def run(self, events: Sequence[Event]) -> tuple[Run, Run]:
        """Publish events and let both work them off, neighbours beside, as live.

        Returns
        -------
        tuple
            What personalize took, and what neighbours took.
        """
        self.place.publish(events)
        self.stop.clear()
        self.neighbours.begin("follow")
        try:
            mine: Run = self.personalize.call("run", len(events))
        finally:
            self.stop.set()
        theirs: Run = self.neighbours.result()
        return mine, theirs

    def rss_mib(self) -> dict[str, float]:
        """Return what the two processes have in memory."""
        both = {"personalize": self.personalize, "neighbours": self.neighbours}
        return {name: round(rss_mib(one.pid), 1) for name, one in both.items()}

    def fill(self) -> None:
        """Work off the warm-up, once."""
        if not self.warm:
            self.run(self.workload.warm)
            self.warm = True


@contextmanager
def stage(place: Place, workload: Workload, known: Vectors) -> Iterator[Stage]:
    """Lend a stage in a place, which serves the model of the place's registry, if any."""
    stop = CONTEXT.Event()
    loaded = load_catalogue(place, workload.items, known)
    with (
        Worker("personalize", Rillet, "personalize", place.settings) as personalize,
        Worker("neighbours", Rillet, "neighbours", place.settings, stop) as neighbours,
    ):
        yield Stage(place, workload, loaded, personalize, neighbours, stop)
