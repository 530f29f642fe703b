"""From starting a consumer to the first list, and what the processes have in memory then.

There are two of `personalize` then, which share the items' vectors.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.filler import HOW, bare, fill
from benchmarks.fleet import Fleet
from benchmarks.place import Place, Servers
from benchmarks.procfs import cpu_s, private_mib, rss_mib
from consumers.wiring import CONSUMERS
from stream.errors import RilletError
from stream.events import Interaction, Item, Millis

__all__ = ["measure"]

Say = Callable[[str], None]

WITHIN_S: Final = 900.0
LOOK_EVERY_S: Final = 0.02
LARGE: Final = 100_000
"""A catalogue above this is loaded once, a smaller one several times."""


def measure(
    servers: Servers, items: Sequence[Item], catalogues: Sequence[int], rounds: int, say: Say
) -> dict[str, Any]:
    """Start `personalize` over catalogues that lie in Redis, an event waiting in Kafka.

    Parameters
    ----------
    servers
        Where Kafka and Redis are.
    items
        What the catalogues are made of.
    catalogues
        Their sizes.
    rounds
        Starts of each; one where it is large.
    say
        Told what is going on.
    """
    forms = [bare(item, number) for number, item in enumerate(items)]
    rows = []
    for size in catalogues:
        say(f"startup: with {size:,} items")
        with Place(servers, "startup") as place, tempfile.TemporaryDirectory() as folder:
            fill(place.store, place.settings, forms, size)
            fleet = Fleet(place, Path(folder))
            try:
                rows.append(_row(fleet, size, 1 if size > LARGE else rounds))
            finally:
                fleet.stop_all()
    return {"how": HOW, "catalogues": rows}


def _row(fleet: Fleet, size: int, rounds: int) -> dict[str, Any]:
    took, cpu = [], []
    for number in range(rounds):
        wall, spent = _first_list(fleet, f"starter-{number}")
        took.append(wall)
        cpu.append(spent)
    one = fleet.running[-1]
    other = fleet.start("personalize")
    partitions = fleet.place.settings.kafka.partitions
    fleet.wait(lambda: fleet.settled(2, partitions))
    processes = {"personalize": one, "another": other}
    processes |= {name: fleet.start(name) for name in CONSUMERS if name != "personalize"}
    fleet.wait(lambda: {name.split(":")[0] for name in _pulses(fleet)} == set(CONSUMERS))
    return {
        "items": size,
        "rounds": rounds,
        "first_list_s": round(statistics.median(took), 2),
        "cpu_s": round(statistics.median(cpu), 2),
        "rss_mib": {name: round(rss_mib(one.pid), 1) for name, one in processes.items()},
        "private_mib": {name: round(private_mib(one.pid), 1) for name, one in processes.items()},
    }


def _first_list(fleet: Fleet, user: str) -> tuple[float, float]:
    """Return after how many seconds a user has a list, and how much processor time it took."""
    place = fleet.place
    if fleet.running:
        fleet.stop(fleet.running[-1])
    now = Millis(int(time.time() * 1000))
    place.publish([Interaction(timestamp=now, user=user, type="click", item="filler-0")])
    begun, key = time.monotonic(), place.store.keys.recs(user)
    process = fleet.start("personalize")
    while place.store.get(key) is None:
        if process.poll() is not None or time.monotonic() - begun > WITHIN_S:
            said = "".join(log.read_text("utf-8", "replace") for log in fleet.folder.glob("*.log"))
            raise RilletError(f"personalize wrote no list: {said[-1000:]}")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - begun, cpu_s(process.pid)


def _pulses(fleet: Fleet) -> list[str]:
    return [name for name, _ in fleet.place.store.scan("process")]
