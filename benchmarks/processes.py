"""How much faster two processes are than one, and what an event costs them then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import fleet
from benchmarks.filler import bare
from benchmarks.fleet import Pace
from benchmarks.place import Servers
from benchmarks.workload import Sizes
from stream.events import Item

__all__ = ["efficiency", "measure"]

Say = Callable[[str], None]


def measure(
    servers: Servers, sizes: Sizes, counts: Sequence[int], events: int, say: Say
) -> dict[str, Any]:
    """Have 1, 2, ... `personalize` processes work off the same events.

    Parameters
    ----------
    servers
        Where Kafka and Redis are.
    sizes
        The shop; its items are bare.
    counts
        How many processes, ascending.
    events
        How many each number of them works off.
    say
        Told what is going on.

    Returns
    -------
    dict
        ``rows`` of :func:`benchmarks.fleet.measure`, each with its efficiency.
    """
    pace = replace(Pace(), processes=tuple(counts), events=events, verify=False)
    world = sizes.world()
    items = [bare(one, at) for at, one in enumerate(e for e in world.events() if type(e) is Item)]
    rows: list[dict[str, Any]] = []
    for found in fleet.measure(servers, items, world, pace, say):
        rows = found["rows"]
        if len(rows) == len(counts):
            break  # benchmarks.scaling lets processes come and go, and compares what they wrote
    rows = [row | efficiency(rows[0], row) for row in rows]
    return {"partitions": pace.partitions, "events": events, "items": len(items), "rows": rows}


def efficiency(first: dict[str, Any], row: dict[str, Any]) -> dict[str, float]:
    """Return what share of a perfect speed-up a number of processes has.

    By the clock it cannot be 1 where Kafka, Redis and `neighbours` share the processors; by
    processor time it is what an event costs the first row over what it costs this one.

    Examples
    --------
    >>> one = {"processes": 1, "events_per_s": 100.0, "cpu_without_idle_us_per_event": 900.0}
    >>> two = {"processes": 2, "events_per_s": 150.0, "cpu_without_idle_us_per_event": 1000.0}
    >>> efficiency(one, two)
    {'efficiency_wall': 0.75, 'efficiency_cpu': 0.9}
    """
    cpu, more = "cpu_without_idle_us_per_event", row["processes"] / first["processes"]
    return {
        "efficiency_wall": round(row["events_per_s"] / first["events_per_s"] / more, 3),
        "efficiency_cpu": round(first[cpu] / row[cpu], 3),
    }
