"""From publishing an event to reading its effect: an open loop at a fixed rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from benchmarks.floor import Floor
from benchmarks.live import pulse_of, ready, running, until
from benchmarks.openloop import Plan
from benchmarks.place import Place, Servers, Vectors, shelve, unshelve
from benchmarks.watch import Seen, Watcher
from benchmarks.worker import CONTEXT, Worker
from features.session import decode_session
from rillet import Client
from stream.errors import RilletError
from stream.events import Delete, Event, Identify, Item, partition_key

__all__ = ["Rate", "figures", "measure"]

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
    """

    per_s: int = 200
    warm_s: float = 10.0
    measured_s: float = 30.0

    @property
    def events(self) -> int:
        """How many events that makes."""
        return int(self.per_s * (self.warm_s + self.measured_s))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return asdict(self)


def measure(
    servers: Servers, events: Sequence[Event], rate: Rate, known: Vectors, say: Say
) -> dict[str, Any]:
    """Publish to Rillet and then to the floor, and watch Redis from beside.

    Parameters
    ----------
    servers
        Where Kafka and Redis are.
    events
        A shop's log; what users did gets the present as its time.
    rate
        How fast and how long.
    known
        Vectors of texts that were encoded before.
    say
        Told what is going on.
    """
    items = [event for event in events if isinstance(event, Item)]
    others = (one for one in events if not isinstance(one, Item | Identify | Delete))
    deeds = list(islice(others, rate.events))
    if len(deeds) < rate.events:
        message = f"the shop has {len(deeds):,} events, {rate.events:,} are needed"
        raise RilletError(message, "take more users or days, or a lower rate")
    with Place(servers, "fresh") as place:
        unshelve(place.store, known)
        with running(place) as up:
            say("freshness: starting the consumers, loading the catalogue")
            place.publish(items)
            until(lambda: ready(place, len(items)), up.ended)
            shelve(place.store, known)
            say(f"freshness: {rate.per_s} events a second for {rate.events / rate.per_s:.0f} s")
            found = _watched(place, deeds, rate)
            if last := up.ended():
                raise RilletError(f"`rillet up` ended while it was measured: {last[-2000:]}")
            found |= {"lost": _lost(place, deeds), "personalize": _steps(place)}
        answer = place.a_list()
    say("freshness: the same for the floor")
    return found | {"floor": _floor(servers, answer, deeds, rate)}


def _floor(servers: Servers, answer: bytes, deeds: Sequence[Event], rate: Rate) -> dict[str, Any]:
    stop = CONTEXT.Event()
    with Place(servers, "floor") as place:
        with Worker("floor", Floor, place.settings, answer, stop) as floor:
            floor.begin("follow")
            try:
                found = _watched(place, deeds, rate)
            finally:
                stop.set()
            floor.result()
    return found


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


def _lost(place: Place, deeds: Sequence[Event]) -> int:
    """Return how many events are in no user's state: each state counts what was folded in."""
    published = Counter(partition_key(event) for event in deeds)
    raws = place.store.get_many([place.store.keys.session(user) for user in published])
    folded = sum(decode_session(raw).events for raw in raws if raw)
    return len(deeds) - folded


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
