"""From publishing an event to reading its effect: an open loop at a fixed rate."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.floor import Floor
from benchmarks.place import Place, Servers, Vectors, shelve, unshelve
from benchmarks.watch import Due, Seen, Watcher
from benchmarks.worker import CONTEXT, Worker
from consumers.wiring import CONSUMERS, group_of
from features.session import decode_session
from rillet import Client
from stream.errors import RilletError
from stream.events import Delete, Event, Identify, Item, Millis, partition_key
from stream.metrics import Pulse
from stream.settings import Settings
from stream.topics import group_lag

__all__ = ["Rate", "figures", "measure"]

Say = Callable[[str], None]

READY_S: Final = 300.0
"""How long the consumers may take to start, and to load the catalogue."""

PATIENCE_S: Final = 30.0
"""How long after the last event its effect may show."""

LEAD_S: Final = 1.0
"""Between the decision to begin and the first event."""

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
        with _running(place) as ended:
            say("freshness: starting the consumers, loading the catalogue")
            place.publish(items)
            _until(lambda: _ready(place, len(items)), ended)
            shelve(place.store, known)
            say(f"freshness: {rate.per_s} events a second for {rate.events / rate.per_s:.0f} s")
            found = _watched(place, deeds, rate)
            if last := ended():
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
        return figures(*_publish(client, watcher, deeds, rate), rate)


def _publish(
    client: Client, watcher: Worker, deeds: Sequence[Event], rate: Rate
) -> tuple[Seen, list[float], float]:
    """Publish each event at its time; return what was seen, and how late each was published."""
    begin = time.monotonic() + LEAD_S
    epoch_ms = int((time.time() + LEAD_S) * 1000)
    schedule, stamped = [], []
    for number, event in enumerate(deeds):
        at_s = number / rate.per_s
        now = Millis(epoch_ms + int(at_s * 1000))
        stamped.append(msgspec.structs.replace(event, timestamp=now))
        schedule.append(Due(partition_key(event), at_s, now))
    watcher.begin("watch", schedule, begin, PATIENCE_S)
    late = []
    for due, event in zip(schedule, stamped, strict=True):
        left = begin + due.at_s - time.monotonic()
        if left > 0:
            time.sleep(left)
        client.publish(event)
        late.append(time.monotonic() - begin - due.at_s)
    took = time.monotonic() - begin
    client.flush()
    seen: Seen = watcher.result()
    return seen, late, len(deeds) / took


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
    """Return the median wall time of personalize's steps in a batch, by its own account."""
    pulses = [msgspec.json.decode(raw, type=Pulse) for _, raw in place.store.scan("process")]
    found = {}
    for pulse in pulses:
        if pulse.name == "personalize":
            for name, step in pulse.steps.items():
                found[name] = {"p50_ms": round(step.p50_us / 1e3, 3), "count": step.count}
                found[name]["p99_ms"] = round(step.p99_us / 1e3, 3)
    return found


@contextlib.contextmanager
def _running(place: Place) -> Iterator[Callable[[], str]]:
    """Run ``rillet up``; lend what tells its last words if it has ended, else ""."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        said = Path(folder, "up.log")
        command = [sys.executable, "-m", "rillet.cli.main", "up"]
        environment = _environment(place.settings) | {"PYTHONPATH": str(root)}
        with said.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield lambda: "" if process.poll() is None else said.read_text("utf-8", "replace")
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give the consumers these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    names = ("bootstrap", "events", "catalogue", "transitions", "deadletters", "group")
    kafka = {f"RILLET_KAFKA__{n.upper()}": str(getattr(settings.kafka, n)) for n in names}
    url = settings.redis.url.get_secret_value()
    return clean | kafka | {"RILLET_REDIS__URL": url, "RILLET_REDIS__PREFIX": settings.redis.prefix}


def _ready(place: Place, items: int) -> bool:
    """Whether all consumers report themselves and the catalogue is worked off."""
    names = {name.split(":", 1)[0] for name, _ in place.store.scan("process")}
    if names != set(CONSUMERS) or sum(1 for _ in place.store.scan("item")) < items:
        return False
    kafka = place.settings.kafka
    group = group_of("catalogue", place.settings)
    return not any(one.lag for one in group_lag(kafka, group, [kafka.catalogue]))


def _until(what: Callable[[], bool], ended: Callable[[], str]) -> None:
    deadline = time.monotonic() + READY_S
    while not what():
        if last := ended():
            raise RilletError(f"`rillet up` has ended: {last[-2000:]}")
        if time.monotonic() > deadline:
            raise RilletError(f"the consumers were not ready after {READY_S:.0f} s")
        time.sleep(0.5)
