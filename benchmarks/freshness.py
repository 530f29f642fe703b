"""From publishing an event to reading its effect: an open loop at a fixed rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from benchmarks.floor import Floor
from benchmarks.live import pulse_of, pulses, ready, running, until
from benchmarks.openloop import Plan
from benchmarks.place import Place
from benchmarks.watch import Seen, Watcher
from benchmarks.worker import CONTEXT, Worker
from consumers.wiring import group_of
from features.session import decode_session
from rillet import Client
from stream.errors import RilletError
from stream.events import Delete, Event, Identify, Item, partition_key
from stream.topics import group_lag

__all__ = ["Rate", "figures", "fitted", "measure", "measure_floor", "watchable"]

Say = Callable[[str], None]

PATIENCE_S: Final = 30.0
"""How long after the last event its effect may show."""

SHARES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast, and how long, events are published.

    Attributes
    ----------
    per_s
        Events a second, evenly spaced, whether the engine keeps up or not.
    warm_s, measured_s
        Seconds before and of the measurement.
    load
        What that is of the capacity of one process, in percent; 0 where nobody knows.
    """

    per_s: int = 200
    warm_s: float = 5.0
    measured_s: float = 20.0
    load: int = 0

    @property
    def events(self) -> int:
        """How many events that makes."""
        return int(self.per_s * (self.warm_s + self.measured_s))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return asdict(self)


def watchable(events: Iterable[Event]) -> list[Event]:
    """Return the events whose effect is a list of the user whom they name, and of nobody else."""
    return [event for event in events if not isinstance(event, Item | Identify | Delete)]


def fitted(capacity: float, loads: Sequence[int], usual: Rate, events: int) -> list[Rate]:
    """Return rates that are so many percent of a capacity, shorter where events are few.

    Examples
    --------
    >>> [one.per_s for one in fitted(500.0, [20, 80], Rate(), 10**6)]
    [100, 400]
    >>> sum(one.events for one in fitted(500.0, [20, 80], Rate(), 10_000))
    10000
    """
    rates = [max(1, int(capacity * load / 100)) for load in loads]
    share = min(1.0, events / (sum(rates) * (usual.warm_s + usual.measured_s)))
    warm_s, measured_s = usual.warm_s * share, usual.measured_s * share
    return [Rate(n, warm_s, measured_s, load) for n, load in zip(rates, loads, strict=True)]


def measure(
    place: Place, items: int, deeds: Sequence[Event], rates: Sequence[Rate], say: Say
) -> dict[str, Any]:
    """Publish to Rillet at one rate after the other, and watch Redis from beside.

    Parameters
    ----------
    place
        Where a catalogue lies, and the learners have learned.
    items
        How many items that catalogue has.
    deeds
        What users do; it gets the present as its time.
    rates
        How fast and how long.
    say
        Told what is going on.

    Returns
    -------
    dict
        ``loads``, each with its latencies; ``lost``; ``personalize``, its steps.
    """
    parts = list(_parts(deeds, rates))
    published = [deed for part in parts for deed in part]
    rows, folded, before = [], _folded(place, published), pulses(place)
    with running(place) as up:
        say("freshness: starting the consumers")
        until(lambda: ready(place, items, before), up.ended)
        for rate, part in zip(rates, parts, strict=True):
            say(f"freshness: {rate.per_s} events a second for {len(part) / rate.per_s:.0f} s")
            rows.append(rate.as_dict() | _watched(place, part, rate))
            until(lambda: _worked_off(place), up.ended)
        if last := up.ended():
            raise RilletError(f"`rillet up` ended while it was measured: {last[-2000:]}")
        lost = len(published) - (_folded(place, published) - folded)
        return {"loads": rows, "lost": lost, "personalize": _steps(place)}


def measure_floor(
    place: Place, answer: bytes, deeds: Sequence[Event], rate: Rate, say: Say
) -> dict[str, Any]:
    """Publish at one rate to the floor, which writes an ``answer``; return its row."""
    stop = CONTEXT.Event()
    say(f"freshness: the floor, {rate.per_s} events a second")
    with Worker("floor", Floor, place.settings, answer, stop) as floor:
        floor.begin("follow")
        try:
            row = rate.as_dict() | _watched(place, next(_parts(deeds, [rate])), rate)
        finally:
            stop.set()
        floor.result()
    return row


def _parts(deeds: Sequence[Event], rates: Sequence[Rate]) -> Iterator[list[Event]]:
    """Yield so many events for each rate.

    Raises
    ------
    RilletError
        They are too few.
    """
    wanted = sum(rate.events for rate in rates)
    if len(deeds) < wanted:
        message = f"the shop has {len(deeds):,} events left, {wanted:,} are needed"
        raise RilletError(message, "take more users or days, or fewer seconds")
    several = iter(deeds)
    return (list(islice(several, rate.events)) for rate in rates)


def _worked_off(place: Place) -> bool:
    kafka = place.settings.kafka
    group = group_of("personalize", place.settings)
    return not any(one.lag for one in group_lag(kafka, group, [kafka.events]))


def _watched(place: Place, deeds: Sequence[Event], rate: Rate) -> dict[str, Any]:
    with (
        Client(place.settings) as client,
        Worker("watcher", Watcher, place.settings.redis) as watcher,
    ):
        plan = Plan.of(deeds, rate.per_s)
        watcher.begin("watch", plan.schedule, plan.begin, PATIENCE_S)
        late, sent = plan.publish(client)
        return figures(watcher.result(), late, sent, rate)


def figures(seen: Seen, late: Sequence[float], sent: float, rate: Rate) -> dict[str, Any]:
    """Return percentiles in milliseconds, without the warm-up."""
    first = int(rate.per_s * rate.warm_s)
    delays = seen.delays_s[first:]
    arrived = [delay for delay in delays if delay is not None]
    if not arrived:
        raise RilletError("no event had an effect that could be read", "try a lower --rate")
    last = max(at / rate.per_s + delay for at, delay in enumerate(delays) if delay is not None)
    return {
        "events": len(delays),
        "unseen": len(delays) - len(arrived),
        "latency_ms": _percentiles(arrived),
        "publisher_late_ms": _percentiles(late[first:]),
        "look_every_ms": _percentiles(seen.gaps_s),
        "published_per_s": round(sent, 1),
        "readable_per_s": round(len(arrived) / max(last, 1e-9), 1),
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.percentile(np.array(seconds or [0.0]) * 1000, list(SHARES.values()))
    return {name: round(float(ms), 2) for name, ms in zip(SHARES, values, strict=True)}


def _folded(place: Place, deeds: Sequence[Event]) -> int:
    """Return how many events are in these users' states: each counts what was folded in."""
    users = {partition_key(event) for event in deeds}
    raws = place.store.get_many([place.store.keys.session(user) for user in users])
    return sum(decode_session(raw).events for raw in raws if raw)


def _steps(place: Place) -> dict[str, dict[str, float]]:
    """Return the wall time of personalize's steps in a batch, by its own account."""
    return {
        name: {
            "p50_ms": round(step.p50_us / 1e3, 3),
            "count": step.count,
            "p99_ms": round(step.p99_us / 1e3, 3),
        }
        for name, step in pulse_of(place, "personalize").steps.items()
    }
