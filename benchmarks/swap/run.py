"""One run: models made, consumers started, events published, models offered, all of it watched."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.live import Up, pulse_of, ready, running, until, variables
from benchmarks.openloop import Plan
from benchmarks.place import Place, Servers
from benchmarks.swap.figures import Sight, account, figures
from benchmarks.swap.models import prepare
from benchmarks.swap.offers import Offering, planned
from benchmarks.swap.watch import ModelWatcher, Scales
from benchmarks.worker import Worker
from benchmarks.workload import Sizes
from consumers.wiring import group_of
from rillet import Client
from stream.errors import RilletError
from stream.events import Delete, Event, Identify, Item, encode
from stream.log import LogWriter
from stream.topics import group_lag

__all__ = ["Load", "measure"]

Say = Callable[[str], None]

PATIENCE_S: Final = 30.0
"""How long after the last event its effect may show."""

VERIFY_S: Final = 900.0
ONLY_ENGINE: Final = ("models.swapped", "models.refused", "deadletters", "skipped")


@dataclass(frozen=True, slots=True)
class Load:
    """How large the shop is, how long it was open before, and what is published then.

    Attributes
    ----------
    users, items, seed
        Of the shop.
    past
        Events before: the models learn from them, and they are published at once.
    rate, seconds
        Events a second afterwards, and for how long.
    epochs
        Passes of each training.
    """

    users: int = 2000
    items: int = 5000
    seed: int = 7
    past: int = 20_000
    rate: int = 200
    seconds: float = 90.0
    epochs: int = 2

    @property
    def many(self) -> int:
        """How many events are published at the rate."""
        return int(self.rate * self.seconds)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return asdict(self)

    def shop(self) -> tuple[list[Event], list[Event]]:
        """Return the items, and what users do.

        Raises
        ------
        RilletError
            They do too little.
        """
        needed = self.past + self.many
        days = 2.0 + needed / self.users
        items: list[Event] = []
        deeds: list[Event] = []
        for event in Sizes(self.users, self.items, days, self.seed).world().events():
            if isinstance(event, Item):
                items.append(event)
            elif not isinstance(event, Identify | Delete):
                deeds.append(event)
        if len(deeds) < needed:
            message = f"the shop has {len(deeds):,} events, {needed:,} are needed"
            raise RilletError(message, "take more users, or a lower rate")
        return items, list(islice(deeds, needed))


def measure(
    servers: Servers, load: Load, say: Say, *, verify: bool, cold: bool
) -> tuple[dict[str, Any], Sight]:
    """Measure once; return the figures, and what they are of.

    Parameters
    ----------
    servers
        Where Kafka and Redis are.
    load
        How much of everything.
    say
        Told what is going on.
    verify
        Whether to replay everything undisturbed in the end, and compare.
    cold
        Whether `personalize` started when there was no model yet that could be promoted.
    """
    say(f"making a shop of {load.items:,} items")
    items, deeds = load.shop()
    with (
        Place(servers, "swap") as place,
        tempfile.TemporaryDirectory(prefix="rillet-models-") as name,
    ):
        folder = Path(name, "registry")
        more = {"RILLET_TRAINING__REGISTRY": str(folder)}
        with running(place, **more) as up:
            say("starting the consumers, encoding the catalogue")
            place.publish(items)
            until(lambda: ready(place, len(items)), up.ended)
            say(f"training three models on {load.past:,} events")
            models = prepare(place, folder, deeds[: load.past], load.epochs)
            if cold:
                found, sight, events = _rest(place, up, deeds, load, models, say)
        if not cold:
            until(lambda: not any(True for _ in place.store.scan("process")), lambda: "")
            with running(place, **more) as up:
                until(lambda: ready(place, len(items)), up.ended)
                found, sight, events = _rest(place, up, deeds, load, models, say)
        found["verified"] = _verified(place, [*items, *events], say) if verify else []
    return found, sight


def _rest(
    place: Place, up: Up, deeds: Sequence[Event], load: Load, models: dict[str, Any], say: Say
) -> tuple[dict[str, Any], Sight, list[Event]]:
    """Publish the past at once, then the rest at the rate; also return all that was published."""
    past, coming = deeds[: load.past], deeds[load.past :]
    say("publishing these events, at once")
    place.publish(past)
    until(lambda: _worked_off(place), up.ended)
    say(f"publishing {load.rate} events a second for {load.seconds:.0f} s")
    sight, plan = _loaded(place, coming, load, models)
    found = {"models": models} | figures(sight)
    until(lambda: _worked_off(place), up.ended)
    published = [*past, *plan.events]
    found["account"] = account(place, published)
    found["personalize"] = _engine(place, up)
    return found, sight, published


def _loaded(
    place: Place, coming: Sequence[Event], load: Load, models: dict[str, Any]
) -> tuple[Sight, Plan]:
    """Publish at the rate, offer models meanwhile, and watch."""
    folder = Path(models["folder"])
    environment = variables(place.settings) | {"RILLET_TRAINING__REGISTRY": str(folder)}
    offers = planned(models, load.seconds)
    pid = pulse_of(place, "personalize").pid
    with (
        Client(place.settings) as client,
        Worker("watcher", ModelWatcher, place.settings.redis) as watcher,
    ):
        plan = Plan.of(coming, load.rate)
        watcher.begin("watch", plan.schedule, plan.begin, PATIENCE_S)
        with (
            Scales(pid, plan.begin) as scales,
            Offering(offers, folder, place.store, environment, plan.begin),
        ):
            late, _ = plan.publish(client)
        seen = watcher.result()
        shown = watcher.call("shown")
    at_s = [due.at_s for due in plan.schedule]
    return Sight(at_s, seen, late, shown, scales.found, offers), plan


def _worked_off(place: Place) -> bool:
    """Whether nothing is left to read for those who work on what users do."""
    kafka = place.settings.kafka
    topics = {"personalize": kafka.events, "neighbours": kafka.transitions}
    lags = [
        one.lag
        for name, topic in topics.items()
        for one in group_lag(kafka, group_of(name, place.settings), [topic])
    ]
    return bool(lags) and not any(lags)


def _engine(place: Place, up: Up) -> dict[str, Any]:
    """Return what personalize counted, and what it logged of models."""
    counters = pulse_of(place, "personalize").counters
    names = ("consumers.served", "consumers.follower")
    said = [line for line in up.said().splitlines() if any(name in line for name in names)]
    return {name: counters.get(name, 0) for name in ONLY_ENGINE} | {"log": said}


def _verified(place: Place, events: Sequence[Event], say: Say) -> list[dict[str, Any]]:
    """Compare with an undisturbed replay, by ``rillet verify``."""
    say("replaying everything undisturbed, to compare")
    with tempfile.TemporaryDirectory(prefix="rillet-verify-") as folder:
        path = Path(folder, "log.jsonl")
        with LogWriter(path) as log:
            for event in events:
                log.write(encode(event))
        done = subprocess.run(
            [sys.executable, "-m", "rillet.cli.main", "verify", str(path), "--json"],
            cwd=folder,
            env=variables(place.settings),
            capture_output=True,
            check=False,
            text=True,
            timeout=VERIFY_S,
        )
    if not done.stdout.strip():
        raise RilletError(f"`rillet verify` ended with {done.returncode}: {done.stderr[-2000:]}")
    kept = ("kind", "keys", "equal", "wrong", "missing", "extra", "differing")
    return [{name: one[name] for name in kept} for one in json.loads(done.stdout)]
